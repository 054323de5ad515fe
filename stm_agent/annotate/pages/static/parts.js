// A text of a book's length, part by part: a browser that is to draw all of it stands still.
import { Select, html, toPoints, toUnits, useEffect, useMemo, useRef, useState } from "/static/lib.js";
import { Text } from "/static/document.js";

const MOST = 200_000;
// What stands across the end of a part is whole in the next one.
const SHARED = 2_000;
const STEP = MOST - SHARED;
const LONGEST_WORD = 200;

// A full storage forgets the place, and nothing else.
function remember(name, part) {
  try {
    sessionStorage.setItem(name, part);
  } catch { /* The part is found again by hand. */ }
}

const inPair = (text, at) => /[\udc00-\udfff]/.test(text[at] || "");

// The beginning or the end of the word that stands at a place; where no white space is near, the character's.
function edgeOf(text, at, way) {
  const [near, word] = way < 0 ? [text.slice(Math.max(at - LONGEST_WORD, 0), at), /\S*$/] : [text.slice(at, at + LONGEST_WORD), /^\S*/];
  const { length } = word.exec(near)[0];
  if (length < LONGEST_WORD) return at + way * length;
  return inPair(text, at) ? at + way : at;
}

export const countOf = (whole) => (whole.length > MOST ? Math.ceil((whole.length - SHARED) / STEP) : 1);

// A part's text, and where it begins in code units and in code points. No word is cut.
export function partOf(whole, number) {
  const from = edgeOf(whole, number * STEP, -1);
  const text = whole.slice(from, edgeOf(whole, Math.min(number * STEP + MOST, whole.length), 1));
  return { from, text, points: from ? toPoints(whole, from) : 0 };
}

// Spans of the whole text as spans of a part of it; what is elsewhere is left out.
const inPart = (rows, by, most, [from, to]) => rows.filter((row) => row[to] > by && row[from] < by + most)
  .map((row) => ({ ...row, [from]: Math.max(row[from] - by, 0), [to]: row[to] - by }));

function Pager({ part, count, turn, field }) {
  const options = Array.from({ length: count }, (_, number) => [String(number), `part ${number + 1} of ${count}`]);
  return html`<div class="row" role="group" aria-label=${`Parts of ${field}`}>
    <button disabled=${part === 0} onClick=${() => turn(part - 1)}>Previous part</button>
    <span><${Select} class="slim" aria-label=${`Part of ${field}`} value=${String(part)} options=${options} change=${(value) => turn(Number(value))} /></span>
    <button disabled=${part === count - 1} onClick=${() => turn(part + 1)}>Next part</button></div>`;
}

export function Parts({ project, text: whole, marks, hits, current, hit, looks, steps, ...rest }) {
  const count = countOf(whole);
  // Where one was in a book is found again, as long as its window is open.
  const kept = `part ${project.key} ${rest.document} ${rest.field}`;
  const [part, setPart] = useState(() => Math.min(Number(sessionStorage.getItem(kept)) || 0, count - 1));
  useEffect(() => { if (count > 1) remember(kept, part); }, [part]);
  const top = useRef();
  const here = useMemo(() => partOf(whole, part), [whole, part]);
  const show = (from, to) => {
    if (from < here.from || to > here.from + here.text.length) setPart(Math.min(Math.floor(from / STEP), count - 1));
  };
  useEffect(() => {
    const mark = count > 1 && marks.find((row) => row.key === current);
    if (mark) show(toUnits(whole, mark.start), toUnits(whole, mark.end));
  }, [current, looks]);
  useEffect(() => {
    const one = count > 1 && hits.find((row) => row.number === hit);
    if (one) show(one.from, one.to);
  }, [hit, hits, steps]);
  // Apart: hits that are new are shown, and a save that brings new marks is to move nobody.
  const ours = useMemo(() => inPart(marks, here.points, here.text.length, ["start", "end"]), [here, marks]);
  const found = useMemo(() => inPart(hits, here.from, here.text.length, ["from", "to"]), [here, hits]);
  const turn = (number) => {
    setPart(number);
    top.current.scrollIntoView({ block: "start" });
  };
  const pager = count > 1 && html`<${Pager} part=${part} count=${count} turn=${turn} field=${rest.field} />`;
  return html`<div class="stack" ref=${top}>${pager}
    <${Text} ...${rest} key=${part} text=${here.text} points=${here.points} marks=${ours} hits=${found} current=${current}
      hit=${hit} looks=${looks} steps=${steps} />${pager}</div>`;
}
