// What was said by one key and waits for the server: kept in the browser, sent in order, and again until it is there.
import { Problem, api } from "/static/api.js";
import { store, useFull } from "/static/store.js";
import { html, useEffect, useRef, useState } from "/static/vendor/preact.js";
import { told } from "/static/widgets.js";

const AGAIN = 2500;

// Whether what is stored is what was said, as after a request whose answer was lost.
const same = (said, stored) => Object.keys(said).every((part) => part === "version" || said[part] === stored[part]);

// Nothing is held here but in the browser's storage, so that two windows send the same and a closed one loses nothing.
// A row is { path, body, at }; the body says which version it was said over. Of one path only what was said last waits.
class Outbox {
  constructor() {
    Object.assign(this, { start: null, state: "saved", left: 0, busy: null, timer: 0, listeners: new Set() });
    addEventListener("pagehide", () => this.hurry());
    addEventListener("loggedin", () => this.flush());
  }

  // What somebody said is sent in their name only.
  open(person) {
    this.start = `unsaved by ${encodeURIComponent(person)} `;
    this.flush();
  }

  close() {
    this.start = null;
    clearTimeout(this.timer);
  }

  listen(hear) {
    this.listeners.add(hear);
    return () => this.listeners.delete(hear);
  }

  // `news` is { path, answer } of what was saved, { path, error } of what was refused.
  tell(state, news = null) {
    this.state = state;
    this.listeners.forEach((hear) => hear(news));
  }

  rows() {
    if (!this.start) return [];
    const names = store.names(this.start);
    return names.map((name) => JSON.parse(store.get(name))).sort((a, b) => a.at - b.at);
  }

  store(row) { store.put(this.start + row.path, JSON.stringify(row)); }

  waiting(path) { return JSON.parse(store.get(this.start + path) || "null"); }

  put(path, body, wait = 0) {
    this.store({ path, body, at: Date.now() });
    this.tell("waiting");
    if (!wait) this.flush();
    // The first change starts the clock and later ones do not put it off.
    else if (!this.timer) this.timer = setTimeout(() => this.flush(), wait);
  }

  // Gives whether all of it was saved.
  flush() {
    clearTimeout(this.timer);
    this.timer = 0;
    this.busy = this.busy || this.drain();
    return this.busy;
  }

  async drain() {
    // Whoever flushes holds the promise by now; it is let go in the moment in which nothing waits any more.
    await null;
    let saved = true;
    for (let [row] = this.rows(); row; [row] = this.rows()) {
      const news = await this.send(row);
      if (!news) {
        this.busy = null;
        return false;
      }
      saved = saved && !news.error;
      this.settle(row, news);
    }
    this.busy = null;
    this.tell("saved");
    return saved;
  }

  // Gives what became of a row; null where the server is away and will be asked again.
  async send(row) {
    // The login that ended is told once, not every few seconds.
    const quiet = this.state === "not saved";
    if (!quiet) this.tell("saving");
    try {
      return { answer: await api.put(row.path, row.body, { quiet }) };
    } catch (error) {
      if (error.current && same(row.body, error.current)) return { answer: error.current };
      if (error instanceof Problem && !error.away) {
        told(error);
        return { error };
      }
      this.later(row, error);
      return null;
    }
  }

  settle(row, news) {
    this.left += 1;
    const now = this.waiting(row.path);
    if (now && same(now.body, row.body)) store.remove(this.start + row.path);
    // What was said meanwhile was said over what has just been saved.
    else if (now && news.answer) this.store({ ...now, body: { ...now.body, version: news.answer.version } });
    this.tell(this.state, { path: row.path, ...news });
  }

  later(row, error) {
    // What the server stumbles over lets the others pass.
    const now = this.waiting(row.path);
    if (error.status >= 500 && now) this.store({ ...now, at: Date.now() });
    this.tell("not saved");
    this.timer = setTimeout(() => this.flush(), AGAIN);
  }

  // The page goes: what is not stored by the server after this is sent when it is opened again.
  hurry() {
    this.rows().forEach((row) => api.put(row.path, row.body, { keepalive: true, quiet: true }).catch(() => {}));
  }

  // What was loaded while something was being saved may be from before that, and is loaded again.
  async read(load) {
    for (;;) {
      const { left } = this;
      const data = await load();
      if (left === this.left) return data;
    }
  }
}

export const outbox = new Outbox();

// Draws anew whenever something was saved or waits, and hears of each.
export function useOutbox(hear) {
  const [, turn] = useState(0);
  const kept = useRef(hear);
  kept.current = hear;
  useEffect(() => outbox.listen((news) => {
    turn((n) => n + 1);
    if (news) kept.current(news);
  }), []);
}

export function Saved({ state }) {
  const full = useFull();
  return html`<span class=${`saved${full || state === "not saved" ? " bad" : ""}`} role="status">${state}${
    full ? "; no local copy, the browser's storage is full" : ""}</span>`;
}
