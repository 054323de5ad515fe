// Doubtful hard negatives of the loop: one key each.
import { Field, Loaded, Saved, api, enc, html, outbox, toast, told, useKeys, useLoad, useOutbox, useRef, useState } from "/static/lib.js";

const ANSWERS = [
  ["1", "negative", "Negative", "it does not answer the query"],
  ["2", "false_negative", "False negative", "it does answer the query"],
  ["3", "broken", "Broken", "it is not a real passage"],
];

function BringIn({ place, done }) {
  const [run, setRun] = useState("");
  const [busy, setBusy] = useState(false);
  const known = useLoad(() => api.get(`${place}/runs`), []);
  const bring = (event) => {
    event.preventDefault();
    setBusy(true);
    api.post(`${place}/doubts`, { run }).then((one) => { toast(`${one.added} negatives imported`); done(); }).catch(told)
      .finally(() => setBusy(false));
  };
  const names = (known.data?.models || []).filter((one) => one !== "bm25" && !one.startsWith("embedded:"));
  return html`<form class="row end" onSubmit=${bring}><${Field} grow label="Import the doubtful negatives of a run of stm-agent optimize">
    <input required list="runs" placeholder="name of the run" value=${run}
      onInput=${(event) => setRun(event.target.value)} /><//><datalist id="runs">${names.map((name) => html`<option value=${name}>
        </option>`)}</datalist><button disabled=${busy}>${busy ? "Importing" : "Import"}</button>
    ${busy && html`<progress class="grow" aria-label="Importing negatives"></progress>`}</form>`;
}

function Doubtful({ row, say }) {
  return html`<article class="card stack"><div><span class="label">Query</span><h2 dir="auto">${row.query}</h2></div>
    <div class="halves"><section class="stack tight" aria-label="Its passage"><span class="label">Its passage</span><div class="text" dir="auto">
      ${row.positive}</div></section>
      <section class="stack tight" aria-label="The negative"><span class="label">Assumed not relevant (${row.origin})</span><div class="text" dir="auto">
        ${row.negative}</div></section></div>
    <div class="grades" role="group" aria-label="What the negative is">
      ${ANSWERS.map(([key, answer, name, what]) => html`<button onClick=${() => say(answer)}><b>${name}</b><span class="quiet">${what}</span> <kbd>
      ${key}</kbd></button>`)}</div></article>`;
}

export function Review({ project, me }) {
  const place = `projects/${enc(project.key)}`;
  const pathOf = (one) => `${place}/doubts/${one.key}`;
  const answered = (one) => Boolean(outbox.waiting(pathOf(one))?.body.answer);
  const rows = useLoad(async () => (await outbox.read(() => api.get(`${place}/doubts`))).filter((one) => !answered(one)), []);
  const past = useRef([]);
  const row = rows.data?.[0];
  const put = (one, answer) => outbox.put(pathOf(one), { answer, version: one.version });
  useOutbox(({ path, answer, error }) => {
    const fresh = (one) => (pathOf(one) === path ? { ...one, ...answer } : one);
    past.current = error ? past.current.filter((one) => pathOf(one) !== path) : past.current.map(fresh);
    // The list is the beginning of all there are.
    if (error || !rows.data?.length) rows.reload();
    else rows.set(rows.data.map(fresh));
  });
  const say = (answer) => {
    if (!row) return;
    // The next one comes at once: whoever is fast must not answer for this one twice.
    rows.set(rows.data.slice(1));
    past.current.push(row);
    put(row, answer);
  };
  const undo = () => {
    const last = past.current.pop();
    if (!last) { toast("Nothing to undo here"); return; }
    rows.set([last, ...(rows.data || [])]);
    put(last, null);
  };
  useKeys({
    ...Object.fromEntries(ANSWERS.map(([key, answer, name, what]) => [key, [() => say(answer), `${name}: ${what}`]])),
    "Ctrl+z": [undo, "Undo the last answer"],
  });
  const count = rows.data?.length ? ` (${rows.data.length}${rows.data.length === 50 ? " and more" : ""})` : "";
  return html`<div class="stack wide"><div class="row between"><div><h2>Hard negatives to review${count}</h2>
    <p class="hint">A false negative or a broken passage is left out of the next round's training.</p></div>
      <span class="row"><${Saved} state=${outbox.state} /><button onClick=${undo}>Undo <kbd>Ctrl+z</kbd></button></span></div>
    <${Loaded} of=${rows}>${() => (row ? html`<${Doubtful} row=${row} say=${say} />` : html`<div class="empty"><p>No negatives to review.</p>
      </div>`)}<//>
    ${me.role === "admin" && html`<${BringIn} place=${place} done=${rows.reload} />`}</div>`;
}
