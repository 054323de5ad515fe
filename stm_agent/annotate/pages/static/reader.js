// The open document: what is in it, search inside it, its evidence, and the levels to mark with.
import { Dot, html, keyedLevels, useEffect, useKeys, useMemo, useRef, useState } from "/static/lib.js";
import { Facts } from "/static/fields.js";
import { searchedIn } from "/static/marking.js";
import { Parts } from "/static/parts.js";
import { patternOf } from "/static/spelling.js";

// Where a document has some words: by field, in code units, numbered through.
export function findIn(bodies, words) {
  const found = {};
  let number = 0;
  const want = patternOf(words);
  for (const [name, text] of bodies) {
    found[name] = [];
    if (!words.trim()) continue;
    for (const hit of text.matchAll(want)) found[name].push({ from: hit.index, to: hit.index + hit[0].length, number: number++ });
  }
  return [found, number];
}

// Where it has the words that found it; numbered through as well, so that the first is scrolled to.
function findSearched(bodies, words) {
  let number = 0;
  const found = Object.fromEntries(bodies.map(([name, text]) => [name, searchedIn(text, words).map((hit) => ({ ...hit, number: number++ }))]));
  return [found, number];
}

function Find({ words, set, count, at, step }) {
  const box = useRef();
  useKeys({ i: [() => { box.current.focus(); box.current.select(); }, "Search in this document"] });
  return html`<div class="row"><input ref=${box} class="slim" dir="auto" style=${{ width: "12rem" }} type="search" aria-label="Search in this document"
      placeholder="In this document  i" value=${words} onInput=${(event) => set(event.target.value)}
      onKeyDown=${(event) => event.key === "Enter" && step(event.shiftKey ? -1 : 1)} />
    ${words.trim() && html`<span class="small quiet" role="status">${count ? `${(at + 1).toLocaleString()} of ${count.toLocaleString()}` : "none"}</span>
      <button class="bare" aria-label="Previous hit" onClick=${() => step(-1)}>↑</button>
      <button class="bare" aria-label="Next hit" onClick=${() => step(1)}>↓</button>`}</div>`;
}

const NOTHING = [];
export function Document({ project, data, searched, entry, current, looks, pick, mark, locked }) {
  const [words, setWords] = useState("");
  const [at, setAt] = useState(0);
  const [steps, setSteps] = useState(0);
  const { levels, fields } = project.schema;
  const names = fields.filter((field) => field.content).map((field) => field.name);
  const bodies = useMemo(() => (names.length ? names : ["text"]).filter((name) => ![null, undefined, ""].includes(data.fields[name]))
    .map((name) => [name, String(data.fields[name])]), [data]);
  const [hits, count] = useMemo(() => (words.trim() ? findIn(bodies, words) : findSearched(bodies, searched)), [bodies, words, searched]);
  const evidence = entry?.evidence || NOTHING;
  const marks = useMemo(() => Object.fromEntries(bodies.map(([name]) => [name,
    evidence.filter((row) => row.document === data.key && row.field === name)])), [bodies, evidence]);
  // The words stay from document to document, and so does the box that somebody may be typing in.
  useEffect(() => setAt(0), [data.key]);
  const step = (by) => {
    setAt(count ? (at + by + count) % count : 0);
    setSteps(steps + 1);
  };
  return html`<div class="head paper"><div class="row between"><h2>${data.key}</h2>
      <${Find} words=${words} set=${(text) => { setWords(text); setAt(0); }} count=${count} at=${at} step=${step} /></div>
      ${!locked && html`<div class="row" role="group" aria-label="Mark the selection as">
        ${keyedLevels(levels).map(([key, level]) => html`
        <button title=${level.help} onMouseDown=${(event) => event.preventDefault()} onClick=${() => mark(level)}>
          <${Dot} colour=${level.colour} />${level.name}${key && html` <kbd>${key}</kbd>`}</button>`)}</div>`}</div>
    <div class="body paper stack"><${Facts} project=${project} fields=${data.fields} />
      ${bodies.map(([name, text], place) => html`<${Parts} key=${`${data.key}/${name}`} project=${project} document=${data.key} field=${name} text=${text}
        title=${place < bodies.length - 1 && text.length < 300} levels=${levels} marks=${marks[name]} current=${current} hits=${hits[name]} hit=${at}
        looks=${looks} steps=${steps} pick=${pick} />`)}
      ${!bodies.length && html`<p class="quiet">This document has no text in ${(names.length ? names : ["text"]).join(", ")}. Content fields are chosen
        in the settings.</p>`}</div>`;
}
