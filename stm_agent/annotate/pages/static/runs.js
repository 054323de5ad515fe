// What the pools are made of: runs by BM25, by models, from TREC files; their holes; and the LLM's grades, asked beforehand.
import { Check, Dialog, Field, Loaded, Select, api, enc, html, toast, told, useJob, useLoad, useState } from "/static/lib.js";

// Beside nDCG@10: each split's, as stm-agent evaluate has it, and what holes and queries that are not ranked do to it.
function Beside({ run }) {
  const splits = Object.entries(run.splits).map(([split, value]) => `${split} ${number(value)}`).join(", ");
  return html`${splits && html`<div class="small quiet">${splits}</div>`}
    ${run.holes["10"] > 0 && run.ndcg_at_10 !== null && html`<div class="small quiet">holes as best: ${number(run.ndcg_at_10_holes_best)}</div>`}
    ${run.unranked > 0 && html`<div class="small quiet">${run.unranked.toLocaleString()} of ${run.scored_queries.toLocaleString()} queries
      not ranked; without them: ${number(run.ndcg_at_10_ranked)}</div>`}`;
}

const number = (value) => (value === null || value === undefined ? "-" : value.toFixed(3));

function Stored({ runs, place, changed }) {
  const [sure, setSure] = useState(null);
  const remove = (name) => api.del(`${place}/runs/${enc(name)}`).then(() => { setSure(null); toast(`${name} is removed`); changed(); }).catch(told);
  const act = (name) => (sure === name ? html`<button class="bad" onClick=${() => remove(name)}>Remove permanently</button>`
    : html`<button class="bare" aria-label=${`Remove ${name}`} onClick=${() => setSure(name)}>Remove</button>`);
  if (!runs.length) return html`<p class="quiet">No run yet. The first passages of all runs form the pool that people judge.</p>`;
  return html`<div class="stack tight"><table><thead><tr><th>Run</th><th class="number">nDCG@10</th><th class="number">holes@5</th>
    <th class="number">holes@10</th><th class="number">holes@20</th><th></th></tr></thead>
    <tbody>${runs.map((run) => html`<tr key=${run.run}><th scope="row">${run.run}</th><td class="number">
      ${number(run.ndcg_at_10)}<${Beside} run=${run} /></td>
      ${["5", "10", "20"].map((depth) => html`<td class="number">${number(run.holes[depth])}</td>`)}
      <td class="number">${act(run.run)}</td></tr>`)}</tbody></table>
    <p class="hint">Holes are the share of a run's first passages that nobody judged. nDCG@10 counts holes as not relevant; “holes as best”
      counts them as the best grade. It may rise or fall once they are judged. A query that a run does not rank counts as 0, as in
      stm-agent evaluate.</p></div>`;
}

function Grades({ place, done, depth }) {
  const llms = useLoad(() => api.get("llms"), []);
  const [llm, setLlm] = useState("");
  // The calls it would make, and of which model, once they were counted.
  const [asked, setAsked] = useState(null);
  const [progress, begin] = useJob(place, "grades", done);
  const options = [["", "the default LLM"], ...(llms.data || []).map((one) => [one.name, one.name])];
  const choose = (name) => { setLlm(name); setAsked(null); };
  const count = () => api.post(`${place}/jobs/grades`, { llm, depth, dry: true })
    .then((one) => (one.calls ? setAsked(one) : toast("The LLM has graded all pools"))).catch(told);
  const go = () => { setAsked(null); begin({ llm, depth }); };
  const none = html`<span class="quiet">No LLM is set up; do so under <a href="#/people">People, LLMs</a>.</span>`;
  const sure = asked && html`<div class="row" role="alert"><span>${asked.calls.toLocaleString()} ${asked.calls === 1 ? "call" : "calls"} to
    ${" "}${asked.model}. Continue?</span><button class="main" onClick=${go}>Start grading</button><button onClick=${() => setAsked(null)}>Cancel</button></div>`;
  return html`<fieldset><legend>LLM as a second judge; people see its grade only after giving their own</legend>${progress || html`<div class="stack tight">
    ${llms.data && !llms.data.length ? none : html`<div class="row"><span>
      <${Select} aria-label="LLM that grades" value=${llm} change=${choose} options=${options} /></span>
      <button onClick=${count}>Grade all pools, top ${depth}</button></div>`}${sure}</div>`}</fieldset>`;
}

const report = (runs) => Object.entries(runs).map(([name, one]) => `${name}: ${one.documents.toLocaleString()} passages for ${one.queries} ${
  one.queries === 1 ? "query" : "queries"}${
  one.unknown_documents + one.unknown_queries ? `, ${one.unknown_queries} queries and ${one.unknown_documents} passages are not in this project` : ""}${
  one.cut ? `, ${one.cut.toLocaleString()} passages ranked deeper than 1,000 are left out` : ""}`).join("; ");

const ranked = ({ result, state, failures }) => [
  report(result), state === "stopped" && "the ranking was stopped; finished parts are kept", ...failures,
].filter(Boolean).join("; ");

function Rank({ place, models, done }) {
  const [chosen, setChosen] = useState(["bm25"]);
  const [busy, setBusy] = useState(false);
  const [progress, begin] = useJob(place, "rankings", done, ranked);
  const turn = (name) => setChosen(chosen.includes(name) ? chosen.filter((one) => one !== name) : [...chosen, name]);
  const send = () => { setBusy(true); begin({ retrievers: chosen, depth: 100 }).finally(() => setBusy(false)); };
  return html`<fieldset><legend>Rank all queries by</legend><div class="stack tight">
    ${models.map((name) => html`<${Check} key=${name} checked=${chosen.includes(name)} change=${() => turn(name)}>${name}<//>`)}
    ${progress ? html`${progress}<p class="hint">This continues when the dialog is closed.</p>`
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
      toast(`${one.judgements} judgements imported as yours${skipped}`);
      changed();
    }).catch(told);
    event.target.value = "";
  };
  return html`<${Dialog} title="Runs and pools" close=${close}><${Loaded} of=${rows}>${(data) => html`<div class="stack wide">
    <${Stored} runs=${data.runs} place=${place} changed=${changed} />
    <${Rank} place=${place} models=${data.models} done=${changed} />
    <div class="row"><${Field} grow label="Or import a TREC run"><input type="file" onChange=${upload} /><//>
      <${Field} grow label="Import TREC qrels as your own judgements"><input type="file" onChange=${judged} /><//></div>
    <${Grades} place=${place} done=${done} depth=${depth} /></div>`}<//><//>`;
}
