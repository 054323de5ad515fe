// An entry that saves itself: what is typed goes out within a second, one request at a time, and is kept in the browser
// until the server has it.
import { Problem, api, freshKey, store, told, useEffect, useMemo, useState } from "/static/lib.js";

const WAIT = 800;
const AGAIN = 2500;
const WINDOW = freshKey();
const keepers = new Set();
const same = (a, b) => JSON.stringify(a ?? null) === JSON.stringify(b ?? null);

// Newer changes over older ones; values are merged block by block.
const over = (old, now) => ({ ...old, ...now, ...(old.values || now.values ? { values: { ...old.values, ...now.values } } : {}) });

// Whether an entry holds all of some changes, as after a request whose answer was lost.
function has(entry, { values = {}, ...parts }) {
  return Object.entries(values).every(([id, value]) => same(entry.values[id], value))
    && Object.entries(parts).every(([part, value]) => same(entry[part], value));
}

// Whether an entry is what was made of a version by changes that were sent.
const next = (entry, version, sent) => Object.keys(sent).length > 0 && entry.version === version + 1 && has(entry, sent);

// Changes are `waiting`, then `sending`, then the server's; until then this window's copy of them is in the browser.
// `lost` is what was sent without an answer: the server may have it all the same.
class Keeper {
  constructor(place, key, tell) {
    Object.assign(this, { path: `${place}/entries/${key}`, tell, entry: null, waiting: {}, sending: {}, lost: {}, clash: null, state: "saved", timer: 0,
      busy: null, away: false, stopped: false, gone: false, copies: {} });
    this.kept = `unsaved ${place} ${key} `;
  }

  get dirty() { return Object.keys(this.waiting).length > 0; }

  // One thing after another.
  async alone(act) {
    while (this.busy) await this.busy;
    this.busy = act();
    try {
      return await this.busy;
    } finally {
      this.busy = null;
    }
  }

  set(more) {
    Object.assign(this, more);
    this.tell();
  }

  // A server or a login that is away is asked again until it is there.
  async load(again = false) {
    try {
      this.take(await api.get(this.path, { quiet: again }));
      const kept = this.found();
      if (!kept || this.dirty) return;
      this.waiting = kept.changes;
      if (has(this.entry, this.waiting)) {
        this.forget();
      } else if (kept.version === this.entry.version || next(this.entry, kept.version, kept.sent)) {
        this.set({ entry: over(this.entry, this.waiting), state: "waiting" });
        this.flush();
      } else {
        this.set({ clash: this.entry, entry: over(this.entry, this.waiting), state: "not saved" });
      }
    } catch (error) {
      if (!again) told(error);
      if (!error.away) this.set({ gone: true });
      else if (!this.stopped) this.later(() => this.load(true));
    }
  }

  take(entry) { this.set({ entry, state: "saved" }); }

  later(act) {
    this.timer = setTimeout(() => {
      this.timer = 0;
      act();
    }, AGAIN);
  }

  // What windows that were closed have left, as one; it is this window's from now on.
  found() {
    const names = store.names(this.kept);
    this.copies = Object.fromEntries(names.map((name) => [name, store.get(name)]));
    const left = Object.values(this.copies).map((text) => JSON.parse(text)).sort((a, b) => a.at - b.at);
    if (!left.length) return null;
    const whole = (part) => left.reduce((all, one) => over(all, one[part]), {});
    return { version: Math.min(...left.map((one) => one.version)), changes: whole("changes"), sent: whole("sent") };
  }

  store() {
    const [sent, changes] = [over(this.lost, this.sending), over(this.sending, this.waiting)];
    const text = JSON.stringify({ version: this.entry.version, at: Date.now(), changes, sent });
    store.put(this.kept + WINDOW, text);
    this.copies[this.kept + WINDOW] = text;
  }

  // The browser has a copy as long as something waits.
  keep() {
    if (this.dirty) this.store();
    else this.forget();
  }

  forget() {
    Object.assign(this, { waiting: {}, lost: {} });
    // What another window has written meanwhile is its own.
    for (const [name, text] of Object.entries(this.copies)) if (store.get(name) === text) store.remove(name);
    this.copies = {};
  }

  change(part, value) {
    const changes = { [part]: value };
    this.waiting = over(this.waiting, changes);
    this.store();
    // The first change starts the clock and later ones do not put it off, so that no typing is older than a second.
    if (!this.timer) this.timer = setTimeout(() => this.flush(), WAIT);
    this.set({ entry: over(this.entry, changes), state: this.clash ? "not saved" : "waiting" });
  }

  flush(options) {
    // What is not there yet has nothing to save, and its clock is that of the next try to load it.
    if (!this.entry) return Promise.resolve();
    clearTimeout(this.timer);
    this.timer = 0;
    return this.alone(() => this.once(options));
  }

  async once(options) {
    if (!this.dirty || this.clash || this.stopped) return;
    const changes = this.waiting;
    Object.assign(this, { sending: changes, waiting: {} });
    this.set({ state: "saving" });
    try {
      // A login that ended is told once, not at every try.
      const saved = await api.patch(this.path, { version: this.entry.version, changes }, { quiet: this.away, ...options });
      Object.assign(this, { sending: {}, lost: {} });
      this.came(saved);
    } catch (error) {
      if (error.away) this.lost = over(this.lost, changes);
      Object.assign(this, { waiting: over(changes, this.waiting), sending: {} });
      if (!this.stopped) this.failed(error);
    }
  }

  // What the server has now; what was typed meanwhile stands over it.
  came(entry) {
    this.set({ entry: over(entry, this.waiting), state: this.dirty ? "waiting" : "saved", away: false });
    this.keep();
  }

  failed(error) {
    const away = error instanceof Problem && error.away;
    if (error.current && has(error.current, this.waiting)) {
      this.forget();
      this.take(error.current);
    } else if (error.current && next(error.current, this.entry.version, this.lost)) {
      // It was saved, and the answer lost; what was typed since is sent over that.
      this.lost = {};
      this.came(error.current);
      this.timer = this.timer || setTimeout(() => this.flush());
    } else if (error.current) {
      this.set({ state: "not saved", clash: error.current, away });
    } else {
      this.set({ state: "not saved", away });
      // A server that is away is asked again; what it refuses is told once and waits for a change.
      if (away) this.later(() => this.flush());
      else told(error);
    }
  }

  settle(mine) {
    const { clash } = this;
    if (!mine) this.forget();
    this.set({ clash: null, entry: mine ? { ...this.entry, version: clash.version } : clash, state: mine ? "waiting" : "saved" });
    if (!mine || !this.dirty) return;
    this.store();
    this.flush();
  }

  // Takes back a part that was not saved; where nothing else waits, what somebody else saved is taken.
  withdraw(part, before) {
    delete this.waiting[part];
    this.entry = { ...this.entry, [part]: before };
    if (!this.dirty && this.clash) {
      this.settle(false);
      return;
    }
    this.keep();
    this.tell();
  }

  // "undo" or "redo".
  async step(way) {
    await this.flush();
    return !this.dirty && this.alone(() => this.stepped(way));
  }

  async stepped(way) {
    try {
      this.came(await api.post(`${this.path}/${way}`, { version: this.entry.version }));
      return true;
    } catch (error) {
      told(error);
      return false;
    }
  }

  // Nothing more is sent, as by whoever logs out.
  stop() {
    this.stopped = true;
    clearTimeout(this.timer);
  }
}

export const saveEntries = () => Promise.all([...keepers].map((keeper) => keeper.flush()));
export const stopEntries = () => keepers.forEach((keeper) => keeper.stop());

export function useEntry(place, key) {
  const [, turn] = useState(0);
  const keeper = useMemo(() => (key ? new Keeper(place, key, () => turn((n) => n + 1)) : null), [place, key]);
  useEffect(() => {
    if (!keeper) return undefined;
    keepers.add(keeper);
    keeper.load();
    const leave = () => keeper.flush({ keepalive: true });
    addEventListener("pagehide", leave);
    return () => {
      removeEventListener("pagehide", leave);
      if (!keeper.entry) keeper.stop();
      leave().then(() => !keeper.dirty && keepers.delete(keeper));
    };
  }, [keeper]);
  return keeper;
}
