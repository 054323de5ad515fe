// How far people agree with each other and with the LLM, and what they are to settle.
import {
  Dot, Fault, Field, Loaded, Saved, Select, api, download, enc, html, keyedLevels, levelKeys, outbox, store, toast, told, useEffect, useKeys,
  useLoad, useOutbox, useRef, useState,
} from "/static/lib.js";
import { Passage } from "/static/fields.js";
import { Progress } from "/static/progress.js";

const NAMES = { raw: "Raw agreement", cohen: "Cohen's kappa", fleiss: "Fleiss' kappa", alpha: "Krippendorff's alpha (ordinal)" };
const number = (value) => (value === null || value === undefined ? "-" : value.toFixed(3));

const Measures = ({ rows, caption }) => html`<table class="fit"><caption>${caption}</caption><thead><tr><th>Measure</th><th class="number">Value</th>
  <th class="number">95 % interval</th><th class="number">Passages</th></tr></thead>
  <tbody>${rows.map((row) => html`<tr><th scope="row">${NAMES[row.name]}</th><td class="number">${number(row.value)}</td><td class="number">
    ${row.low === null ? "-" : `${number(row.low)} to ${number(row.high)}`}</td><td class="number">${row.items}</td></tr>`)}</tbody></table>`;

// Cells are { [row]: grade, [column]: grade, count }.
function Confusion({ caption, levels, cells, row, column }) {
  const at = (mine, theirs) => cells.find((one) => one[row] === mine.score && one[column] === theirs.score)?.count || 0;
  return html`<table class="fit"><caption>${caption}</caption><thead><tr><td></td>
    ${levels.map((level) => html`<th scope="col" class="number">${level.name}</th>`)}</tr></thead>
    <tbody>${levels.map((mine) => html`<tr><th scope="row">${mine.name}</th>${levels.map((theirs) => html`<td class="number">
      ${mine === theirs ? html`<b>${at(mine, theirs)}</b>` : at(mine, theirs)}</td>`)}</tr>`)}</tbody></table>`;
}

function Pairs({ pairs, levels }) {
  const name = (pair) => `${pair.first} and ${pair.second}`;
  return html`<table class="fit"><caption>Pairs of people: Cohen's kappa</caption><thead><tr><th>Pair</th><th class="number">Value</th>
    <th class="number">95 % interval</th><th class="number">Passages</th></tr></thead>
    <tbody>${pairs.map((pair) => html`<tr><th scope="row">${name(pair)}</th><td class="number">${number(pair.value)}</td><td class="number">
      ${pair.low === null ? "-" : `${number(pair.low)} to ${number(pair.high)}`}</td><td class="number">${pair.items}</td></tr>`)}</tbody></table>
    ${pairs.map((pair) => html`<details><summary>${name(pair)} on the same passages</summary>
      <${Confusion} caption=${`${pair.first} (rows) and ${pair.second} (columns)`} levels=${levels} cells=${pair.confusion} row="first" column="second" />
        </details>`)}`;
}

function bias(value) {
  if (!value) return "";
  return `; on average the LLM grades ${Math.abs(value).toFixed(2)} ${value > 0 ? "higher" : "lower"}`;
}

function All({ data, levels }) {
  const graded = Object.entries(data.with_llm).filter(([, rows]) => rows[0].items);
  if (!graded.length && !data.people[0].items) {
    return html`<p class="quiet">Agreement is measured once two people, or a person and an LLM, have judged the same passages.</p>`;
  }
  return html`<div class="stack wide">${data.people[0].items > 0 && html`<${Measures} rows=${data.people} caption="Between people" />`}
    ${data.pairs.length > 0 && html`<${Pairs} pairs=${data.pairs} levels=${levels} />`}
    ${graded.map(([name, rows]) => html`<${Measures} rows=${rows} caption=${`${name} and the LLM${bias(data.llm_bias[name])}`} />
      <${Confusion} caption=${`${name} (rows) and the LLM (columns)`} levels=${levels} cells=${data.confusion[name]} row="person" column="llm" />`)}
    ${graded.length > 0 && html`<p class="hint">For the LLM, each person's first grade counts, given before they saw the LLM's.</p>`}</div>`;
}

// `text` is the passage's document, a load; nothing is settled that cannot be read.
function Dispute({ project, row, text, ready, levels, settle, reopen, at, count, note, setNote }) {
  const nameOf = (score) => levels.find((level) => level.score === score)?.name ?? score;
  const { final } = row;
  return html`<article class="card stack"><div class="row between"><h3 dir="auto">${row.text}</h3><span class="small quiet">${at + 1} of ${count}</span></div>
    <${Fault} of=${text.error} />${ready ? html`<${Passage} project=${project} fields=${text.data.fields} />`
      : !text.error && html`<p class="quiet">Loading</p>`}
    <dl class="facts">${Object.entries(row.grades).map(([name, value]) => html`<dt>${name}</dt><dd>${nameOf(value)}${
      row.notes[name] && html`<span class="quiet" dir="auto">: ${row.notes[name]}</span>`}</dd>`)}</dl>
    ${final && html`<div class="row between"><span>${final.person} settled it as <b>${nameOf(final.grade)}</b>${final.note ? ` (${final.note})` : ""}</span>
      <button disabled=${!ready} onClick=${reopen}>Reopen</button></div>`}
    <${Field} label=${html`Note on the final grade <kbd>c</kbd>`}><input dir="auto" maxlength="10000" readonly=${!ready} value=${note}
      onInput=${(event) => setNote(event.target.value)} /><//>
    <div class="grades" role="group" aria-label="Final grade">
      ${keyedLevels(levels).map(([name, level]) => html`<button disabled=${!ready} aria-pressed=${final?.grade === level.score ? "true" : "false"}
        onClick=${() => settle(level)}><${Dot} colour=${level.colour} />${level.name}${name && html` <kbd>${name}</kbd>`}</button>`)}</div></article>`;
}

// The document of what is in dispute, and whether it is there; that of the next one is asked for ahead.
function useText(place, row, next) {
  const ask = (key) => api.get(`${place}/documents/${enc(key)}`);
  const ahead = useRef({});
  const load = () => {
    if (!row) return Promise.resolve(null);
    const { key, answer } = ahead.current;
    ahead.current = {};
    return key === row.document ? answer : ask(row.document);
  };
  const text = useLoad(load, [row?.document]);
  const ready = Boolean(row) && text.data?.key === row.document;
  useEffect(() => {
    if (!ready || !next || next.document === row.document) return;
    const answer = ask(next.document);
    // One that fails is told when it is wanted.
    answer.catch(() => {});
    ahead.current = { key: next.document, answer };
  }, [ready, next?.document]);
  return [text, ready];
}

const LISTS = [["false", "To settle"], ["true", "Settled"]];

// What is to be settled, or was; what is settled leaves at once and goes by the outbox.
function useDisputes(place, levels) {
  const [settled, setSettled] = useState("false");
  const [at, setAt] = useState(0);
  const pathOf = (row) => `${place}/queries/${enc(row.query)}/final/${enc(row.document)}`;
  const load = async () => {
    await outbox.flush();
    const rows = await outbox.read(() => api.get(`${place}/disagreements?settled=${settled}`));
    return rows.filter((row) => !outbox.waiting(pathOf(row)));
  };
  const rows = useLoad(load, [settled]);
  useOutbox(({ path, answer }) => {
    if (!path.startsWith(`${place}/queries/`) || !path.includes("/final/")) return;
    const level = levels.find((one) => one.score === answer?.grade);
    if (answer) toast(level ? `Settled as ${level.name}; exports use it` : "Reopened");
    rows.reload();
  });
  const count = rows.data?.length || 0;
  const here = Math.min(at, Math.max(count - 1, 0));
  const row = rows.data?.[here];
  const [text, ready] = useText(place, row, rows.data?.[here + 1]);
  // What is typed belongs to the pair that it was typed for, and stays in the browser until that is settled.
  const [, turn] = useState(0);
  const keptAs = row && `unsaved note ${pathOf(row)}`;
  const note = row ? store.get(keptAs) ?? row.final?.note ?? "" : "";
  const setNote = (text) => { store.put(keptAs, text); turn((n) => n + 1); };
  const put = (grade) => {
    rows.set(rows.data.filter((one) => one !== row));
    outbox.put(pathOf(row), { grade, note: grade === null ? "" : note, version: row.final ? row.final.version : 0 });
    store.remove(keptAs);
  };
  const settle = (level) => ready && put(level.score);
  const reopen = () => ready && row.final && put(null);
  return { rows, row, text, ready, count, here, setAt, settle, reopen, note, setNote, settled, choose: (value) => { setAt(0); setSettled(value); } };
}

export function Agreement({ project }) {
  const place = `projects/${enc(project.key)}`;
  const levels = [...project.schema.levels].sort((a, b) => a.score - b.score);
  const keys = levelKeys(levels);
  const measures = useLoad(() => api.get(`${place}/agreement`), []);
  const progress = useLoad(() => api.get(`${place}/progress`), []);
  const { rows, row, text, ready, count, here, setAt, settle, reopen, note, setNote, settled, choose } = useDisputes(place, levels);
  const table = () => download(`${place}/agreement?format=csv`).catch(told);
  useKeys({
    j: [() => setAt(Math.min(here + 1, count - 1)), "Next disagreement"],
    k: [() => setAt(Math.max(here - 1, 0)), "Previous disagreement"],
    c: [() => document.querySelector(".card input")?.focus(), "Note on the final grade"],
    Backspace: [reopen, "Reopen what was settled"],
    ...Object.fromEntries(Object.entries(keys).map(([name, level]) => [name, [() => settle(level), `Settle as ${level.name}`]])),
  });
  const title = LISTS.find(([value]) => value === settled)[1];
  return html`<div class="stack wide"><section class="stack"><div class="row between"><h2>${title}${rows.data ? ` (${count})` : ""}</h2>
      <span class="row"><${Saved} state=${outbox.state} />
        <${Select} class="slim" aria-label="Which disagreements" value=${settled} change=${choose} options=${LISTS} /></span></div>
      <${Loaded} of=${rows}>${() => (row ? html`<${Dispute} key=${`${row.query}/${row.document}`} project=${project}
        note=${note} setNote=${setNote} row=${row} text=${text} ready=${ready} levels=${levels}
        settle=${settle} reopen=${reopen} at=${here} count=${count} />`
        : html`<p class="quiet">${settled === "true" ? "Nothing settled yet." : "Nothing to settle."}</p>`)}<//></section>
    <section class="stack"><div class="row between"><h2>Agreement</h2><button onClick=${table}>Download as CSV</button></div>
      <${Loaded} of=${measures}>${(data) => html`<${All} data=${data} levels=${levels} />`}<//></section>
    <section class="stack"><h2>Progress</h2><${Loaded} of=${progress}>${(people) => html`<${Progress} rows=${people} />`}<//>
      </section></div>`;
}
