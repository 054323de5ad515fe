// How far people are; documents are told where some were dealt out.
import { html } from "/static/lib.js";

// `act` gives what can be done with a person.
export function Progress({ rows, act }) {
  const documents = rows.some((row) => row.documents_given > 0);
  return html`<table class="fit"><thead><tr><th>Who</th><th class="number">Queries done</th>
    ${documents && html`<th class="number">Documents done</th>`}<th class="number">Grades</th>${act && html`<th></th>`}</tr></thead>
    <tbody>${rows.map((row) => html`<tr key=${row.name}><th scope="row">${row.name}</th><td class="number">${row.done} of ${row.given}</td>
      ${documents && html`<td class="number">${row.documents_done} of ${row.documents_given}</td>`}<td class="number">${row.judgements}</td>
      ${act && html`<td>${act(row.name)}</td>`}</tr>`)}</tbody></table>`;
}
