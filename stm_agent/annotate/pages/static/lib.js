// What every screen uses: the API, the widgets, the router.
import { html, render, useState, useEffect, useRef, useCallback, useMemo } from "/static/vendor/preact.js";
export { html, render, useState, useEffect, useRef, useCallback, useMemo };

export class Problem extends Error {
  constructor(body, status) { super(body.title || `the server answered ${status}`); this.status = status; this.current = body.current; }
}

let refreshing = null;
async function ask(method, path, body, options = {}) {
  const form = body instanceof FormData;
  const answer = await fetch(path.startsWith("/") ? path : `/api/v1/${path}`, {
    method, body: body === undefined ? undefined : form ? body : JSON.stringify(body),
    headers: body === undefined || form ? {} : { "content-type": "application/json" }, ...options });
  if (answer.status === 401 && !options.again && path !== "/session") {
    refreshing = refreshing || fetch("/session/refresh", { method: "POST" }).finally(() => setTimeout(() => { refreshing = null; }, 0));
    if ((await refreshing).ok) return ask(method, path, body, { ...options, again: true });
  }
  if (!answer.ok) throw new Problem(await answer.json().catch(() => ({})), answer.status);
  if (options.raw) return answer;
  return answer.status === 204 ? null : answer.json();
}
export const api = {
  get: (path) => ask("GET", path), post: (path, body = {}) => ask("POST", path, body), put: (path, body = {}) => ask("PUT", path, body),
  patch: (path, body, options) => ask("PATCH", path, body, options), del: (path) => ask("DELETE", path), raw: (path, body, options) => ask("POST", path, body, { ...options, raw: true }),
};
export const enc = encodeURIComponent;
export const query = (values) => new URLSearchParams(Object.entries(values).flatMap(([k, v]) => Array.isArray(v) ? v.map((one) => [k, one]) : v === "" || v === null || v === undefined ? [] : [[k, v]])).toString();

// Server-sent events of a POST: fetch gives a stream, EventSource cannot post.
export async function stream(path, body, signal, tell) {
  const answer = await api.raw(path, body, { signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let kept = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    kept += value;
    const events = kept.split("\n\n");
    kept = events.pop();
    for (const event of events) {
      const [kind, data] = event.split("\n");
      tell(kind.slice(7), JSON.parse(data.slice(6)));
    }
  }
}

const listeners = new Set();
export function toast(text, bad = false) { listeners.forEach((tell) => tell({ text, bad, id: Math.random() })); }
export const told = (error) => { if (error.name !== "AbortError") toast(error.message, true); };
export function Toasts() {
  const [rows, setRows] = useState([]);
  useEffect(() => {
    const tell = (row) => { setRows((all) => [...all.slice(-3), row]); setTimeout(() => setRows((all) => all.filter((one) => one.id !== row.id)), row.bad ? 9000 : 3500); };
    listeners.add(tell);
    return () => listeners.delete(tell);
  }, []);
  return html`<div class="toasts" role="status" aria-live="polite">${rows.map((row) => html`<div key=${row.id} class=${row.bad ? "bad" : ""}>${row.text}</div>`)}</div>`;
}

export function useLoad(load, again) {
  const [state, setState] = useState({ data: null, error: null });
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    let on = true;
    load().then((data) => on && setState({ data, error: null }), (error) => on && setState({ data: null, error }));
    return () => { on = false; };
  }, [...again, turn]);
  return { ...state, reload: useCallback(() => setTurn((n) => n + 1), []), set: (data) => setState({ data, error: null }) };
}
export function Loaded({ of, children }) {
  if (of.error) return html`<div class="note bad" role="alert">${of.error.message}</div>`;
  return of.data === null ? html`<p class="quiet">Loading</p>` : children(of.data);
}

// Keys of a screen: { "key": [function, "what it does"] }; typing in a field is left alone.
const sheets = [];
export const shownKeys = () => Object.assign({}, ...sheets.map((sheet) => sheet.current));
export function useKeys(keys) {
  const kept = useRef(keys);
  kept.current = keys;
  useEffect(() => {
    sheets.push(kept);
    const press = (event) => {
      const field = event.target.closest("input, textarea, select, [contenteditable], dialog");
      const name = (event.ctrlKey || event.metaKey ? "Ctrl+" : "") + (event.altKey ? "Alt+" : "") + event.key;
      const found = kept.current[name];
      if (!found || event.defaultPrevented || (field && !name.startsWith("Ctrl+") && name !== "Escape") || (field && name === "Ctrl+z")) return;
      event.preventDefault();
      found[0](event);
    };
    document.addEventListener("keydown", press);
    return () => { sheets.splice(sheets.indexOf(kept), 1); document.removeEventListener("keydown", press); };
  }, []);
}

export function Dialog({ title, close, children }) {
  const ref = useRef();
  useEffect(() => { ref.current.showModal(); }, []);
  return html`<dialog ref=${ref} aria-label=${title} onClose=${close} onCancel=${close}><div class="row between"><h2>${title}</h2>
    <button class="bare" onClick=${close}>Close <kbd>Esc</kbd></button></div>${children}</dialog>`;
}
export const Field = ({ label, children, hint }) => html`<label><span>${label}</span>${children}${hint && html`<span class="small">${hint}</span>`}</label>`;
export const Dot = ({ colour }) => html`<span class="dot" style=${{ "--c": colour }} aria-hidden="true"></span>`;

// A level's key: its score where every score is one digit and no two are alike, else its place.
export function levelKeys(levels) {
  const scores = levels.map((level) => level.score);
  const plain = scores.every((score) => score < 10) && new Set(scores).size === scores.length;
  return Object.fromEntries(levels.map((level, place) => [String(plain ? level.score : place + 1), level]));
}

// Python counts code points, JavaScript UTF-16 units.
export const toPoints = (text, units) => Array.from(text.slice(0, units)).length;
export const toUnits = (text, points) => Array.from(text).slice(0, points).join("").length;

export function Marked({ text, hits }) {
  const parts = [];
  let at = 0;
  for (const [start, end] of hits) { parts.push(text.slice(at, start), html`<mark class="hit">${text.slice(start, end)}</mark>`); at = end; }
  return html`${parts}${text.slice(at)}`;
}
export function Snippet({ of }) {
  const hits = of.hits.map(([a, b]) => [toUnits(of.text, a), toUnits(of.text, b)]);
  return html`<span class="small">${of.cut[0] ? "... " : ""}<${Marked} text=${of.text} hits=${hits} />${of.cut[1] ? " ..." : ""}</span>`;
}

export function useRoute() {
  const read = () => decodeURI(location.hash.slice(2)).split("/").filter(Boolean);
  const [route, setRoute] = useState(read);
  useEffect(() => { const go = () => setRoute(read()); addEventListener("hashchange", go); return () => removeEventListener("hashchange", go); }, []);
  return route;
}
export const go = (...parts) => { location.hash = `#/${parts.map(enc).join("/")}`; };

// A job of the server: asked for until it ends.
export function useJob(place, ended) {
  const [job, setJob] = useState(null);
  useEffect(() => {
    if (!job || job.state !== "running") return undefined;
    const timer = setTimeout(() => api.get(`${place}/jobs/${job.key}`).then((now) => { setJob(now); if (now.state !== "running") { toast(`${now.what}: ${now.done - now.failed} done, ${now.failed} failed${now.failures.length ? `; ${now.failures[0]}` : ""}`, now.failed > 0); ended(); } }).catch(told), 700);
    return () => clearTimeout(timer);
  }, [job]);
  const view = job?.state === "running" ? html`<div class="row" role="status"><progress aria-label=${job.what} max=${job.total} value=${job.done}></progress><span class="small quiet">${job.what}: ${job.done} of ${job.total}</span><button onClick=${() => api.del(`${place}/jobs/${job.key}`).then(setJob).catch(told)}>Stop</button></div>` : null;
  return [view, (kind, body) => api.post(`${place}/jobs/${kind}`, body).then(setJob).catch(told)];
}

export function useDebounced(value, wait) {
  const [late, setLate] = useState(value);
  useEffect(() => { const timer = setTimeout(() => setLate(value), wait); return () => clearTimeout(timer); }, [value]);
  return late;
}
