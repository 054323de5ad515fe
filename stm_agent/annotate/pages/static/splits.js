// The splits of a project's queries: their shares, which queries a change moves, and what an export would lack.
import { Field, NumberBox, api, go, html, toast, told, useLoad, useState } from "/static/lib.js";

const SPLITS = ["train", "dev", "test"];
const sizes = (counts) => SPLITS.map((split) => `${split} ${counts[split].toLocaleString()}`).join(", ");
const queries = (count) => (count === 1 ? "1 query" : `${count.toLocaleString()} queries`);

function Plan({ plan, save }) {
  const count = plan.moves.reduce((sum, move) => sum + move.queries, 0);
  const moves = plan.moves.map((move) => `${queries(move.queries)} from ${move.from} to ${move.to}`).join(", ");
  return html`<div class="note stack tight" role="status">
    <p>${count ? `This change moves ${moves}.` : "No query moves."} Afterwards: ${sizes(plan.queries)} (judged: ${sizes(plan.judged)}).
      ${count ? " Scores from before and after the change cannot be compared." : ""}</p>
    <div><button type="button" class="main" onClick=${save}>${count ? `Move ${queries(count)} and save` : "Save the shares"}</button></div></div>`;
}

// `changed` gets the project as it is after the change.
export function Splits({ place, version, shares, changed, refused }) {
  const [form, setForm] = useState(shares);
  const [plan, setPlan] = useState(null);
  const now = useLoad(() => api.get(`${place}/splits`), [version]);
  const put = (part) => (value) => { setForm({ ...form, [part]: value }); setPlan(null); };
  const sum = SPLITS.reduce((total, split) => total + (form[split] || 0), 0);
  const preview = (event) => {
    event.preventDefault();
    api.post(`${place}/splits/plan`, form).then(setPlan).catch(told);
  };
  const save = async () => {
    try {
      await api.put(`${place}/splits`, { version, shares: form });
      setPlan(null);
      toast("Splits saved");
      changed(await api.get(place));
    } catch (error) { refused(error); }
  };
  return html`<section class="stack" aria-label="Splits"><div><h2>Splits</h2><p class="hint">Shares of the queries, in per cent. Queries
      with the same text or a relevant passage in common stay together. stm-agent optimize needs dev and test.</p></div>
    <form class="stack tight" onSubmit=${preview}><div class="row end">
      ${SPLITS.map((split) => html`<${Field} label=${split}><${NumberBox} class="number" min="0" max="100" required
        value=${form[split]} change=${put(split)} /><//>`)}
      <${Field} label="Seed"><${NumberBox} class="number" min="0" required value=${form.seed} change=${put("seed")} /><//>
      <button disabled=${sum !== 100}>Preview the change</button>
      ${sum !== 100 && html`<span class="small bad" role="alert">The shares add up to ${sum} %; they need 100 %.</span>`}</div>
      ${now.data && html`<p class="small quiet">Now: ${sizes(now.data.queries)} (judged: ${sizes(now.data.judged)}).
        <${Shared} count=${now.data.shared} /></p>`}</form>
    ${plan && html`<${Plan} plan=${plan} save=${save} />`}</section>`;
}

const Shared = ({ count }) => (count > 0 ? html` ${count === 1 ? "1 group" : `${count.toLocaleString()} groups`} of queries with the same
  text or a relevant passage in common ${count === 1 ? "is" : "are"} in more than one split.` : "");

// What exports of judgements have in each split.
export function ExportSplits({ place, project, admin }) {
  const splits = useLoad(() => api.get(`${place}/splits`), []);
  if (!splits.data) return null;
  const { judged, missing, shared } = splits.data;
  const settings = html`<button class="link" onClick=${() => go(project.key, "settings")}>Change the splits</button>`;
  return html`<p class="small quiet">Judged queries: ${sizes(judged)}. <${Shared} count=${shared} /> ${admin && !missing.length ? settings : ""}</p>
    ${missing.length > 0 && html`<div class="note bad small" role="alert">No judged query is in ${missing.join(" or ")}; stm-agent optimize needs dev and
      test. Judge more queries, or give ${missing.join(" and ")} a larger share. ${admin ? settings : "An administrator can change the shares."}</div>`}`;
}
