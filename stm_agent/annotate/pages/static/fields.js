// A document's fields as somebody reads them who judges: its title, its text, and what stands beside it.
import { Marked } from "/static/marking.js";
import { html, useState } from "/static/vendor/preact.js";

const LONGEST_TITLE = 200;

// A long text begins cut, so that the next passage is near; all of it is one press away.
export function Long({ text, words = "", most = 6000 }) {
  const [all, setAll] = useState(false);
  const shown = all ? text : text.slice(0, most);
  const marked = html`<${Marked} text=${shown} words=${words} />`;
  if (text.length <= most) return marked;
  const rest = (text.length - most).toLocaleString();
  return html`${marked}${all ? "" : " …"} <button class="link more" aria-expanded=${all ? "true" : "false"} onClick=${() => setAll(!all)}>
    ${all ? "Show less" : `Show all, ${rest} characters more`}</button>`;
}

// What the schema shows beside the text.
export function Facts({ project, fields }) {
  const shown = project.schema.fields.filter((field) => field.metadata && ![null, undefined, ""].includes(fields[field.name]));
  const text = (value) => (typeof value === "object" ? JSON.stringify(value) : String(value));
  return shown.length > 0 && html`<dl class="facts">${shown.map((field) => html`<dt title=${field.description}>${field.name}</dt>
    <dd dir="auto">${text(fields[field.name])}</dd>`)}</dl>`;
}

// Each content field by itself: a short first one is the title; several others have their names. `text` is what there is
// to read if no content field holds anything; `words` are those of a search, to be marked.
export function Passage({ project, fields, text = "", words = "" }) {
  const content = project.schema.fields.filter((field) => field.content).map((field) => field.name);
  const parts = content.map((name) => [name, String(fields[name] ?? "")]).filter(([, value]) => value);
  if (!parts.length) parts.push(["text", text || String(fields.text ?? "")]);
  const titled = parts.length > 1 && parts[0][1].length < LONGEST_TITLE;
  const rest = titled ? parts.slice(1) : parts;
  return html`<div class="stack tight">${titled && html`<b class="title" dir="auto"><${Marked} text=${parts[0][1]} words=${words} /></b>`}
    ${rest.map(([name, value]) => html`${rest.length > 1 && html`<span class="label">${name}</span>`}
      <div class="text" dir="auto"><${Long} text=${value} words=${words} /></div>`)}
    <${Facts} project=${project} fields=${fields} /></div>`;
}
