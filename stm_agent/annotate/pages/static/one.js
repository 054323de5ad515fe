// One document in a dialog: what is in it, its tags, and what can be done with it.
import { Dialog, Loaded, api, enc, go, html, toast, told, useLoad, useState } from "/static/lib.js";
import { Long } from "/static/fields.js";

function Tags({ place, data, reload }) {
  const [text, setText] = useState("");
  const put = (change) => api.patch(`${place}/tags/${enc(data.key)}`, change).then(() => { setText(""); reload(); }).catch(told);
  const add = (event) => { event.preventDefault(); put({ add: [text] }); };
  return html`<div class="row"><span class="quiet small">Tags</span>${data.tags.map((tag) => html`<span class="tag">
    ${tag}<button class="link" aria-label=${`Remove tag ${tag}`}
      onClick=${() => put({ remove: [tag] })}>×</button></span>`)}
    <form class="row" onSubmit=${add}><input class="slim" style=${{ width: "9rem" }} aria-label="New tag" placeholder="New tag" required value=${text}
      onInput=${(event) => setText(event.target.value)} /><button class="bare">Add</button></form></div>`;
}

export function One({ project, me, name, words, close, changed, like }) {
  const place = `projects/${enc(project.key)}`;
  const data = useLoad(() => api.get(`${place}/documents/${enc(name)}`), [name]);
  const [sure, setSure] = useState(false);
  const reload = () => { data.reload(); changed(); };
  const remove = () => api.del(`${place}/documents/${enc(name)}`).then(() => { toast("Document deleted"); changed(); close(); }).catch(told);
  const read = new Set(project.schema.fields.filter((field) => field.content).map((field) => field.name));
  const text = (value) => (typeof value === "object" ? JSON.stringify(value, null, 1) : String(value));
  return html`<${Dialog} wide title=${name} close=${close}><${Loaded} of=${data}>${(row) => html`<div class="stack wide">
    <${Tags} place=${place} data=${row} reload=${reload} />
    ${Object.entries(row.fields).filter(([field]) => read.has(field)).map(([field, value]) => html`<section class="stack tight">
      <h3 class="quiet small">${field}</h3><div class="text" dir="auto"><${Long} text=${text(value)} words=${words} most=${50_000} /></div></section>`)}
    <dl class="facts">${Object.entries(row.fields).filter(([field]) => !read.has(field)).map(([field, value]) => html`<dt>${field}</dt><dd dir="auto">
      ${text(value).slice(0, 5000)}</dd>`)}</dl>
    <div class="row between"><span class="row"><button class="main" onClick=${() => go(project.key, "work", name)}>Annotate this document</button>
      <button onClick=${() => { like(name); close(); }}>More like this</button></span>
      ${me.role === "admin" && (sure ? html`<button class="bad" onClick=${remove}>Delete permanently</button>`
        : html`<button class="bare" onClick=${() => setSure(true)}>Delete</button>`)}</div></div>`}<//><//>`;
}
