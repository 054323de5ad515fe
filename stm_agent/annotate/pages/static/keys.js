// Keys of a screen, and the sheet that tells them. A key is "j", "Ctrl+s", "Escape" or a sequence such as "g d".
import { html, useLayoutEffect, useRef, useState } from "/static/vendor/preact.js";
import { store } from "/static/store.js";
import { Dialog } from "/static/widgets.js";

const TYPING = "input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable]";
const WAIT = 1200;
const sheets = [];
let prefix = "";
let waiting = 0;

const singleKeys = () => store.get("single-keys") !== "off";

function nameOf(event) {
  const held = event.ctrlKey || event.metaKey;
  const long = event.key.length > 1;
  const key = held && !long ? event.key.toLowerCase() : event.key;
  return `${held ? "Ctrl+" : ""}${event.altKey ? "Alt+" : ""}${event.shiftKey && (held || long) ? "Shift+" : ""}${key}`;
}

function press(event) {
  if (event.defaultPrevented || event.isComposing || document.querySelector("dialog[open]")) return;
  const name = nameOf(event);
  const always = name.startsWith("Ctrl+") || name === "Escape";
  const field = event.target.closest?.(TYPING);
  // Undo inside a field is the field's own; Escape leaves the field, and rejects nothing but the draft it is in.
  if (field && (!always || ["Ctrl+z", "Ctrl+Shift+z"].includes(name))) return;
  if (field && name === "Escape" && !field.closest("[data-draft]")) {
    field.blur();
    return;
  }
  if (!always && !singleKeys()) return;
  const whole = prefix ? `${prefix} ${name}` : name;
  clearTimeout(waiting);
  prefix = "";
  const shown = sheets.map((sheet) => sheet.current).reverse();
  const found = shown.find((keys) => keys[whole]);
  if (found) {
    event.preventDefault();
    found[whole][0](event);
  } else if (shown.some((keys) => Object.keys(keys).some((key) => key.startsWith(`${whole} `)))) {
    prefix = whole;
    waiting = setTimeout(() => { prefix = ""; }, WAIT);
  }
}
document.addEventListener("keydown", press);

// Keys are { name: [function, what it does] }; the screen that came last is asked first.
export function useKeys(keys) {
  const kept = useRef(keys);
  kept.current = keys;
  // At once, not after the next frame: a key pressed as soon as a screen is seen must not be lost.
  useLayoutEffect(() => {
    sheets.push(kept);
    return () => { sheets.splice(sheets.indexOf(kept), 1); };
  }, []);
}

// All levels by score, each with its key: its score where every score is one digit and no two are alike, else its place,
// the tenth's 0; from the eleventh on there is none.
export function keyedLevels(levels) {
  const scores = levels.map((level) => level.score);
  const plain = scores.every((score) => score < 10) && new Set(scores).size === scores.length;
  const key = (level, place) => String(plain ? level.score : (place + 1) % 10);
  return [...levels].sort((a, b) => a.score - b.score).map((level, place) => [place < 10 ? key(level, place) : null, level]);
}

// Level by key.
export const levelKeys = (levels) => Object.fromEntries(keyedLevels(levels).filter(([key]) => key));

export function Sheet({ close }) {
  const [on, setOn] = useState(singleKeys());
  const rows = Object.entries(Object.assign({}, ...sheets.map((sheet) => sheet.current)));
  const turn = () => {
    store.put("single-keys", on ? "off" : "on");
    setOn(!on);
  };
  const part = (title, some) => some.length > 0 && html`
    <section><h3>${title}</h3><dl class="keys">${some.map(([key, [, what]]) => html`
      <div><dt>${key.split(" ").map((one) => html`<kbd>${one}</kbd> `)}</dt><dd>${what}</dd></div>`)}</dl></section>`;
  return html`<${Dialog} title="Keys" close=${close}><div class="stack">
    <div class="halves">${part("This screen", rows.filter(([key]) => !key.startsWith("g ") && key !== "?"))}
      ${part("Everywhere", rows.filter(([key]) => key.startsWith("g ") || key === "?"))}</div>
    <p class="quiet small">In a text, arrows select word by word and line by line; with <kbd>Shift</kbd> they extend the
      selection, with <kbd>Ctrl</kbd> <kbd>Shift</kbd> by one letter. A level's number then marks it.</p>
    <label class="line"><input type="checkbox" checked=${on} onChange=${turn} />Use single keys (switch off for speech
      input)</label></div><//>`;
}
