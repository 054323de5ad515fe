// How far people agree with each other and with the LLM, and what they are to settle.
import { Dot, Loaded, api, enc, html, levelKeys, toast, told, useKeys, useLoad, useState } from "/static/lib.js";

const NAMES = { raw: "Raw agreement", cohen: "Cohen's kappa", fleiss: "Fleiss' kappa", alpha: "Krippendorff's alpha (ordinal)" };
const number = (value) => (value === null || value === undefined ? "-" : value.toFixed(3));

const Measures = ({ rows, caption }) => html`<table class="fit"><caption>${caption}</caption><thead><tr><th>Measure</th><th class="number">Value</th>
  <th class="number">95 % interval</th><th class="number">Passages</th></tr></thead>
  <tbody>${rows.map((row) => html`<tr><th scope="row">${NAMES[row.name]}</th><td class="number">${number(row.value)}</td><td class="number">
    ${row.low === null ? "-" : `${number(row.low)} to ${number(row.high)}`}</td><td class="number">${row.items}</td></tr>`)}</tbody></table>`;

function Confusion({ name, levels, cells }) {
  const at = (mine, theirs) => cells.find((one) => one.person === mine.score && one.llm === theirs.score)?.count || 0;
  return html`<table class="fit"><caption>${name} (rows) and the LLM (columns)</caption><thead><tr><td></td>
    ${levels.map((level) => html`<th scope="col" class="number">${level.name}</th>`)}</tr></thead>
    <tbody>${levels.map((mine) => html`<tr><th scope="row">${mine.name}</th>${levels.map((theirs) => html`<td class="number">
      ${mine === theirs ? html`<b>${at(mine, theirs)}</b>` : at(mine, theirs)}</td>`)}</tr>`)}</tbody></table>`;
}

function bias(value) {
  if (!value) return "";
  return `; on average the LLM grades ${Math.abs(value).toFixed(2)} ${value > 0 ? "higher" : "lower"}`;
}

function All({ data, levels }) {
  const graded = Object.entries(data.with_llm).filter(([, rows]) => rows[0].items);
  if (!graded.length && !data.people[0].items) {
    return html`<p class="quiet">Two people who judged the same passages, or a person and an LLM, are needed before there is anything to measure.</p>`;
  }
  return html`<div class="stack wide">${data.people[0].items > 0 && html`<${Measures} rows=${data.people} caption="People with people" />`}
    ${graded.map(([name, rows]) => html`<${Measures} rows=${rows} caption=${`${name} with the LLM${bias(data.llm_bias[name])}`} />
      <${Confusion} name=${name} levels=${levels} cells=${data.confusion[name]} />`)}</div>`;
}

function Dispute({ row, place, levels, keys, settle, at, count }) {
  const text = useLoad(() => api.get(`${place}/documents/${enc(row.document)}`), [row.document]);
  const words = text.data ? Object.values(text.data.fields).filter((value) => typeof value === "string").join("\n") : "";
  return html`<article class="card stack"><div class="row between"><h3>${row.text}</h3><span class="small quiet">${at + 1} of ${count}</span></div>
    <div class="text">${words.slice(0, 8000)}</div>
    <dl class="facts">${Object.entries(row.grades).map(([name, value]) => html`<dt>${name}</dt><dd>
      ${levels.find((level) => level.score === value)?.name ?? value}</dd>`)}</dl>
    <div class="grades" role="group" aria-label="Final grade">
      ${Object.entries(keys).map(([name, level]) => html`<button onClick=${() => settle(level)}><${Dot} colour=${level.colour} />${level.name} <kbd>
      ${name}</kbd></button>`)}</div></article>`;
}

export function Agreement({ project }) {
  const place = `projects/${enc(project.key)}`;
  const levels = [...project.schema.levels].sort((a, b) => a.score - b.score);
  const keys = levelKeys(levels);
  const measures = useLoad(() => api.get(`${place}/agreement`), []);
  const apart = useLoad(() => api.get(`${place}/disagreements`), []);
  const progress = useLoad(() => api.get(`${place}/progress`), []);
  const [at, setAt] = useState(0);
  const count = apart.data?.length || 0;
  const here = Math.min(at, Math.max(count - 1, 0));
  const row = apart.data?.[here];
  const settle = (level) => row && api.put(`${place}/queries/${enc(row.query)}/final/${enc(row.document)}`, { grade: level.score })
    .then(() => { toast(`Settled as ${level.name}; exports use it`); apart.reload(); }).catch(told);
  useKeys({
    j: [() => setAt(Math.min(here + 1, count - 1)), "Next disagreement"],
    k: [() => setAt(Math.max(here - 1, 0)), "Disagreement before"],
    ...Object.fromEntries(Object.entries(keys).map(([name, level]) => [name, [() => settle(level), `Settle as ${level.name}`]])),
  });
  return html`<div class="stack wide"><section class="stack"><h2>To settle${apart.data ? ` (${count})` : ""}</h2><${Loaded} of=${apart}>${() => (row
      ? html`<${Dispute} row=${row} place=${place} levels=${levels} keys=${keys} settle=${settle} at=${here} count=${count} />`
      : html`<p class="quiet">Nothing is in dispute.</p>`)}<//></section>
    <section class="stack"><h2>Agreement</h2><${Loaded} of=${measures}>${(data) => html`<${All} data=${data} levels=${levels} />`}<//></section>
    <section class="stack"><h2>Progress</h2><${Loaded} of=${progress}>${(rows) => html`<table class="fit"><thead><tr><th>Who</th>
      <th class="number">Queries done</th><th class="number">Grades</th></tr></thead><tbody>${rows.map((one) => html`
      <tr><th scope="row">${one.name}</th><td class="number">${one.done} of ${one.given}</td><td class="number">${one.judgements}</td></tr>`)}</tbody>
        </table>`}<//></section></div>`;
}
