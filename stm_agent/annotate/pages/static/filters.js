// Which documents are listed, and in what order.
import { Field, Select, html } from "/static/lib.js";

// What is typed, as the API takes it: each condition by itself; a value with a comma stands in quotation marks.
export const conditions = (text) => (text.match(/(?:"[^"]*"|[^,])+/g) || [])
  .map((one) => one.trim().replace(/^([^"]*[=~<>]\s*)"([^"]*)"$/, "$1$2")).filter(Boolean);

// The view is { filter, sort } and whatever else the screen keeps in it; `change` gets what changes.
export function Filters({ project, view, change, children }) {
  const names = project.schema.fields.map((field) => field.name);
  const sorts = [["", "as imported"], ...names.flatMap((name) => [[name, name], [`-${name}`, `${name}, descending`]])];
  return html`<div class="row end"><${Field} grow label="Filter by fields: year>2000, title~rash, lang=en"><input value=${view.filter}
      onInput=${(event) => change({ filter: event.target.value })} /><//>
    <${Field} label="Sort"><${Select} value=${view.sort} change=${(sort) => change({ sort })} options=${sorts} /><//>${children}</div>`;
}
