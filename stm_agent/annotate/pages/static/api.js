// The REST API: one function a method, errors as Problem, and a login that ends told to whoever listens.

export class Problem extends Error {
  constructor(body, status) {
    super(body.title || `the server answered ${status}`);
    this.status = status;
    this.current = body.current;
    this.unplaced = body.unplaced;
    this.unencoded = body.unencoded;
  }

  // Whether the same request may succeed later: the server is away or busy, or the login has ended.
  get away() { return [0, 401, 408, 429].includes(this.status) || this.status >= 500; }
}

const listeners = new Set();
export function onLoggedOut(tell) {
  listeners.add(tell);
  return () => listeners.delete(tell);
}

export const loggedOut = () => listeners.forEach((tell) => tell());

// Tells whoever waits for a login, and counts it: what was refused before is no news after it.
let logins = 0;
export function loggedIn() {
  logins += 1;
  dispatchEvent(new Event("loggedin"));
}

// The token that goes with the login cookie. No page of another origin can read it, so only this page can send it.
let csrf = null;
function csrfToken() {
  csrf = csrf || fetch("/session").then((answer) => answer.json()).then((mode) => mode.csrf)
    .catch((error) => { csrf = null; throw error; });
  return csrf;
}
csrfToken().catch(() => {});

let refreshing = null;
function refresh() {
  refreshing = refreshing || csrfToken()
    .then((token) => fetch("/session/refresh", { method: "POST", headers: { "x-csrf-token": token } }))
    .finally(() => {
      csrf = null;
      setTimeout(() => { refreshing = null; }, 0);
    });
  return refreshing;
}

async function send(method, path, body, options) {
  const form = body instanceof FormData;
  const plain = body === undefined || form;
  const headers = plain ? {} : { "content-type": "application/json" };
  try {
    if (method !== "GET") headers["x-csrf-token"] = await csrfToken();
    return await fetch(path.startsWith("/") ? path : `/api/v1/${path}`, {
      method,
      body: plain ? body : JSON.stringify(body),
      headers,
      ...options,
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({ title: "the server does not answer" }, 0);
  }
}

async function ask(method, path, body, { raw, quiet, ...options } = {}) {
  const before = logins;
  let answer = await send(method, path, body, options);
  if (answer.headers.has("x-csrf-token")) {
    // Another window has logged in or renewed the login since.
    csrf = null;
    answer = await send(method, path, body, options);
  }
  if (answer.status === 401 && !path.startsWith("/session")) {
    const { ok } = await refresh().catch(() => ({}));
    if (ok || logins !== before) answer = await send(method, path, body, options);
    if (answer.status === 401 && !quiet) loggedOut();
  }
  if (path.startsWith("/session") && method !== "GET") csrf = null;
  if (!answer.ok) throw new Problem(await answer.json().catch(() => ({})), answer.status);
  if (raw) return answer;
  return answer.status === 204 ? null : answer.json();
}

export const api = {
  get: (path, options) => ask("GET", path, undefined, options),
  post: (path, body = {}, options) => ask("POST", path, body, options),
  put: (path, body = {}, options) => ask("PUT", path, body, options),
  patch: (path, body, options) => ask("PATCH", path, body, options),
  del: (path) => ask("DELETE", path),
};

export const enc = encodeURIComponent;

// A key that nothing has yet. Over plain HTTP, as in a team's own network, browsers have no crypto.randomUUID.
export const freshKey = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

// A query string; what is empty is left out, a list is repeated.
export function query(values) {
  const pairs = Object.entries(values).flatMap(([name, value]) => {
    if (Array.isArray(value)) return value.map((one) => [name, one]);
    return value === "" || value === null || value === undefined ? [] : [[name, value]];
  });
  return new URLSearchParams(pairs).toString();
}

// Server-sent events of a POST: EventSource cannot post, a fetch gives a stream.
export async function stream(path, body, signal, tell) {
  const answer = await api.post(path, body, { signal, raw: true });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let kept = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (kept + value).split("\n\n");
    kept = events.pop();
    for (const event of events) {
      const [kind, data] = event.split("\n");
      tell(kind.slice("event: ".length), JSON.parse(data.slice("data: ".length)));
    }
  }
}

// A download that fails is told here, where a link would leave the page for the error; gives what is left out of it.
export async function download(path) {
  const answer = await api.get(path, { raw: true });
  const named = /filename\*?=(?:utf-8'')?"?([^";]+)/i.exec(answer.headers.get("content-disposition") || "");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await answer.blob());
  link.download = named ? decodeURIComponent(named[1]) : "export";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  return { left: answer.headers.get("x-left-out"), missing: answer.headers.get("x-missing") };
}
