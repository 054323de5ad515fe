// The queries one is to judge, and the form that writes, changes or deletes one.
import { Clash } from "/static/clash.js";
import { Dialog, Field, Loaded, Select, api, enc, html, toast, told, useKept, useLoad, useState } from "/static/lib.js";

const SPLITS = [["dev", "dev"], ["test", "test"], ["train", "train"]];
const EMPTY = { text: "", answer: "", split: "dev" };
const PARTS = [["text", "Query"], ["answer", "Answer"], ["split", "Split"]];

// Deleting is asked for twice: what people judged goes along.
function Delete({ row, remove }) {
  const [sure, setSure] = useState(false);
  if (!sure) return html`<button type="button" class="bad" onClick=${() => setSure(true)}>Delete</button>`;
  return html`<button type="button" class="bad" onClick=${remove}>
    Delete for good${row.judgements ? `, with ${row.judgements} judgement${row.judgements === 1 ? "" : "s"}` : ""}</button>`;
}

export function QueryForm({ place, name, close, saved, gone }) {
  const rows = useLoad(() => (name ? api.get(`${place}/queries`) : Promise.resolve([])), [name]);
  const kept = `unsaved ${place} query ${name || "new"}`;
  const [typed, setTyped] = useKept(kept);
  const [clash, setClash] = useState(null);
  const form = rows.data && (typed || rows.data.find((row) => row.key === name) || EMPTY);
  const change = (part, value) => setTyped({ ...form, [part]: value });
  const put = (part) => (event) => change(part, event.target.value);
  const end = () => {
    localStorage.removeItem(kept);
    close();
  };
  const save = (version) => {
    const { text, answer, split } = form;
    const asked = name ? api.patch(`${place}/queries/${enc(name)}`, { version, changes: { text, answer, split } })
      : api.post(`${place}/queries`, { text, answer, split });
    asked.then((made) => { saved(made); end(); }).catch((error) => (error.current ? setClash(error.current) : told(error)));
  };
  const send = (event) => { event.preventDefault(); save(form.version); };
  const remove = () => api.del(`${place}/queries/${enc(name)}`).then(() => { toast("Query deleted"); gone(); end(); }).catch(told);
  const theirs = () => {
    rows.set(rows.data.map((row) => (row.key === name ? { ...row, ...clash } : row)));
    setTyped(null);
    setClash(null);
  };
  return html`<${Dialog} title=${name ? "Edit the query" : "New query"} close=${close}>${clash ? html`
    <${Clash} what="This query" parts=${PARTS.map(([part, label]) => [label, clash[part], form[part]])} mine=${() => save(clash.version)} theirs=${theirs} />`
    : form && html`<form class="stack" onSubmit=${send}>
    <${Field} label="Query"><textarea required autofocus rows="2" value=${form.text} onInput=${put("text")}></textarea><//>
    <${Field} label="Answer, if there is one"><textarea value=${form.answer} onInput=${put("answer")}></textarea><//>
    <${Field} label="Split"><${Select} value=${form.split} change=${(split) => change("split", split)} options=${SPLITS} /><//>
    <div class="row between"><span class="row"><button class="main">${name ? "Save" : "Add"}</button>
      ${typed && html`<button type="button" class="bare" onClick=${() => setTyped(null)}>Take back</button>`}</span>
      ${name && html`<${Delete} row=${form} remove=${remove} />`}</div>
      </form>`}<//>`;
}

export function Queries({ work, chosen, graded, choose, admin, open }) {
  const said = (row) => (row.key === chosen && graded !== null ? graded : row.judged);
  return html`<div class="head"><div class="row between"><h2>Queries</h2><button onClick=${() => open("new")}>New <kbd>n</kbd></button></div>
      ${work.data?.length > 0 && html`<div class="stack tight">
        <progress aria-label="Queries done" max=${work.data.length} value=${work.data.filter((row) => row.done).length}></progress>
        <span class="small quiet">${work.data.filter((row) => row.done).length} of ${work.data.length} done</span></div>`}
      ${admin && html`<button onClick=${() => open("runs")}>Runs and pools <kbd>r</kbd></button>`}</div>
    <div class="body list"><${Loaded} of=${work}>${(rows) => (rows.length ? html`<ul class="plain">${rows.map((row) => html`<li key=${row.key}>
      <button class="item" aria-current=${row.key === chosen ? "true" : null} onClick=${() => choose(row.key)}><span>${row.text}</span>
      <span class="small quiet">${row.done ? "done" : said(row) ? `${said(row)} graded` : "not begun"}</span></button></li>`)}</ul>`
      : html`<p class="quiet small" style=${{ padding: ".6rem" }}>No query yet. Write one, or finish an entry under Annotate.</p>`)}<//></div>`;
}
