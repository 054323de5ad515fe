// A document's text with evidence in it: spans may overlap, are named as well as coloured, and are made by mouse or keys.
import { html, useRef, useEffect, toPoints, toUnits, levelKeys } from "/static/lib.js";

const MOST = 200_000;

function segments(text, marks) {
  const cuts = new Set([0, text.length]);
  for (const mark of marks) { cuts.add(mark.from); cuts.add(mark.to); }
  const places = [...cuts].filter((place) => place <= text.length).sort((a, b) => a - b);
  return places.slice(0, -1).map((start, n) => ({ start, end: places[n + 1], marks: marks.filter((mark) => mark.from <= start && mark.to >= places[n + 1]) }));
}

// Where a selection's end stands in the text, in UTF-16 units; labels are not part of it.
function placeOf(root, node, offset) {
  if (!root.contains(node)) return null;
  let place = 0;
  const walk = document.createTreeWalker(root, NodeFilter.SHOW_TEXT, { acceptNode: (one) => one.parentElement.closest(".name") ? NodeFilter.FILTER_REJECT : NodeFilter.FILTER_ACCEPT });
  const range = document.createRange();
  range.setStart(root, 0);
  range.setEnd(node, offset);
  for (let one = walk.nextNode(); one; one = walk.nextNode()) {
    if (one === node) return place + offset;
    if (range.comparePoint(one, 0) > 0) return place;
    place += one.data.length;
  }
  return place;
}

export function Text({ text: whole, field, marks, levels, current, find, onMark, onPick, label }) {
  const ref = useRef();
  const text = whole.slice(0, MOST);
  const keys = levelKeys(levels);
  const byId = Object.fromEntries(levels.map((level) => [level.id, level]));
  const shown = marks.map((mark) => ({ ...mark, from: toUnits(text, mark.start), to: toUnits(text, mark.end) }));

  const selected = () => {
    const chosen = getSelection();
    if (!chosen.rangeCount || chosen.isCollapsed) return null;
    const range = chosen.getRangeAt(0);
    const ends = [placeOf(ref.current, range.startContainer, range.startOffset), placeOf(ref.current, range.endContainer, range.endOffset)];
    if (ends.includes(null)) return null;
    let [start, end] = ends.sort((a, b) => a - b);
    // Spaces at the ends were never meant.
    while (start < end && /\s/.test(text[start])) start += 1;
    while (end > start && /\s/.test(text[end - 1])) end -= 1;
    return start < end ? { field, start: toPoints(text, start), end: toPoints(text, end) } : null;
  };
  const press = (event) => {
    const level = keys[event.key];
    if (level && !event.ctrlKey && !event.metaKey && !event.altKey) {
      const span = selected();
      if (span) { event.preventDefault(); event.stopPropagation(); getSelection().removeAllRanges(); onMark(span, level); }
      return;
    }
    const ways = { ArrowRight: ["forward", "word"], ArrowLeft: ["backward", "word"], ArrowDown: ["forward", "line"], ArrowUp: ["backward", "line"] };
    const way = ways[event.key];
    if (!way || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    const chosen = getSelection();
    if (!chosen.rangeCount || !ref.current.contains(chosen.focusNode)) chosen.collapse(ref.current, 0);
    if (!event.shiftKey) { if (way[0] === "forward") chosen.collapseToEnd(); else chosen.collapseToStart(); }
    chosen.modify("extend", way[0], way[1]);
    chosen.focusNode?.parentElement?.scrollIntoView?.({ block: "nearest" });
  };
  useEffect(() => { ref.current?.querySelector('[aria-current="true"]')?.scrollIntoView({ block: "center" }); }, [current, find?.at]);

  const found = find?.hits || [];
  const hits = found.map(([a, b], n) => ({ from: toUnits(text, a), to: toUnits(text, b), n }));
  const inner = (start, end) => {
    const parts = [];
    let at = start;
    for (const hit of hits) if (hit.from >= start && hit.to <= end) {
      parts.push(text.slice(at, hit.from), html`<mark class="hit" aria-current=${hit.n === find.at ? "true" : null}>${text.slice(hit.from, hit.to)}</mark>`);
      at = hit.to;
    }
    return html`${parts}${text.slice(at, end)}`;
  };
  return html`<div ref=${ref} class="text" tabindex="0" role="textbox" aria-readonly="true" aria-multiline="true" aria-label=${label} onKeyDown=${press}>${segments(text, shown).map((part) => {
    if (!part.marks.length) return inner(part.start, part.end);
    const top = part.marks[part.marks.length - 1];
    const level = byId[top.level];
    const names = part.marks.map((mark) => byId[mark.level]?.name || mark.level);
    return html`<span class=${`evidence${part.marks.length > 1 ? " many" : ""}`} style=${{ "--c": level?.colour || "#888888" }} title=${names.join(", ")}
      aria-current=${part.marks.some((mark) => mark.key === current) ? "true" : null} onClick=${() => onPick(top.key)}>${part.marks.filter((mark) => mark.from === part.start).map((mark) => html`<span class="name" aria-hidden="true">${byId[mark.level]?.name || mark.level}</span>`)}${inner(part.start, part.end)}</span>`;
  })}</div>${whole.length > MOST && html`<p class="note">The first ${MOST.toLocaleString()} of ${whole.length.toLocaleString()} characters are shown; search reads all of them.</p>`}`;
}
