// Judging: a query, its pool in a blind order, a grade for each passage by one key.
import {
  Dialog, Dot, Field, Loaded, Select, api, enc, go, html, levelKeys, toast, told, useEffect, useKeys, useLoad, useRef, useState,
} from "/static/lib.js";
import { Runs } from "/static/runs.js";

const LONGEST = 6000;
const SPLITS = [["dev", "dev"], ["test", "test"], ["train", "train"]];
const DEPTHS = [5, 10, 20, 50, 100].map((one) => [String(one), `top ${one}`]);

function QueryForm({ place, name, close, saved }) {
  const rows = useLoad(() => (name ? api.get(`${place}/queries`) : Promise.resolve([])), [name]);
  const [form, setForm] = useState(null);
  useEffect(() => {
    if (rows.data) setForm(rows.data.find((row) => row.key === name) || { text: "", answer: "", split: "dev" });
  }, [rows.data]);
  const put = (part) => (event) => setForm({ ...form, [part]: event.target.value });
  const save = (event) => {
    event.preventDefault();
    const { text, answer, split } = form;
    const asked = name ? api.patch(`${place}/queries/${enc(name)}`, { version: form.version, changes: { text, answer, split } })
      : api.post(`${place}/queries`, { text, answer, split });
    asked.then((made) => { saved(made); close(); }).catch(told);
  };
  return html`<${Dialog} title=${name ? "Edit the query" : "New query"} close=${close}>${form && html`<form class="stack" onSubmit=${save}>
    <${Field} label="Query"><textarea required autofocus rows="2" value=${form.text} onInput=${put("text")}></textarea><//>
    <${Field} label="Answer, if there is one"><textarea value=${form.answer} onInput=${put("answer")}></textarea><//>
    <${Field} label="Split"><${Select} value=${form.split} change=${(split) => setForm({ ...form, split })} options=${SPLITS} /><//>
    <div><button class="main">${name ? "Save" : "Add"}</button></div></form>`}<//>`;
}

function Queries({ work, chosen, graded, choose, admin, open }) {
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

// A passage's content fields: a short first one is its title.
function Body({ row, names }) {
  const parts = names.map((name) => String(row.fields[name] ?? "")).filter(Boolean);
  const text = parts.length ? parts : [row.text];
  const titled = text.length > 1 && text[0].length < 200;
  const rest = (titled ? text.slice(1) : text).join("\n");
  return html`<div class="text">${titled && html`<b>${text[0]}</b><br />`}${rest.slice(0, LONGEST)}${rest.length > LONGEST && html`
    <span class="quiet"> … ${(rest.length - LONGEST).toLocaleString()} characters more</span>`}</div>`;
}

function Passage({ row, number, current, levels, names, others, pick, grade, note }) {
  const nameOf = (score) => levels.find((level) => level.score === score)?.name ?? score;
  const said = row.llm_grade === null || row.llm_grade === undefined ? null : nameOf(row.llm_grade);
  return html`<article class="passage stack" aria-current=${current ? "true" : null} aria-label=${`Passage ${number}`} onClick=${pick}>
    <${Body} row=${row} names=${names} />
    <div class="row between"><div class="grades" role="group" aria-label=${`Grade of passage ${number}`}>${levels.map((level) => html`
        <button aria-pressed=${row.grade === level.score ? "true" : "false"} title=${level.help} onClick=${() => grade(level.score)}>
          <${Dot} colour=${level.colour} />${level.name}</button>`)}</div>
      <span class="small quiet">${row.grade === null ? "unjudged" : said !== null ? `The LLM said: ${said}` : ""}</span></div>
    ${others.length > 0 && html`<p class="small quiet">
      ${others.map((one) => `${one.person}: ${nameOf(one.grade)}${one.note ? ` (${one.note})` : ""}`).join(", ")}</p>`}
    ${current && row.grade !== null && html`<input class="small" aria-label=${`Note on passage ${number}`}
      placeholder="Note, if the grade needs one  c" value=${row.note} onChange=${(event) => note(event.target.value)} />`}</article>`;
}

// The pool of a query and what is done to it.
function usePool(place, key, depth) {
  const [at, setAt] = useState(0);
  const past = useRef([]);
  const pool = useLoad(() => (key ? api.get(`${place}/queries/${enc(key)}/pool?depth=${depth}`).then((rows) => ({ key, rows })) : Promise.resolve(false)), [key, depth]);
  const rows = pool.data && pool.data.key === key ? pool.data.rows : null;
  useEffect(() => {
    if (!rows) return;
    setAt(Math.max(rows.findIndex((row) => row.grade === null), 0));
    past.current = [];
  }, [key, rows?.length]);
  const put = async (place_, value, { note, remember = true } = {}) => {
    const row = rows[place_];
    try {
      const done = await api.put(`${place}/queries/${enc(key)}/judgements/${enc(row.document)}`, { grade: value, version: row.version, note: note ?? row.note });
      if (remember) past.current.push([row.document, row.grade]);
      const now = { grade: done.grade, version: done.version, llm_grade: done.llm_grade, note: note ?? row.note };
      pool.set({ key, rows: rows.map((one, n) => (n === place_ ? { ...one, ...now } : one)) });
      return true;
    } catch (error) { told(error); pool.reload(); return false; }
  };
  const move = (by) => setAt(Math.min(Math.max(at + by, 0), (rows?.length || 1) - 1));
  const undo = async () => {
    const last = past.current.pop();
    if (!last) { toast("Nothing to undo here"); return; }
    const back = rows.findIndex((row) => row.document === last[0]);
    if (await put(back, last[1], { remember: false })) setAt(back);
  };
  return { pool, rows, at, setAt, put, move, undo };
}

export function Judge({ project, me, rest }) {
  const place = `projects/${enc(project.key)}`;
  const levels = [...project.schema.levels].sort((a, b) => a.score - b.score);
  const keys = levelKeys(levels);
  const names = project.schema.fields.filter((field) => field.content).map((field) => field.name);
  const admin = me.role === "admin";
  const work = useLoad(() => api.get(`${place}/work`), [project.key]);
  const [key, setKey] = useState(rest[0] || null);
  const [open, setOpen] = useState(null);
  const [depth, setDepth] = useState(localStorage.getItem("depth") || "10");
  const list = useRef();
  const sure = useRef("");
  const { pool, rows, at, setAt, put, move, undo } = usePool(place, key, depth);
  const query = work.data?.find((row) => row.key === key);
  const others = useLoad(() => (query?.done ? api.get(`${place}/queries/${enc(key)}/judgements`) : Promise.resolve([])), [key, query?.done]);
  useEffect(() => {
    const next = work.data && !key && (work.data.find((row) => !row.done) || work.data[0]);
    if (next) setKey(next.key);
  }, [work.data]);
  useEffect(() => { list.current?.querySelector('[aria-current="true"]')?.scrollIntoView({ block: "nearest" }); }, [at, rows === null]);
  const grade = async (place_, score) => {
    const fresh = rows[place_].grade === null;
    if (!(await put(place_, score))) return;
    // On to what is left, round to the first one; a changed grade goes on to its neighbour.
    const left = rows.map((row, n) => (row.grade === null && n !== place_ ? n : -1)).filter((n) => n >= 0);
    const next = fresh && left.length ? left.find((n) => n > place_) ?? left[0] : place_ + 1;
    setAt(Math.min(next, rows.length - 1));
  };
  const back = () => rows?.[at] && rows[at].grade !== null && put(at, null);
  const done = async (yes) => {
    try {
      await api.put(`${place}/queries/${enc(key)}/done`, { done: yes });
      const all = await api.get(`${place}/work`);
      work.set(all);
      if (!yes) return;
      const next = all.find((row) => !row.done);
      toast(next ? "Done; on to the next query" : "All queries are done");
      if (next) setKey(next.key);
    } catch (error) { told(error); }
  };
  // With passages left a second press is asked for, so that no query is passed over by a slip.
  const finish = () => {
    const left = rows ? rows.filter((row) => row.grade === null).length : 0;
    if (left && sure.current !== key) {
      sure.current = key;
      toast(`${left} passage${left === 1 ? " is" : "s are"} unjudged; once more if you are done all the same`);
      return;
    }
    done(true);
  };
  const added = async (made) => {
    try {
      const all = await api.get(`${place}/work`);
      work.set(all);
      if (all.some((row) => row.key === made.key)) setKey(made.key);
      else toast("Query added; it waits to be dealt out");
    } catch (error) { told(error); }
  };
  const deeper = (value) => { localStorage.setItem("depth", value); setDepth(value); };
  const note = () => list.current?.querySelector('[aria-current="true"] input')?.focus();
  useKeys({
    ...Object.fromEntries(Object.entries(keys).map(([name, level]) => [
      name, [() => rows?.[at] && grade(at, level.score), level.help ? `${level.name}: ${level.help}` : level.name],
    ])),
    j: [() => move(1), "Next passage"],
    k: [() => move(-1), "Passage before"],
    ArrowDown: [() => move(1), "Next passage"],
    ArrowUp: [() => move(-1), "Passage before"],
    Backspace: [back, "Take the grade back: unjudged"],
    "Ctrl+z": [undo, "Undo the last grade"],
    c: [note, "Note on the passage"],
    f: [() => query && !query.done && finish(), "Done with this query"],
    n: [() => setOpen("new"), "New query"],
    q: [() => query && setOpen("edit"), "Edit the query"],
    ...(admin ? { r: [() => setOpen("runs"), "Runs and pools"] } : {}),
  });
  const graded = rows ? rows.filter((row) => row.grade !== null).length : 0;
  const none = html`<div class="empty">
    <p>No passage is pooled for this query. ${admin ? "Rank the queries by BM25, a model, or a run of your own." : "An administrator ranks the queries first."}</p>
    ${admin && html`<button class="main" onClick=${() => setOpen("runs")}>Runs and pools</button>`}</div>`;
  return html`<div class="panes two"><section aria-label="Queries">
    <${Queries} work=${work} chosen=${key} graded=${rows && graded} choose=${setKey} admin=${admin} open=${setOpen} /></section>
    <section aria-label="Passages">${query ? html`<div class="head paper">
      <div class="row between" style=${{ flexWrap: "nowrap", alignItems: "flex-start" }}><h2>${query.text}</h2>
        <span class="row" style=${{ flexWrap: "nowrap" }}><button class="bare" onClick=${() => setOpen("edit")}>Edit <kbd>q</kbd></button>
          <button onClick=${undo}>Undo <kbd>Ctrl+z</kbd></button>
          <button class=${query.done ? "" : "main"} onClick=${() => (query.done ? done(false) : finish())}>${query.done ? "Open again" : "Done"} <kbd>f</kbd></button>
            </span></div>
      <div class="row between small"><span class="row" role="group" aria-label="Keys of the grades">
        ${Object.entries(keys).map(([name, level]) => html`<span class="row" title=${level.help} style=${{ gap: ".35rem" }}><kbd>${name}</kbd>
        <${Dot} colour=${level.colour} />${level.name}</span>`)}</span>
        <span class="row quiet">${rows && html`<span role="status">
          ${graded} of ${rows.length} judged</span>`}
          <${Select} class="slim" aria-label="How deep the pool is" value=${depth} change=${deeper} options=${DEPTHS} /></span></div></div>
      <div class="body" ref=${list}>${pool.error ? html`<div class="note bad" role="alert">
        ${pool.error.message}</div>` : rows && (rows.length ? html`<div class="stack" style=${{ maxWidth: "56rem" }}>${rows.map((row, n) => html`
        <${Passage} key=${row.document} row=${row} number=${n + 1} current=${n === at} levels=${levels}
          names=${names} others=${(others.data || []).filter((one) => one.document === row.document && one.person !== me.name)}
          pick=${() => setAt(n)} grade=${(score) => grade(n, score)} note=${(text) => put(n, row.grade, { note: text })} />`)}</div>` : none)}</div>`
      : html`<div class="empty"><p>${work.data?.length ? "Choose a query." : "Write a query with n, or finish an entry under Annotate: its question is a query."}</p>
        ${project.schema.blocks.length > 0 && html`<button onClick=${() => go(project.key, "work")}>Annotate</button>`}</div>`}</section>
    ${open === "runs" && html`<${Runs} project=${project} close=${() => setOpen(null)} done=${pool.reload} />`}
    ${open === "new" && html`<${QueryForm} place=${place} close=${() => setOpen(null)} saved=${added} />`}
    ${open === "edit" && html`<${QueryForm} place=${place} name=${key} close=${() => setOpen(null)} saved=${work.reload} />`}</div>`;
}
