// What the pools are made of: runs by BM25, by models, from TREC files; their holes; and the LLM's grades, asked beforehand.
import { Check, Dialog, Field, Loaded, Select, api, enc, html, toast, told, useJob, useLoad, useState } from "/static/lib.js";

const number = (value) => (value === null || value === undefined ? "-" : value.toFixed(3));

function Stored({ runs }) {
  if (!runs.length) return html`<p class="quiet">No run yet. The first passages of every run together are the pool that people judge.</p>`;
  return html`<div class="stack tight"><table><thead><tr><th>Run</th><th class="number">nDCG@10</th><th class="number">holes@5</th>
    <th class="number">holes@10</th><th class="number">holes@20</th></tr></thead>
    <tbody>${runs.map((run) => html`<tr><th scope="row">${run.run}</th><td class="number">${number(run.ndcg_at_10)}</td>
      ${["5", "10", "20"].map((depth) => html`<td class="number">${number(run.holes[depth])}</td>`)}</tr>`)}</tbody></table>
    <p class="hint">Holes are the share of a run's first passages that nobody judged. With holes, nDCG@10 is a lower bound.</p></div>`;
}

function Grades({ place, done, depth }) {
  const llms = useLoad(() => api.get("llms"), []);
  const [llm, setLlm] = useState("");
  const [progress, begin] = useJob(place, "grades", done);
  const options = [["", "the default LLM"], ...(llms.data || []).map((one) => [one.name, one.name])];
  const none = html`<span class="quiet">No LLM is set up; do so under <a href="#/people">People, LLMs</a>.</span>`;
  return html`<fieldset><legend>The LLM as second judge; a person sees its grade only after their own</legend>${progress || html`<div class="row">
    ${llms.data && !llms.data.length ? none : html`<span><${Select} aria-label="LLM that grades" value=${llm} change=${setLlm} options=${options} />
      </span>
      <button onClick=${() => begin({ llm, depth })}>Grade all pools, top ${depth}</button>`}</div>`}</fieldset>`;
}

const report = (runs) => Object.entries(runs).map(([name, one]) => `${name}: ${one.documents.toLocaleString()} passages for ${one.queries} ${
  one.queries === 1 ? "query" : "queries"}${
  one.unknown_documents + one.unknown_queries ? `, ${one.unknown_queries} queries and ${one.unknown_documents} passages are not in this project` : ""}${
  one.cut ? `, ${one.cut.toLocaleString()} passages ranked deeper than 1,000 are left out` : ""}`).join("; ");

const ranked = ({ result, state, failures }) => [
  report(result), state === "stopped" && "the ranking was stopped; what is encoded is kept", ...failures,
].filter(Boolean).join("; ");

function Rank({ place, models, done }) {
  const [chosen, setChosen] = useState(["bm25"]);
  const [busy, setBusy] = useState(false);
  const [progress, begin] = useJob(place, "rankings", done, ranked);
  const turn = (name) => setChosen(chosen.includes(name) ? chosen.filter((one) => one !== name) : [...chosen, name]);
  const send = () => { setBusy(true); begin({ retrievers: chosen, depth: 100 }).finally(() => setBusy(false)); };
  return html`<fieldset><legend>Rank all queries by</legend><div class="stack tight">
    ${models.map((name) => html`<${Check} key=${name} checked=${chosen.includes(name)} change=${() => turn(name)}>${name}<//>`)}
    ${progress ? html`${progress}<p class="hint">This goes on when the dialog is closed.</p>`
      : html`<div class="row"><button class="main" disabled=${busy || !chosen.length} onClick=${send}>${busy ? "Ranking" : "Rank"}</button></div>`}
    </div></fieldset>`;
}

export function Runs({ project, close, done, depth }) {
  const place = `projects/${enc(project.key)}`;
  const rows = useLoad(() => api.get(`${place}/runs`), []);
  const changed = () => { rows.reload(); done(); };
  const upload = (event) => {
    const form = new FormData();
    form.append("file", event.target.files[0]);
    api.post(`${place}/runs/trec`, form).then((one) => { toast(report({ [one.run]: one })); changed(); }).catch(told);
    event.target.value = "";
  };
  const judged = (event) => {
    const form = new FormData();
    form.append("file", event.target.files[0]);
    api.post(`${place}/qrels`, form).then((one) => {
      const skipped = Object.entries(one.skipped).map(([why, count]) => `; ${count} skipped: ${why}`).join("");
      toast(`${one.judgements} judgements came in as yours${skipped}`);
      changed();
    }).catch(told);
    event.target.value = "";
  };
  return html`<${Dialog} title="Runs and pools" close=${close}><${Loaded} of=${rows}>${(data) => html`<div class="stack wide">
    <${Stored} runs=${data.runs} />
    <${Rank} place=${place} models=${data.models} done=${changed} />
    <div class="row"><${Field} grow label="Or import a TREC run"><input type="file" onChange=${upload} /><//>
      <${Field} grow label="Import TREC qrels as your own judgements"><input type="file" onChange=${judged} /><//></div>
    <${Grades} place=${place} done=${done} depth=${depth} /></div>`}<//><//>`;
}
