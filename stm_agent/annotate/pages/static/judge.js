// Judging: a query, its pool in a blind order, a grade for each passage by one key.
import {
  Dot, Fault, Saved, Select, api, enc, go, html, levelKeys, outbox, store, toast, told, useEffect, useKeys, useLoad, useOpen, useOutbox, useRef, useState,
} from "/static/lib.js";
import { Find } from "/static/find.js";
import { Edge, bringIntoView } from "/static/panes.js";
import { Passage } from "/static/passages.js";
import { Queries, QueryForm } from "/static/queries.js";
import { Runs } from "/static/runs.js";

const TYPING = 1000;
const DEPTHS = [5, 10, 20, 50, 100].map((one) => [String(one), `top ${one}`]);

// The pool of a query and what is done to it. A grade shows at once and goes by the outbox.
function usePool(place, key, depth) {
  const [at, setAt] = useState(0);
  const past = useRef([]);
  const pathOf = (document) => `${place}/queries/${enc(key)}/judgements/${enc(document)}`;
  // What waits for the server is what the person sees.
  const overlay = (row) => {
    const { grade, note } = outbox.waiting(pathOf(row.document))?.body || row;
    return { ...row, grade, note };
  };
  const load = async () => {
    const rows = await outbox.read(() => api.get(`${place}/queries/${enc(key)}/pool?depth=${depth}`));
    return { key, rows: rows.map(overlay), added: 0 };
  };
  const pool = useLoad(() => (key ? load() : Promise.resolve(false)), [key, depth]);
  const shown = useRef(null);
  shown.current = pool.data && pool.data.key === key ? pool.data : null;
  const rows = shown.current ? shown.current.rows : null;
  useEffect(() => {
    if (!rows) return;
    setAt(Math.max(rows.findIndex((row) => row.grade === null), 0));
    past.current = [];
  }, [key, rows && rows.length - shown.current.added]);
  const show = (fits, more) => {
    if (!shown.current) return;
    shown.current = { ...shown.current, rows: shown.current.rows.map((one) => (fits(one) ? { ...one, ...more } : one)) };
    pool.set(shown.current);
  };
  useOutbox(({ path, answer, error }) => {
    if (error) pool.reload();
    else show((row) => pathOf(row.document) === path, { version: answer?.version, llm_grade: answer?.llm_grade ?? null });
  });
  const put = (document, change, { remember = true, wait = 0 } = {}) => {
    const row = shown.current?.rows.find((one) => one.document === document);
    if (!row) return;
    const { grade, note, version } = { ...row, ...change };
    if (remember && grade !== row.grade) past.current.push([document, row.grade]);
    show((one) => one === row, { ...change, llm_grade: grade === null ? null : row.llm_grade });
    outbox.put(pathOf(document), { grade, note: grade === null ? "" : note, version }, wait);
  };
  // What no run has found and the person did.
  const add = async (document, words) => {
    const there = rows.findIndex((row) => row.document === document);
    if (there >= 0) {
      show((row) => row.document === document, { words });
      setAt(there);
      return;
    }
    try {
      const { fields } = await api.get(`${place}/documents/${enc(document)}`);
      const { current } = shown;
      if (current?.key !== key) return;
      const row = overlay({ document, text: "", fields, words, grade: null, note: "", version: 0, llm_grade: null });
      shown.current = { ...current, rows: [...current.rows, row], added: current.added + 1 };
      pool.set(shown.current);
      setAt(current.rows.length);
    } catch (error) { told(error); }
  };
  const move = (by) => setAt(Math.min(Math.max(at + by, 0), (rows?.length || 1) - 1));
  const undo = () => {
    const last = past.current.pop();
    if (!last) { toast("Nothing to undo here"); return; }
    put(last[0], { grade: last[1] }, { remember: false });
    setAt(rows.findIndex((row) => row.document === last[0]));
  };
  return { pool, rows, at, setAt, put, move, undo, add };
}

export function Judge({ project, me, rest }) {
  const place = `projects/${enc(project.key)}`;
  const levels = [...project.schema.levels].sort((a, b) => a.score - b.score);
  const keys = levelKeys(levels);
  const admin = me.role === "admin";
  const work = useLoad(() => api.get(`${place}/work`), [project.key]);
  const [{ query: key }, turnTo] = useOpen([project.key, "judge"], ["query"], rest);
  const section = useRef();
  const choose = (query) => { turnTo({ query }, { step: true }); bringIntoView(section.current); };
  const [open, setOpen] = useState(null);
  const [depth, setDepth] = useState(store.get("depth") || "10");
  const list = useRef();
  const sure = useRef("");
  const { pool, rows, at, setAt, put, move, undo, add } = usePool(place, key, depth);
  const query = work.data?.find((row) => row.key === key);
  const others = useLoad(() => (query?.done ? api.get(`${place}/queries/${enc(key)}/judgements`) : Promise.resolve([])), [key, query?.done]);
  useEffect(() => {
    const next = work.data && !key && (work.data.find((row) => !row.done) || work.data[0]);
    if (next) turnTo((now) => ({ query: now.query || next.key }));
  }, [work.data, key]);
  useEffect(() => { list.current?.querySelector('[aria-current="true"]')?.scrollIntoView({ block: "nearest" }); }, [at, rows === null]);
  const grade = (here, score) => {
    const fresh = rows[here].grade === null;
    put(rows[here].document, { grade: score });
    // On to what is left, round to the first one; a changed grade goes on to its neighbour.
    const left = rows.map((row, n) => (row.grade === null && n !== here ? n : -1)).filter((n) => n >= 0);
    const next = fresh && left.length ? left.find((n) => n > here) ?? left[0] : here + 1;
    setAt(Math.min(next, rows.length - 1));
  };
  const back = () => rows?.[at] && rows[at].grade !== null && put(rows[at].document, { grade: null });
  const done = async (yes) => {
    if (!(await outbox.flush())) {
      toast("Some of your grades are not saved yet; finish the query when they are", { bad: true });
      return;
    }
    try {
      await api.put(`${place}/queries/${enc(key)}/done`, { done: yes });
      const all = await api.get(`${place}/work`);
      work.set(all);
      if (!yes) return;
      const next = all.find((row) => !row.done);
      toast(next ? "Query finished; here is the next one" : "All queries are done");
      if (next) choose(next.key);
    } catch (error) { told(error); }
  };
  // With passages left a second press is asked for, so that no query is passed over by a slip.
  const finish = () => {
    const left = rows ? rows.filter((row) => row.grade === null).length : 0;
    if (left && sure.current !== key) {
      sure.current = key;
      toast(`${left} passage${left === 1 ? " is" : "s are"} unjudged; press again to finish the query anyway`);
      return;
    }
    done(true);
  };
  const added = async (made) => {
    try {
      const all = await api.get(`${place}/work`);
      work.set(all);
      if (all.some((row) => row.key === made.key)) choose(made.key);
      else toast("Query added; it is not assigned to anybody yet");
    } catch (error) { told(error); }
  };
  const deeper = (value) => { store.put("depth", value); setDepth(value); };
  const gone = () => {
    work.set(work.data.filter((row) => row.key !== key));
    turnTo({ query: "" });
  };
  const here = (part) => list.current?.querySelector(`[aria-current="true"] ${part}`);
  useKeys({
    ...Object.fromEntries(Object.entries(keys).map(([name, level]) => [
      name, [() => rows?.[at] && grade(at, level.score), level.help ? `${level.name}: ${level.help}` : level.name],
    ])),
    j: [() => move(1), "Next passage"],
    k: [() => move(-1), "Previous passage"],
    ArrowDown: [() => move(1), "Next passage"],
    ArrowUp: [() => move(-1), "Previous passage"],
    Backspace: [back, "Remove the grade (unjudged)"],
    "Ctrl+z": [undo, "Undo the last grade"],
    c: [() => here("input")?.focus(), "Note on the passage"],
    o: [() => here(".more")?.click(), "Show the whole passage, or less"],
    f: [() => query && !query.done && finish(), "Finish this query"],
    "/": [() => rows && !query?.done && setOpen("find"), "Find a passage that is not in the pool"],
    n: [() => setOpen("new"), "New query"],
    q: [() => query && setOpen("edit"), "Edit the query"],
    ...(admin ? { r: [() => setOpen("runs"), "Runs and pools"] } : {}),
  });
  const graded = rows ? rows.filter((row) => row.grade !== null).length : 0;
  const ranks = admin ? "Rank the queries by BM25, a model, or a run of your own." : "Ask an administrator to rank the queries.";
  const none = html`<div class="empty"><p>No passage is pooled for this query. ${ranks}</p>
    ${admin && html`<button class="main" onClick=${() => setOpen("runs")}>Runs and pools</button>`}</div>`;
  return html`<div class="panes two"><section aria-label="Queries">
    <${Queries} work=${work} chosen=${key} graded=${rows && graded} choose=${choose} admin=${admin} open=${setOpen} />
      <${Edge} screen="judge" side="left" label="Width of the list of queries" width=${300} /></section>
    <section aria-label="Passages" ref=${section}>${query ? html`<div class="head paper">
      <div class="row between asked"><h2 dir="auto">${query.text}</h2>
        <span class="row"><button class="bare" onClick=${() => setOpen("edit")}>Edit <kbd>q</kbd></button>
          <button onClick=${undo}>Undo <kbd>Ctrl+z</kbd></button>
          ${!query.done && html`<button disabled=${!rows} onClick=${() => setOpen("find")}>Find <kbd>/</kbd></button>`}
          ${query.done ? html`<button onClick=${() => done(false)}>Reopen</button>`
            : html`<button class="main" onClick=${finish}>Done <kbd>f</kbd></button>`}</span></div>
      <div class="row between small"><span class="row" role="group" aria-label="Keys of the grades">
        ${Object.entries(keys).map(([name, level]) => html`<span class="row" title=${level.help} style=${{ gap: ".35rem" }}><kbd>${name}</kbd>
        <${Dot} colour=${level.colour} />${level.name}</span>`)}</span>
        <span class="row quiet"><${Saved} state=${outbox.state} />${rows && html`<span role="status">
          ${graded} of ${rows.length} judged</span>`}
          <${Select} class="slim" aria-label="Depth of the pool" value=${depth} change=${deeper} options=${DEPTHS} /></span></div></div>
      <div class="body" ref=${list}><${Fault} of=${pool.error} />${rows && (rows.length ? html`<div class="stack" style=${{ maxWidth: "56rem" }}>
        ${rows.map((row, n) => html`
        <${Passage} key=${row.document} project=${project} row=${row} number=${n + 1} current=${n === at} levels=${levels}
          others=${(others.data || []).filter((one) => one.document === row.document && one.person !== me.name)}
          pick=${() => setAt(n)} grade=${(score) => grade(n, score)} note=${(text) => put(row.document, { note: text }, { wait: TYPING })}
          closed=${query.done} />`)}</div>` : none)}</div>`
      : html`<div class="empty"><p>${work.data?.length ? "Choose a query."
        : "Write a query with n, or finish an entry under Annotate; its question becomes a query."}</p>
        ${project.schema.blocks.length > 0 && html`<button onClick=${() => go(project.key, "work")}>Annotate</button>`}</div>`}</section>
    ${open === "runs" && html`<${Runs} project=${project} close=${() => setOpen(null)} done=${pool.reload} depth=${Number(depth)} />`}
    ${open === "find" && html`<${Find} place=${place} start=${query.text} pooled=${new Set(rows.map((row) => row.document))} add=${add}
      close=${() => setOpen(null)} />`}
    ${open === "new" && html`<${QueryForm} place=${place} close=${() => setOpen(null)} saved=${added} />`}
    ${open === "edit" && html`<${QueryForm} place=${place} name=${key} close=${() => setOpen(null)} saved=${work.reload} gone=${gone} />`}</div>`;
}
