// What the listed documents have in their fields, counted; a press narrows the list to it.
import { Loaded, api, html, query, useLoad, useState } from "/static/lib.js";

// As a condition or an operator is typed; a value with a quotation mark has no way to be.
const quoted = (value) => (/[,\s]/.test(value) ? `"${value}"` : value);

function Facet({ facet, pick, plain }) {
  const { field, values, distinct } = facet;
  const able = (value) => !value.includes('"') && (!plain || /^[\p{L}\p{N}_.]+$/u.test(field || ""));
  const more = distinct - values.length;
  return html`<section class="stack tight" aria-label=${field || "Tags"}><h3 class="small">${field || "Tags"}</h3>
    <ul class="plain">${values.map(({ value, count }) => html`<li key=${value} class="row between">
      ${!able(value) ? value : html`<button class="link" onClick=${() => pick(field, value)}>${value}</button>`}
      <span class="small quiet">${count.toLocaleString()}</span></li>`)}</ul>
    ${more > 0 && html`<span class="small quiet">and ${more.toLocaleString()} more</span>`}</section>`;
}

function Values({ place, asked, pick }) {
  const facets = useLoad(() => api.get(`${place}/facets?${query(asked)}`), [JSON.stringify(asked)]);
  return html`<${Loaded} of=${facets}>${(rows) => (rows.length ? html`<div class="facets">${rows.map((facet) => html`
    <${Facet} key=${facet.field} facet=${facet} pick=${pick} plain=${Boolean(asked.q)} />`)}</div>`
    : html`<p class="quiet small">No field has a value that two of these documents share.</p>`)}<//>`;
}

// Opened for a list, they are open for the search in it.
let opened = false;

// `asked` is what the list is asked by; `narrow` gets a condition on a field, `tag` a tag.
export function Facets({ place, asked, narrow, tag }) {
  const [open, setOpen] = useState(opened);
  const sign = asked.q ? ":" : "=";
  const pick = (field, value) => (field === null ? tag(value) : narrow(`${field}${sign}${quoted(value)}`));
  const turn = (event) => {
    opened = event.target.open;
    setOpen(opened);
  };
  return html`<details open=${open} onToggle=${turn}><summary>Narrow by values</summary>
    ${open && html`<${Values} place=${place} asked=${asked} pick=${pick} />`}</details>`;
}
