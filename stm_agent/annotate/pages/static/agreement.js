// How far people agree, and what they are to settle.
import { html, useState, api, useLoad, Loaded, told, toast, enc, useKeys, levelKeys, Dot } from "/static/lib.js";

const NAMES = { raw: "Raw agreement", cohen: "Cohen's kappa", fleiss: "Fleiss' kappa", alpha: "Krippendorff's alpha (ordinal)" };
const number = (value) => value === null ? "-" : value.toFixed(3);
const Table = ({ rows, caption }) => html`<table><caption class="quiet small" style=${{ textAlign: "left" }}>${caption}</caption><thead><tr><th>Measure</th><th>Value</th><th>95 % interval</th><th>Passages</th></tr></thead><tbody>${rows.map((row) => html`<tr><th scope="row">${NAMES[row.name]}</th><td>${number(row.value)}</td><td>${row.low === null ? "-" : `${number(row.low)} to ${number(row.high)}`}</td><td>${row.items}</td></tr>`)}</tbody></table>`;

export function Agreement({ project }) {
  const place = `projects/${enc(project.key)}`;
  const levels = [...project.schema.levels].sort((a, b) => a.score - b.score);
  const measures = useLoad(() => api.get(`${place}/agreement`), []);
  const apart = useLoad(() => api.get(`${place}/disagreements`), []);
  const progress = useLoad(() => api.get(`${place}/progress`), []);
  const [at, setAt] = useState(0);
  const row = apart.data?.[Math.min(at, apart.data.length - 1)];
  const text = useLoad(() => row ? api.get(`${place}/documents/${enc(row.document)}`) : Promise.resolve(false), [row?.document]);
  const settle = (level) => row && api.put(`${place}/queries/${enc(row.query)}/final/${enc(row.document)}`, { grade: level.score }).then(() => { toast(`Settled as ${level.name}`); apart.reload(); measures.reload(); }).catch(told);
  const keys = levelKeys(levels);
  useKeys({ j: [() => setAt(at + 1), "Next disagreement"], k: [() => setAt(Math.max(at - 1, 0)), "Disagreement before"], ...Object.fromEntries(Object.entries(keys).map(([name, level]) => [name, [() => settle(level), `Settle as ${level.name}`]])) });
  return html`<div class="stack"><h2>Progress</h2><${Loaded} of=${progress}>${(rows) => html`<table><thead><tr><th>Who</th><th>Queries done</th><th>Grades</th></tr></thead><tbody>${rows.map((one) => html`<tr><th scope="row">${one.name}</th><td>${one.done} of ${one.given}</td><td>${one.judgements}</td></tr>`)}</tbody></table>`}<//>
    <h2>Agreement</h2><${Loaded} of=${measures}>${(data) => html`<div class="stack"><${Table} rows=${data.people} caption="People with people" />
      ${Object.entries(data.with_llm).filter(([, rows]) => rows[0].items).map(([name, rows]) => html`<${Table} rows=${rows} caption=${`${name} with the LLM, which grades ${number(data.llm_bias[name])} higher on average`} />
        <table><caption class="quiet small" style=${{ textAlign: "left" }}>${name} (rows) and the LLM (columns)</caption><thead><tr><td></td>${levels.map((level) => html`<th scope="col">${level.name}</th>`)}</tr></thead><tbody>${levels.map((mine) => html`<tr><th scope="row">${mine.name}</th>${levels.map((theirs) => html`<td>${data.confusion[name].find((one) => one.person === mine.score && one.llm === theirs.score)?.count || 0}</td>`)}</tr>`)}</tbody></table>`)}</div>`}<//>
    <h2>To settle${apart.data ? ` (${apart.data.length})` : ""}</h2>${row ? html`<article class="card stack"><h3>${row.text}</h3><div class="text">${text.data ? Object.values(text.data.fields).filter((value) => typeof value === "string").join("\n") : ""}</div>
      <p>${Object.entries(row.grades).map(([name, value]) => `${name}: ${levels.find((level) => level.score === value)?.name ?? value}`).join("; ")}</p>
      <div class="grades" role="group" aria-label="Final grade">${Object.entries(keys).map(([name, level]) => html`<button onClick=${() => settle(level)}><span class="row"><${Dot} colour=${level.colour} />${level.name} <kbd>${name}</kbd></span></button>`)}</div></article>` : html`<p class="quiet">Nothing is in dispute.</p>`}</div>`;
}
