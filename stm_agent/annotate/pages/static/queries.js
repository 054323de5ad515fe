// The queries one is to judge, and the form that writes, changes or deletes one.
import { Clash } from "/static/clash.js";
import {
  Dialog, Field, Loaded, Select, api, enc, html, store, toast, told, useKept, useKeys, useLoad, useMemo, useRef, useState,
} from "/static/lib.js";

const SPLITS = [["dev", "dev"], ["test", "test"], ["train", "train"]];
const BY_SHARES = ["", "by the project's shares"];
const MOST = 200;
const EMPTY = { text: "", answer: "", split: "" };
const PARTS = [["text", "Query"], ["answer", "Answer"], ["split", "Split"]];

// Deleting is asked for twice: what people judged goes along.
function Delete({ row, remove }) {
  const [sure, setSure] = useState(false);
  if (!sure) return html`<button type="button" class="bad" onClick=${() => setSure(true)}>Delete</button>`;
  return html`<button type="button" class="bad" onClick=${remove}>
    Delete permanently${row.judgements ? `, with ${row.judgements} judgement${row.judgements === 1 ? "" : "s"}` : ""}</button>`;
}

export function QueryForm({ place, name, close, saved, gone }) {
  const rows = useLoad(() => (name ? api.get(`${place}/queries`) : Promise.resolve([])), [name]);
  const kept = `unsaved ${place} query ${name || "new"}`;
  const [typed, setTyped] = useKept(kept);
  const [clash, setClash] = useState(null);
  const form = name ? rows.data && (typed || rows.data.find((row) => row.key === name)) : typed || EMPTY;
  const change = (part, value) => setTyped({ ...form, [part]: value });
  const put = (part) => (event) => change(part, event.target.value);
  const end = () => {
    store.remove(kept);
    close();
  };
  const save = (version) => {
    const { text, answer, split } = form;
    const asked = name ? api.patch(`${place}/queries/${enc(name)}`, { version, changes: { text, answer, split } })
      : api.post(`${place}/queries`, { text, answer, split: split || null });
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
    <${Field} label="Query"><textarea required autofocus dir="auto" rows="2" value=${form.text} onInput=${put("text")}></textarea><//>
    <${Field} label="Answer (optional)"><textarea dir="auto" value=${form.answer} onInput=${put("answer")}></textarea><//>
    <${Field} label="Split"><${Select} value=${form.split} change=${(split) => change("split", split)} options=${name ? SPLITS : [BY_SHARES, ...SPLITS]} /><//>
    <div class="row between"><span class="row"><button class="main">${name ? "Save" : "Add"}</button>
      ${typed && html`<button type="button" class="bare" onClick=${() => setTyped(null)}>Discard changes</button>`}</span>
      ${name && html`<${Delete} row=${form} remove=${remove} />`}</div>
      </form>`}<//>`;
}

// Each grade draws the screen anew; of the list only the row that it counts in.
function Row({ row, current, judged, choose }) {
  const act = useRef();
  act.current = choose;
  return useMemo(() => html`<li><button class="item" aria-current=${current ? "true" : null} onClick=${() => act.current(row.key)}>
    <span dir="auto">${row.text}</span><span class="small quiet">${row.done ? "done" : judged ? `${judged} graded` : "not started"}</span></button></li>`,
  [row, current, judged]);
}

// Those that have some words, open ones first; without words those around the chosen one.
function useShown(rows, chosen, words) {
  const from = useRef(0);
  return useMemo(() => {
    const want = words.trim().normalize("NFC").toLowerCase();
    if (want) {
      const found = rows.filter((row) => row.text.normalize("NFC").toLowerCase().includes(want));
      return [...found.filter((row) => !row.done), ...found.filter((row) => row.done)].slice(0, MOST);
    }
    const at = rows.findIndex((row) => row.key === chosen);
    // They stay where they are as long as the chosen one is among them.
    if (at < from.current || at >= from.current + MOST) from.current = Math.max(at - MOST / 2, 0);
    return rows.slice(from.current, from.current + MOST);
  }, [rows, chosen, words]);
}

const NONE = [];

export function Queries({ work, chosen, graded, choose, admin, open }) {
  const [words, setWords] = useState("");
  const box = useRef();
  const all = work.data || NONE;
  const shown = useShown(all, chosen, words);
  useKeys({ s: [() => box.current?.focus(), "Search the queries"] });
  const judged = (row) => (row.key === chosen && graded !== null ? graded : row.judged);
  const done = all.filter((row) => row.done).length;
  return html`<div class="head"><div class="row between"><h2>Queries</h2><button onClick=${() => open("new")}>New <kbd>n</kbd></button></div>
      ${all.length > 0 && html`<div class="stack tight">
        <progress aria-label="Queries done" max=${all.length} value=${done}></progress>
        <span class="small quiet">${done.toLocaleString()} of ${all.length.toLocaleString()} done</span></div>
        <input ref=${box} type="search" dir="auto" aria-label="Search queries" placeholder="Search queries  s" value=${words}
          onInput=${(event) => setWords(event.target.value)} onKeyDown=${(event) => event.key === "Enter" && shown[0] && choose(shown[0].key)} />`}
      ${admin && html`<button onClick=${() => open("runs")}>Runs and pools <kbd>r</kbd></button>`}</div>
    <div class="body list"><${Loaded} of=${work}>${(rows) => (shown.length ? html`<ul class="plain">${shown.map((row) => html`
      <${Row} key=${row.key} row=${row} current=${row.key === chosen} judged=${judged(row)} choose=${choose} />`)}</ul>
      ${shown.length === MOST && rows.length > MOST && html`<p class="hint" style=${{ padding: ".6rem" }}>
        Showing ${MOST} of ${rows.length.toLocaleString()}; search to find the others.</p>`}`
      : html`<p class="quiet small" style=${{ padding: ".6rem" }}>${rows.length ? "No query matches."
        : "No query yet. Write one, or finish an entry under Annotate."}</p>`)}<//></div>`;
}
