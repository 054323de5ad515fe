// An entry that saves itself: what is typed goes out within a second, one request at a time, and is kept in the browser
// until the server has it.
import { Problem, api, told, useEffect, useMemo, useState } from "/static/lib.js";

const WAIT = 800;
const AGAIN = 2500;
const same = (a, b) => JSON.stringify(a ?? null) === JSON.stringify(b ?? null);

// Newer changes over older ones; values are merged block by block.
const over = (old, now) => ({ ...old, ...now, ...(old.values || now.values ? { values: { ...old.values, ...now.values } } : {}) });

class Keeper {
  constructor(place, key, tell) {
    Object.assign(this, { path: `${place}/entries/${key}`, tell, entry: null, waiting: {}, clash: null, state: "saved", timer: 0, busy: null,
      away: false });
    this.kept = `unsaved ${place} ${key}`;
  }

  get dirty() { return Object.keys(this.waiting).length > 0; }

  set(more) {
    Object.assign(this, more);
    this.tell();
  }

  async load() {
    try {
      this.take(await api.get(this.path));
      const kept = JSON.parse(localStorage.getItem(this.kept) || "null");
      if (!kept || this.dirty) return;
      this.waiting = kept.changes;
      if (this.has(this.entry)) {
        this.forget();
      } else if (kept.version === this.entry.version) {
        this.set({ entry: over(this.entry, this.waiting), state: "waiting" });
        this.flush();
      } else {
        this.set({ clash: this.entry, entry: over(this.entry, this.waiting), state: "not saved" });
      }
    } catch (error) { told(error); }
  }

  take(entry) { this.set({ entry, state: "saved" }); }

  forget() {
    this.waiting = {};
    localStorage.removeItem(this.kept);
  }

  // Whether an entry holds all that waits, as after a request whose answer was lost.
  has(entry) {
    const { values = {}, ...parts } = this.waiting;
    return Object.entries(values).every(([id, value]) => same(entry.values[id], value))
      && Object.entries(parts).every(([part, value]) => same(entry[part], value));
  }

  change(part, value) {
    const changes = { [part]: value };
    this.waiting = over(this.waiting, changes);
    localStorage.setItem(this.kept, JSON.stringify({ version: this.entry.version, changes: this.waiting }));
    // The first change starts the clock and later ones do not put it off, so that no typing is older than a second.
    if (!this.timer) this.timer = setTimeout(() => this.flush(), WAIT);
    this.set({ entry: over(this.entry, changes), state: this.clash ? "not saved" : "waiting" });
  }

  async flush(options) {
    clearTimeout(this.timer);
    this.timer = 0;
    // Of several that wait one sends; the others wait for that as well.
    while (this.busy) await this.busy;
    if (!this.dirty || this.clash) return;
    this.busy = this.once(options);
    await this.busy;
    this.busy = null;
  }

  async once(options) {
    const changes = this.waiting;
    this.waiting = {};
    this.set({ state: "saving" });
    try {
      const saved = await api.patch(this.path, { version: this.entry.version, changes }, options);
      if (!this.dirty) this.forget();
      this.set({ entry: over(saved, this.waiting), state: this.dirty ? "waiting" : "saved", away: false });
    } catch (error) {
      this.waiting = over(changes, this.waiting);
      this.failed(error);
    }
  }

  failed(error) {
    const away = error instanceof Problem && error.away;
    if (error.current && this.has(error.current)) {
      this.forget();
      this.take(error.current);
    } else if (error.current) {
      this.set({ state: "not saved", clash: error.current, away });
    } else {
      this.set({ state: "not saved", away });
      // A server that is away is asked again; what it refuses is told once and waits for a change.
      if (away) this.timer = setTimeout(() => this.flush(), AGAIN);
      else told(error);
    }
  }

  settle(mine) {
    const { clash } = this;
    if (!mine) this.forget();
    this.set({ clash: null, entry: mine ? { ...this.entry, version: clash.version } : clash, state: mine ? "waiting" : "saved" });
    if (mine) this.flush();
  }

  // "undo" or "redo".
  async step(way) {
    await this.flush();
    if (this.dirty) return false;
    try {
      this.take(await api.post(`${this.path}/${way}`, { version: this.entry.version }));
      return true;
    } catch (error) {
      told(error);
      return false;
    }
  }
}

export function useEntry(place, key) {
  const [, turn] = useState(0);
  const keeper = useMemo(() => (key ? new Keeper(place, key, () => turn((n) => n + 1)) : null), [place, key]);
  useEffect(() => {
    if (!keeper) return undefined;
    keeper.load();
    const leave = () => keeper.flush({ keepalive: true });
    addEventListener("pagehide", leave);
    return () => {
      removeEventListener("pagehide", leave);
      leave();
    };
  }, [keeper]);
  return keeper;
}
