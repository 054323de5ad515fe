// The open document: what is in it, search inside it, its evidence, and the levels to mark with.
import { Dot, html, keyedLevels, useEffect, useKeys, useMemo, useRef, useState } from "/static/lib.js";
import { Parts } from "/static/parts.js";

// What single letters fold to that is longer than they are: Straße is also strasse, and a PDF's ﬁ is fi.
const WIDE = { ffi: "ﬃ", ffl: "ﬄ", ff: "ﬀ", fi: "ﬁ", fl: "ﬂ", ss: "ßẞ" };
const FOLD = Object.fromEntries(Object.entries(WIDE).flatMap(([folded, letters]) => [...letters].map((letter) => [letter, folded])));

// The pattern of some words, in any case, whatever space is between them. The text itself is searched: in small
// letters it may be longer.
function patternOf(words) {
  const plain = words.trim().normalize("NFC").replace(/[ßẞ\ufb00-\ufb04]/g, (letter) => FOLD[letter]).replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
  const spelled = plain.replace(/ff[il]|f[fil]|ss/gi, (part) => `(?:${part}|[${WIDE[part.toLowerCase()]}])`);
  // A text may have its accents behind their letters (NFD), where a keyboard writes one character.
  const either = spelled.replace(/[^\x00-\x7f]/gu, (letter) => {
    const parts = letter.normalize("NFD");
    return parts === letter ? letter : `(?:${letter}|${parts})`;
  });
  return new RegExp(either.replace(/\s+/g, "\\s+"), "giu");
}

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

function Find({ words, set, count, at, step }) {
  const box = useRef();
  useKeys({ i: [() => { box.current.focus(); box.current.select(); }, "Search in this document"] });
  return html`<div class="row"><input ref=${box} class="slim" style=${{ width: "12rem" }} type="search" aria-label="Search in this document"
      placeholder="In this document  i" value=${words} onInput=${(event) => set(event.target.value)}
      onKeyDown=${(event) => event.key === "Enter" && step(event.shiftKey ? -1 : 1)} />
    ${words.trim() && html`<span class="small quiet" role="status">${count ? `${(at + 1).toLocaleString()} of ${count.toLocaleString()}` : "none"}</span>
      <button class="bare" aria-label="Hit before" onClick=${() => step(-1)}>↑</button>
      <button class="bare" aria-label="Next hit" onClick=${() => step(1)}>↓</button>`}</div>`;
}

function Facts({ project, data }) {
  const shown = project.schema.fields.filter((field) => field.metadata && ![null, undefined, ""].includes(data.fields[field.name]));
  const text = (value) => (typeof value === "object" ? JSON.stringify(value) : String(value));
  return shown.length > 0 && html`<dl class="facts">${shown.map((field) => html`<dt title=${field.description}>${field.name}</dt>
    <dd>${text(data.fields[field.name])}</dd>`)}</dl>`;
}

const NOTHING = [];
export function Document({ project, data, entry, current, looks, pick, mark, locked }) {
  const [words, setWords] = useState("");
  const [at, setAt] = useState(0);
  const [steps, setSteps] = useState(0);
  const { levels, fields } = project.schema;
  const names = fields.filter((field) => field.content).map((field) => field.name);
  const bodies = useMemo(() => (names.length ? names : ["text"]).filter((name) => ![null, undefined, ""].includes(data.fields[name]))
    .map((name) => [name, String(data.fields[name])]), [data]);
  const [hits, count] = useMemo(() => findIn(bodies, words), [bodies, words]);
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
    <div class="body paper stack"><${Facts} project=${project} data=${data} />
      ${bodies.map(([name, text], place) => html`<${Parts} key=${`${data.key}/${name}`} project=${project} document=${data.key} field=${name} text=${text}
        title=${place < bodies.length - 1 && text.length < 300} levels=${levels} marks=${marks[name]} current=${current} hits=${hits[name]} hit=${at}
        looks=${looks} steps=${steps} pick=${pick} />`)}
      ${!bodies.length && html`<p class="quiet">This document has nothing to read in ${(names.length ? names : ["text"]).join(", ")}; a field can be marked
        as content in the settings.</p>`}</div>`;
}
