// Doubtful hard negatives of the loop: one key each.
import { html, useState, useRef, api, useLoad, Loaded, told, toast, enc, useKeys, Field } from "/static/lib.js";

const ANSWERS = [["1", "negative", "Negative", "it does not answer the query"], ["2", "false_negative", "False negative", "it does answer it"], ["3", "broken", "Broken", "it is no passage at all"]];

export function Review({ project, me }) {
  const place = `projects/${enc(project.key)}`;
  const rows = useLoad(() => api.get(`${place}/doubts`), []);
  const [run, setRun] = useState("");
  const past = useRef([]);
  const row = rows.data?.[0];
  const put = (one, answer, version) => api.put(`${place}/doubts/${one.key}`, { answer, version });
  const say = async (answer) => { if (!row) return; try { const now = await put(row, answer, row.version); past.current.push(now); rows.set(rows.data.slice(1)); if (rows.data.length === 1) rows.reload(); } catch (error) { told(error); rows.reload(); } };
  const undo = async () => { const last = past.current.pop(); if (!last) { toast("Nothing to undo here"); return; } try { await put(last, null, last.version); rows.reload(); } catch (error) { told(error); } };
  const bring = (event) => { event.preventDefault(); api.post(`${place}/doubts`, { run }).then((one) => { toast(`${one.added} negatives came in`); rows.reload(); }).catch(told); };
  useKeys({ ...Object.fromEntries(ANSWERS.map(([key, answer, name, what]) => [key, [() => say(answer), `${name}: ${what}`]])), "Ctrl+z": [undo, "Undo the last answer"] });
  return html`<div class="stack"><div class="row between"><h2>Hard negatives to review${rows.data?.length ? ` (${rows.data.length}${rows.data.length === 50 ? " and more" : ""})` : ""}</h2><button onClick=${undo}>Undo <kbd>Ctrl+z</kbd></button></div>
    ${me.role === "admin" && html`<form class="row" onSubmit=${bring}><${Field} label="Bring in the doubtful negatives of a run"><input required placeholder="biomedical-0a1b2c3d" value=${run} onInput=${(event) => setRun(event.target.value)} /><//><button style=${{ alignSelf: "end" }}>Bring in</button></form>`}
    <${Loaded} of=${rows}>${(all) => row ? html`<article class="card stack"><div><span class="quiet small">Query</span><h3>${row.query}</h3></div><div><span class="quiet small">Its passage</span><div class="text">${row.positive}</div></div>
      <div class="note"><span class="quiet small">Said to be no answer (${row.origin})</span><div class="text">${row.negative}</div></div>
      <div class="grades">${ANSWERS.map(([key, answer, name, what]) => html`<button title=${what} onClick=${() => say(answer)}>${name} <kbd>${key}</kbd></button>`)}</div><p class="quiet small">False negatives and broken ones are left out of the next round's training.</p></article>` : html`<p class="quiet">Nothing waits for an answer.</p>`}<//></div>`;
}
