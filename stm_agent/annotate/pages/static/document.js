// A document's text with evidence in it: spans may overlap, are named as well as coloured, and are made by mouse or keys.
import { html, toPoints, toUnits, useEffect, useMemo, useRef } from "/static/lib.js";

// The text, cut wherever a span begins or ends.
function segments(text, marks) {
  const cuts = new Set([0, text.length]);
  for (const mark of marks) {
    cuts.add(Math.min(mark.from, text.length));
    cuts.add(Math.min(mark.to, text.length));
  }
  const places = [...cuts].sort((a, b) => a - b);
  return places.slice(0, -1).map((start, place) => {
    const end = places[place + 1];
    return { start, end, marks: marks.filter((mark) => mark.from <= start && mark.to >= end) };
  });
}

const textNodes = (root) => document.createTreeWalker(root, NodeFilter.SHOW_TEXT);

// Where a selection's end stands in the text, in UTF-16 units.
function placeOf(root, node, offset) {
  const point = document.createRange();
  point.setStart(node, offset);
  const walk = textNodes(root);
  let place = 0;
  for (let one = walk.nextNode(); one; one = walk.nextNode()) {
    if (one === node) return place + offset;
    const whole = document.createRange();
    whole.selectNodeContents(one);
    if (point.compareBoundaryPoints(Range.START_TO_START, whole) <= 0) return place;
    place += one.data.length;
  }
  return place;
}

const textOf = (node) => (node.nodeType === Node.TEXT_NODE ? node.parentElement : node).closest(".text[data-field]");

// Where a place of the text, in UTF-16 units, stands in the page: a node and an offset.
function pointOf(root, place) {
  const walk = textNodes(root);
  let left = place;
  for (let one = walk.nextNode(); one; one = walk.nextNode()) {
    if (left <= one.data.length) return [one, left];
    left -= one.data.length;
  }
  return [root, 0];
}

// Ends a selection; arrows go on from its end, also once the text is drawn anew.
export function endSelection() {
  const chosen = getSelection();
  const { endContainer, endOffset } = chosen.getRangeAt(0);
  const root = textOf(endContainer);
  if (root) root.caret = placeOf(root, endContainer, endOffset);
  chosen.removeAllRanges();
}

// What is selected in a text of the screen: { document, field, start, end } in code points, without spaces at the ends.
export function selectedSpan() {
  const chosen = getSelection();
  if (!chosen.rangeCount || chosen.isCollapsed) return null;
  const range = chosen.getRangeAt(0);
  const root = textOf(range.startContainer) || textOf(range.endContainer);
  if (!root) return null;
  let text = "";
  const walk = textNodes(root);
  for (let one = walk.nextNode(); one; one = walk.nextNode()) text += one.data;
  let start = root.contains(range.startContainer) ? placeOf(root, range.startContainer, range.startOffset) : 0;
  // A triple click ends in the next paragraph.
  let end = root.contains(range.endContainer) ? placeOf(root, range.endContainer, range.endOffset) : text.length;
  while (start < end && /\s/.test(text[start])) start += 1;
  while (end > start && /\s/.test(text[end - 1])) end -= 1;
  if (start >= end) return null;
  const place = (units) => Number(root.dataset.points) + toPoints(text, units);
  return {
    document: root.dataset.document, field: root.dataset.field, start: place(start), end: place(end),
    text: text.slice(start, end),
  };
}

const NEAR = 24;
// Left and right change places in a text that is read from right to left.
const SWAPPED = { ArrowRight: "ArrowLeft", ArrowLeft: "ArrowRight" };
const WAYS = {
  ArrowRight: ["forward", "word"], ArrowLeft: ["backward", "word"], ArrowDown: ["forward", "line"], ArrowUp: ["backward", "line"],
};

// What scrolls a text, and the part of the window that shows it: its pane, or in a narrow window the whole page, where
// the head stays at the top.
function frameOf(root) {
  const pane = root.closest(".body");
  if (pane && pane.scrollHeight > pane.clientHeight) return [pane, pane.getBoundingClientRect()];
  const head = root.closest("section")?.querySelector(".head")?.getBoundingClientRect();
  return [document.scrollingElement, { top: Math.max(head?.bottom ?? 0, 0), bottom: innerHeight }];
}

// Scrolls so that the end of the selection that moves is seen: a text may be longer than its pane.
function follow(root) {
  const { focusNode: node, focusOffset: at } = getSelection();
  if (node?.nodeType !== Node.TEXT_NODE) return;
  const letter = document.createRange();
  letter.setStart(node, Math.max(at - 1, 0));
  letter.setEnd(node, Math.min(Math.max(at, 1), node.data.length));
  const { top, bottom } = letter.getBoundingClientRect();
  const [pane, seen] = frameOf(root);
  if (bottom > seen.bottom) pane.scrollTop += bottom - seen.bottom + NEAR;
  else if (top < seen.top) pane.scrollTop -= seen.top - top + NEAR;
}

// Arrows take the next word or line, Shift extends, Ctrl+Shift extends by a letter.
function moveSelection(event, root) {
  const leftward = getComputedStyle(root).direction === "rtl";
  const way = WAYS[(leftward && SWAPPED[event.key]) || event.key];
  if (!way || event.altKey || event.metaKey || (event.ctrlKey && !event.shiftKey)) return;
  event.preventDefault();
  const chosen = getSelection();
  if (!chosen.rangeCount || !root.contains(chosen.focusNode)) chosen.collapse(...pointOf(root, root.caret || 0));
  if (!event.shiftKey && way[0] === "forward") chosen.collapseToEnd();
  if (!event.shiftKey && way[0] === "backward") chosen.collapseToStart();
  chosen.modify("extend", way[0], event.ctrlKey ? "character" : way[1]);
  follow(root);
}

function withHits(text, start, end, hits, current) {
  const parts = [];
  let at = start;
  for (const hit of hits) {
    const from = Math.max(hit.from, start);
    const to = Math.min(hit.to, end);
    if (from >= to) continue;
    parts.push(text.slice(at, from), html`<mark class="hit" aria-current=${hit.number === current ? "true" : null}>${text.slice(from, to)}</mark>`);
    at = to;
  }
  return html`${parts}${text.slice(at, end)}`;
}

// A part of a field's text that begins `points` code points into it; marks (in code points) and hits (in units) are its own.
export function Text({ document: key, field, text, points, title, marks, levels, current, hits, hit, looks, steps, pick }) {
  const ref = useRef();
  const reveal = (what) => ref.current.querySelector(`${what}[aria-current="true"]`)?.scrollIntoView({ block: "nearest" });
  useEffect(() => reveal(".evidence"), [current, looks]);
  useEffect(() => reveal(".hit"), [hit, hits, steps]);
  const parts = useMemo(() => {
    const byId = Object.fromEntries(levels.map((level) => [level.id, level]));
    const nameOf = (mark) => byId[mark.level]?.name || mark.level;
    const shown = marks.map((mark) => ({ ...mark, from: toUnits(text, mark.start), to: toUnits(text, mark.end) }));
    return segments(text, shown).map((part) => {
      const inner = withHits(text, part.start, part.end, hits, hit);
      if (!part.marks.length) return inner;
      // The span on top is the shortest: a click reaches one inside another.
      const top = part.marks.reduce((a, b) => (b.to - b.from < a.to - a.from ? b : a));
      const names = part.marks.map(nameOf).join(", ");
      // Its label is drawn by the style sheet, for the text reads as its letters alone.
      const begun = part.marks.filter((mark) => mark.from === part.start).map(nameOf).join(", ");
      return html`<span class=${`evidence${part.marks.length > 1 ? " many" : ""}`} style=${{ "--c": byId[top.level]?.colour || "#888888" }}
        role="mark" aria-description=${`evidence: ${names}`} title=${names} data-begun=${begun || null}
        aria-current=${part.marks.some((mark) => mark.key === current) ? "true" : null}
        onClick=${() => getSelection().isCollapsed && pick(top.key)}>${inner}</span>`;
    });
  }, [text, marks, levels, current, hits, hit]);
  return html`<div ref=${ref} dir="auto" class=${`text${title ? " title" : ""}`} data-document=${key} data-field=${field} data-points=${points} tabindex="0" role="textbox"
      aria-readonly="true" aria-multiline="true" aria-label=${`${field} of ${key}`}
      onKeyDown=${(event) => moveSelection(event, ref.current)}>${parts}</div>`;
}
