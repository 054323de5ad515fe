// Small parts that every screen uses.
import { html, useCallback, useEffect, useLayoutEffect, useRef, useState } from "/static/vendor/preact.js";
import { store } from "/static/store.js";

const AGAIN = 2500;
const listeners = new Set();
const dialogs = [];

// Tell something at the edge of the screen; `act` is [label, function], an offer beside it.
export function toast(text, { bad = false, act = null } = {}) {
  // An open dialog tells it itself: to a screen reader, and to the keyboard, nothing else is there, and it covers no
  // button. One that closes at this moment is gone after it.
  setTimeout(() => {
    const tell = dialogs.length ? [dialogs.at(-1)] : [...listeners];
    tell.forEach((one) => one({ text, bad, act, id: Math.random() }));
  });
}

const seconds = (row) => (row.bad ? 9 : row.act ? 6 : 3);

export function told(error) {
  if (error.name !== "AbortError") toast(error.message, { bad: true });
}

export function Toasts() {
  const [rows, setRows] = useState([]);
  const ref = useRef();
  useEffect(() => {
    // The last thing shown is on top, also of an open dialog.
    ref.current.hidePopover();
    if (rows.length) ref.current.showPopover();
    // Panes give way, so that nothing of theirs is covered.
    document.documentElement.style.setProperty("--toasts", rows.length ? `${ref.current.offsetHeight + 8}px` : "0px");
  }, [rows]);
  const drop = (row) => setRows((all) => all.filter((one) => one.id !== row.id));
  useEffect(() => {
    const tell = (row) => {
      setRows((all) => [...all.slice(-2), row]);
      setTimeout(() => drop(row), 1000 * seconds(row));
    };
    listeners.add(tell);
    return () => listeners.delete(tell);
  }, []);
  return html`<div ref=${ref} popover="manual" class="toasts" role="status" aria-live="polite">${rows.map((row) => html`
    <div key=${row.id} class=${row.bad ? "bad" : ""}><span>${row.bad ? html`<b>Error:</b> ` : ""}${row.text}</span>
      ${row.act && html`<button class="bare" onClick=${() => { row.act[1](); drop(row); }}>${row.act[0]}</button>`}
      <button class="bare" aria-label="Dismiss" onClick=${() => drop(row)}>×</button></div>`)}</div>`;
}

// State that a closed tab does not lose; null when there is none.
export function useKept(name) {
  const [value, set] = useState(() => JSON.parse(store.get(name) || "null"));
  useLayoutEffect(() => {
    if (value === null) store.remove(name);
    else store.put(name, JSON.stringify(value));
  }, [name, value]);
  return [value, set];
}

// Load when something changes; what was there stays until the new is there, and where the same cannot be loaded anew.
// A server that is away is asked again, and who was logged out is once they are in.
export function useLoad(load, again) {
  const [state, setState] = useState({ data: null, error: null, of: again });
  const [turn, setTurn] = useState(0);
  const reload = useCallback(() => setTurn((n) => n + 1), []);
  useEffect(() => {
    let on = true;
    let timer = 0;
    const failed = (error) => {
      if (!on) return;
      const kept = (old) => (again.every((one, place) => one === old.of[place]) ? old.data : null);
      setState((old) => ({ data: kept(old), error, of: again }));
      // What the tool itself stumbles over (500) is no better a moment later.
      if (error.status === 0 || error.status > 500) timer = setTimeout(reload, AGAIN);
      if (error.status === 401) addEventListener("loggedin", reload);
    };
    load().then((data) => on && setState({ data, error: null, of: again }), failed);
    return () => {
      on = false;
      clearTimeout(timer);
      removeEventListener("loggedin", reload);
    };
  }, [...again, turn]);
  return { data: state.data, error: state.error, reload, set: (data) => setState({ data, error: null, of: again }) };
}

export const Fault = ({ of }) => of && html`<div class="note bad" role="alert">${of.message}</div>`;

export function Loaded({ of, children }) {
  if (of.data === null) return of.error ? html`<${Fault} of=${of.error} />` : html`<p class="quiet">Loading</p>`;
  return html`<${Fault} of=${of.error} />${children(of.data)}`;
}

export function Dialog({ title, close, children, wide = false }) {
  const ref = useRef();
  const placed = useRef(false);
  const [note, setNote] = useState(null);
  const shown = useRef(null);
  shown.current = note;
  useEffect(() => {
    // A fault stays until it is dismissed.
    const timer = note && !note.bad && setTimeout(() => setNote(null), 1000 * seconds(note));
    return () => clearTimeout(timer);
  }, [note]);
  useLayoutEffect(() => {
    const before = document.activeElement;
    dialogs.push(setNote);
    ref.current.showModal();
    // Not its first button: what is typed before the form is there presses nothing.
    ref.current.focus();
    return () => {
      dialogs.splice(dialogs.indexOf(setNote), 1);
      // What was told just before is told on the screen behind.
      const last = shown.current;
      if (last && !last.bad) toast(last.text, last);
      // A closed dialog has given the focus back by itself; by now somebody may be typing elsewhere.
      if ([null, document.body].includes(document.activeElement)) before?.focus?.();
    };
  }, []);
  // What comes later is not found by the browser.
  useLayoutEffect(() => {
    const first = !placed.current && ref.current.querySelector("[autofocus]");
    if (!first) return;
    placed.current = true;
    first.focus();
  });
  return html`<dialog ref=${ref} tabindex="-1" class=${wide ? "wide" : ""} aria-label=${title} onClose=${close}>
    <header><h2>${title}</h2><button class="bare" onClick=${close}>Close <kbd>Esc</kbd></button></header>
    ${note && html`<div class=${`note row between${note.bad ? " bad" : ""}`} role=${note.bad ? "alert" : "status"}>
      <span>${note.bad ? html`<b>Error:</b> ` : ""}${note.text}</span><span class="row">
      ${note.act && html`<button class="bare" onClick=${() => { note.act[1](); setNote(null); }}>${note.act[0]}</button>`}
      <button class="bare" aria-label="Dismiss" onClick=${() => setNote(null)}>×</button></span></div>`}${children}</dialog>`;
}

export const Field = ({ label, children, hint, grow }) => html`
  <label class=${grow ? "grow" : ""}><span>${label}</span>${children}${hint && html`<span class="hint">${hint}</span>`}</label>`;

export const Check = ({ checked, change, children }) => html`
  <label class="line"><input type="checkbox" checked=${checked} onChange=${change} />${children}</label>`;

// What is typed stands as it is typed, "0.0" on the way to "0.05" too; `change` gets a number, or null for none.
export function NumberBox({ value, change, ...more }) {
  const [typed, setTyped] = useState("");
  const meant = (text) => (text === "" ? null : Number(text));
  const put = (event) => {
    setTyped(event.target.value);
    change(meant(event.target.value));
  };
  return html`<input type="number" value=${meant(typed) === (value ?? null) ? typed : value ?? ""} onInput=${put} ...${more} />`;
}

// Options are [value, text]; "selected" on the option holds whatever the order in which the page is made.
export function Select({ value, change, options, ...more }) {
  return html`<select value=${value} onChange=${(event) => change(event.target.value)} ...${more}>${options.map(
    ([one, text]) => html`<option key=${one} value=${one} selected=${one === value}>${text}</option>`)}</select>`;
}

export const Dot = ({ colour }) => html`<span class="dot" style=${{ "--c": colour }} aria-hidden="true"></span>`;

// Python counts code points, JavaScript UTF-16 units; they differ only beyond the basic plane.
const far = /[\ud800-\udfff]/;
export function toPoints(text, units) {
  const head = text.slice(0, units);
  return far.test(head) ? Array.from(head).length : units;
}
export function toUnits(text, points) {
  if (!far.test(text.slice(0, points * 2))) return points;
  return Array.from(text.slice(0, points * 2)).slice(0, points).join("").length;
}

export function Snippet({ of }) {
  const parts = [];
  let at = 0;
  for (const [from, to] of of.hits) {
    const [start, end] = [toUnits(of.text, from), toUnits(of.text, to)];
    parts.push(of.text.slice(at, start), html`<mark class="hit">${of.text.slice(start, end)}</mark>`);
    at = end;
  }
  return html`<span>${of.cut[0] ? "… " : ""}${parts}${of.text.slice(at)}${of.cut[1] ? " …" : ""}</span>`;
}

// The address: project, screen, and what is open on it; any of these may be empty.
function whereabouts() {
  const path = location.hash.startsWith("#/") ? location.hash.slice(2).replace(/\/+$/, "") : "";
  return path ? path.split("/").map(decoded) : [];
}

// A part of an address that nobody encoded, as "100%", stays as it is typed.
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch { return part; }
}

function move(way, parts) {
  const path = `#/${parts.map(encodeURIComponent).join("/")}`.replace(/([^#])\/+$/, "$1");
  if (path === location.hash) return;
  history[way](null, "", path);
  dispatchEvent(new Event("hashchange"));
}
// To another place, from which Back leads here again.
export const go = (...parts) => move("pushState", parts);

// What is open on a screen, by names in the order of the address: there it is found again after a reload, and by Back.
// Gives it with a function that changes some of it, by what it is to be or by a function of what it is now; with `step`
// Back leads to what was open before.
export function useOpen(screen, names, rest) {
  const open = Object.fromEntries(names.map((name, place) => [name, rest[place] || ""]));
  const kept = useRef();
  kept.current = open;
  useEffect(() => () => { kept.current = null; }, []);
  const put = (change, { step = false } = {}) => {
    // Whoever has left meanwhile is not brought back.
    if (!kept.current) return;
    kept.current = { ...kept.current, ...(typeof change === "function" ? change(kept.current) : change) };
    move(step ? "pushState" : "replaceState", [...screen, ...Object.values(kept.current)]);
  };
  return [open, put];
}

export function useRoute() {
  const [route, setRoute] = useState(whereabouts);
  useEffect(() => {
    // Any other hash is a place on the same screen, as that of the link that skips to the content.
    const go = () => { if (!location.hash || location.hash.startsWith("#/")) setRoute(whereabouts()); };
    addEventListener("hashchange", go);
    // It may have changed between the first drawing and this.
    if (whereabouts().join("/") !== route.join("/")) go();
    return () => removeEventListener("hashchange", go);
  }, []);
  return route;
}

export function useDebounced(value, wait) {
  const [late, setLate] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setLate(value), wait);
    return () => clearTimeout(timer);
  }, [value]);
  return late;
}
