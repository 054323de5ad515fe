// All entries of a project: an annotator's own, for a reviewer everybody's.
import { Dialog, Loaded, Select, api, enc, html, query, toast, told, useLoad, useState } from "/static/lib.js";

export function summary(row) {
  const said = Object.values(row.values).find((value) => typeof value === "string" && value.trim());
  return row.name || said || `started ${new Date(row.created_at).toLocaleString()}`;
}

const PAGE = 1000;
const MOST = 300;
const STATES = [["", "Every state"], ["draft", "Draft"], ["flagged", "Flagged"], ["skipped", "Skipped"], ["done", "Done"]];

// Every page of them, for what is searched is searched here.
async function all(place) {
  const rows = [];
  for (;;) {
    const page = await api.get(`${place}/entries?${query({ offset: rows.length, limit: PAGE })}`);
    rows.push(...page);
    if (page.length < PAGE) return rows;
  }
}

// Entries that were finished without a query, as those of an import: one press makes it of all of them.
function Waiting({ place, done }) {
  const waiting = useLoad(() => api.get(`${place}/entries/queries`), []);
  const make = () => api.post(`${place}/entries/queries`).then((told) => {
    const skipped = Object.entries(told.skipped).map(([why, count]) => `; ${count.toLocaleString()} skipped: ${why}`).join("");
    toast(`${told.queries.toLocaleString()} ${told.queries === 1 ? "query" : "queries"} made${skipped}`);
    waiting.reload();
    done();
  }, told);
  const count = waiting.data?.waiting;
  if (!count) return null;
  const words = count === 1 ? "1 finished entry has no query." : `${count.toLocaleString()} finished entries have no query.`;
  return html`<div class="note row between" role="status"><span>${words} ${waiting.data.block ? ""
    : "Choose the block that holds the query in the settings first."}</span>
    ${waiting.data.block && html`<button onClick=${make}>Make ${count === 1 ? "its query" : "their queries"}</button>`}</div>`;
}

export function Entries({ project, me, close, pick, gone }) {
  const place = `projects/${enc(project.key)}`;
  const rows = useLoad(() => all(place), []);
  const [words, setWords] = useState("");
  const [state, setState] = useState("");
  const [sure, setSure] = useState(null);
  const remove = (row) => api.del(`${place}/entries/${row.key}`).then(() => { setSure(null); rows.reload(); gone(row); }).catch(told);
  const fits = (row) => (!state || row.state === state)
    && JSON.stringify([row.name, row.values, row.notes, row.author]).normalize("NFC").toLowerCase().includes(words.trim().normalize("NFC").toLowerCase());
  const may = (row) => row.author === me.name || me.role === "admin";
  const acts = (row) => (sure === row.key ? html`<button class="bad" onClick=${() => remove(row)}>Delete permanently</button>`
    : html`<button class="bare" aria-label=${`Delete the entry ${summary(row)}`} onClick=${() => setSure(row.key)}>Delete</button>`);
  return html`<${Dialog} wide title="Entries" close=${close}><div class="stack"><div class="row">
      <input type="search" class="grow" style=${{ width: "auto" }} autofocus aria-label="Search in the entries"
        placeholder="Search in the entries" value=${words} onInput=${(event) => setWords(event.target.value)} />
      <span><${Select} aria-label="State" value=${state} change=${setState} options=${STATES} /></span></div>
    ${me.role === "admin" && html`<${Waiting} place=${place} done=${rows.reload} />`}
    <${Loaded} of=${rows}>${(data) => { const shown = data.filter(fits); return shown.length ? html`<table><thead><tr><th>Entry</th>
      <th>State</th><th class="number">Evidence</th><th>By</th><th>Changed</th><th><span class="quiet">Delete</span></th></tr></thead>
      <tbody>${shown.slice(0, MOST).map((row) => html`<tr key=${row.key}>
        <td><button class="link" dir="auto" onClick=${() => pick(row)}>${summary(row)}</button></td><td>${row.state}</td>
        <td class="number">${row.evidence.length}</td><td>${row.author}</td>
        <td class="small quiet">${new Date(row.updated_at).toLocaleString()}</td><td>${may(row) && acts(row)}</td></tr>`)}</tbody></table>
      ${shown.length > MOST && html`<p class="hint">Showing ${MOST} of ${shown.length.toLocaleString()}; search to find the others.</p>`}`
      : html`<p class="quiet">No entries.</p>`; }}<//></div><//>`;
}
