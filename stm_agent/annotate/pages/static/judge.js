// Judging: a query, its pool in a blind order, a grade for each passage by one key.
import { html, useState, useEffect, useRef, api, useLoad, Loaded, Dialog, Field, Dot, told, toast, enc, useKeys, levelKeys, useJob } from "/static/lib.js";

function Runs({ project, close, done }) {
  const place = `projects/${enc(project.key)}`;
  const rows = useLoad(() => api.get(`${place}/runs`), []);
  const [chosen, setChosen] = useState(["bm25"]);
  const [busy, setBusy] = useState(false);
  const act = (call) => { setBusy(true); call.then((told) => { toast(Object.entries(told).map(([name, one]) => one?.documents !== undefined ? `${name}: ${one.documents} passages` : "").filter(Boolean).join("; ") || "done"); rows.reload(); done(); }).catch(told).finally(() => setBusy(false)); };
  const upload = (event) => { const form = new FormData(); form.append("file", event.target.files[0]); act(api.post(`${place}/runs/trec`, form).then((one) => ({ [one.run]: one }))); };
  const [progress, begin] = useJob(place, () => done());
  const number = (value) => value === null || value === undefined ? "" : value.toFixed(3);
  return html`<${Dialog} title="Runs that make the pool" close=${close}><${Loaded} of=${rows}>${(data) => html`<div class="stack">
    ${data.runs.length > 0 && html`<table><thead><tr><th>Run</th><th>nDCG@10</th><th>holes@5</th><th>holes@10</th><th>holes@20</th></tr></thead><tbody>${data.runs.map((run) => html`<tr><td>${run.run}</td><td>${number(run.ndcg_at_10)}</td>${["5", "10", "20"].map((depth) => html`<td>${number(run.holes[depth])}</td>`)}</tr>`)}</tbody></table><p class="quiet small">Holes: the share of a run's first passages that nobody judged. With holes, nDCG@10 is a lower bound.</p>`}
    <fieldset class="stack"><legend>Rank all queries by</legend>${data.models.map((name) => html`<label class="line"><input type="checkbox" checked=${chosen.includes(name)} onChange=${() => setChosen(chosen.includes(name) ? chosen.filter((one) => one !== name) : [...chosen, name])} />${name}</label>`)}
      <div class="row"><button class="main" disabled=${busy || !chosen.length} onClick=${() => act(api.post(`${place}/runs`, { retrievers: chosen }))}>${busy ? "Ranking" : "Rank"}</button></div></fieldset>
    <fieldset class="stack"><legend>The LLM as second judge</legend><p class="quiet small">It grades what it has not graded; each person sees its grade after their own.</p>${progress || html`<div class="row"><button onClick=${() => begin("grades", {})}>Ask it now</button></div>`}</fieldset>
    <${Field} label="Or a TREC run"><input type="file" onChange=${upload} /><//></div>`}<//><//>`;
}

export function Judge({ project, me, rest }) {
  const place = `projects/${enc(project.key)}`;
  const levels = [...project.schema.levels].sort((a, b) => a.score - b.score);
  const keys = levelKeys(levels);
  const work = useLoad(() => api.get(`${place}/work`), [project.key]);
  const [key, setKey] = useState(rest[0] || null);
  const [at, setAt] = useState(0);
  const [open, setOpen] = useState(null);
  const [text, setText] = useState("");
  const past = useRef([]);
  const pool = useLoad(() => key ? api.get(`${place}/queries/${enc(key)}/pool`) : Promise.resolve(false), [key]);
  const list = useRef();
  useEffect(() => { if (work.data && !key) { const next = work.data.find((row) => !row.done); if (next) setKey(next.key); } }, [work.data]);
  useEffect(() => { if (pool.data) { const first = pool.data.findIndex((row) => row.grade === null); setAt(Math.max(first, 0)); past.current = []; } }, [key, pool.data === null]);
  useEffect(() => { list.current?.querySelector('[aria-current="true"]')?.scrollIntoView({ block: "nearest" }); }, [at]);
  const query = work.data?.find((row) => row.key === key);
  const put = async (place_, value, remember = true) => {
    const row = pool.data[place_];
    try {
      const done = await api.put(`${place}/queries/${enc(key)}/judgements/${enc(row.document)}`, { grade: value, version: row.version, note: row.note });
      if (remember) past.current.push([place_, row.grade]);
      pool.set(pool.data.map((one, n) => n === place_ ? { ...one, grade: done.grade, version: done.version, llm_grade: done.llm_grade } : one));
      return true;
    } catch (error) { told(error); pool.reload(); return false; }
  };
  const grade = async (level) => { if (pool.data?.[at] && await put(at, level.score)) setAt(Math.min(at + 1, pool.data.length - 1)); };
  const undo = async () => { const last = past.current.pop(); if (last && await put(last[0], last[1], false)) setAt(last[0]); else if (!last) toast("Nothing to undo here"); };
  const done = async () => {
    try {
      await api.put(`${place}/queries/${enc(key)}/done`, {});
      const rows = await api.get(`${place}/work`);
      work.set(rows);
      const next = rows.find((row) => !row.done);
      toast(next ? "On to the next query" : "All queries are done");
      setKey(next ? next.key : key);
    } catch (error) { told(error); }
  };
  const again = () => api.put(`${place}/queries/${enc(key)}/done`, { done: false }).then(() => { work.reload(); toast("Open again"); }).catch(told);
  const move = (by) => setAt(Math.min(Math.max(at + by, 0), (pool.data?.length || 1) - 1));
  const add = (event) => { event.preventDefault(); api.post(`${place}/queries`, { text }).then((made) => { setText(""); work.reload(); setKey(made.key); }).catch(told); };
  useKeys({ j: [() => move(1), "Next passage"], k: [() => move(-1), "Passage before"], ArrowDown: [() => move(1), "Next passage"], ArrowUp: [() => move(-1), "Passage before"],
    f: [() => key && done(), "Done with this query"], "Ctrl+z": [undo, "Undo the last grade"], Backspace: [() => pool.data?.[at] && put(at, null), "Take the grade back: unjudged"],
    ...Object.fromEntries(Object.entries(keys).map(([name, level]) => [name, [() => grade(level), `${level.name}: ${level.help}`]])) });
  const named = Object.fromEntries(levels.map((level) => [level.score, level.name]));
  return html`<div class="two"><section class="stack" aria-label="Queries"><form class="row" style=${{ flexWrap: "nowrap" }} onSubmit=${add}><input aria-label="New query" placeholder="New query" value=${text} onInput=${(event) => setText(event.target.value)} /><button>Add</button></form>
      ${me.role === "admin" && html`<button onClick=${() => setOpen("runs")}>Runs and pools</button>`}
      <${Loaded} of=${work}>${(rows) => rows.length ? html`<progress aria-label="Queries done" max=${rows.length} value=${rows.filter((row) => row.done).length}></progress><ul class="plain">${rows.map((row) => html`<li><button class="item" aria-current=${row.key === key ? "true" : null} onClick=${() => setKey(row.key)}>${row.text}<br /><span class="small quiet">${row.done ? "done" : row.judged ? `${row.judged} graded` : "not begun"}</span></button></li>`)}</ul>` : html`<p class="quiet">No query yet. Write one above, or finish an entry.</p>`}<//></section>
    <section class="stack" aria-label="Passages">${query && html`<div class="row between"><h2>${query.text}</h2><div class="row"><button onClick=${undo}>Undo <kbd>Ctrl+z</kbd></button>${query.done ? html`<button onClick=${again}>Open again</button>` : html`<button class="main" onClick=${done}>Done <kbd>f</kbd></button>`}</div></div>
      <div class="row" role="group" aria-label="Grades">${Object.entries(keys).map(([name, level]) => html`<span class="row small" title=${level.help}><${Dot} colour=${level.colour} /><kbd>${name}</kbd> ${level.name}</span>`)}</div>`}
      <${Loaded} of=${pool}>${(rows) => rows && (rows.length ? html`<div ref=${list} class="stack">${rows.map((row, n) => html`<article key=${row.document} class="passage stack" aria-current=${n === at ? "true" : null} onClick=${() => setAt(n)}><div class="text" style=${{ fontSize: ".98rem" }}>${row.text.slice(0, 4000)}</div>
        <div class="row between"><div class="grades" role="group" aria-label=${`Grade of passage ${n + 1}`}>${levels.map((level) => html`<button aria-pressed=${row.grade === level.score} onClick=${() => { setAt(n); put(n, level.score); }}><span class="row"><${Dot} colour=${level.colour} />${level.name}</span></button>`)}</div>
        <span class="small quiet">${row.grade === null ? "unjudged" : ""}${row.llm_grade !== null && row.llm_grade !== undefined ? `the LLM said: ${named[row.llm_grade] ?? row.llm_grade}` : ""}</span></div></article>`)}</div>`
      : html`<p class="note">No passage is pooled for this query. ${me.role === "admin" ? "Open Runs and pools, and rank the queries by BM25 or a model." : "An administrator ranks the queries first."}</p>`)}<//></section>
    ${open === "runs" && html`<${Runs} project=${project} close=${() => setOpen(null)} done=${() => { if (key) pool.reload(); }} />`}</div>`;
}
