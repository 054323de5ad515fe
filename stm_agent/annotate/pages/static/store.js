// The browser's storage. If it is full or switched off, this window's memory takes its place: nothing fails, and `full`
// says that no copy outlives the window.
import { useEffect, useState } from "/static/vendor/preact.js";

const UNSAVED = "unsaved ";
const memory = new Map();
const listeners = new Set();
let full = false;

const inMemory = () => [...memory.keys()].some((name) => name.startsWith(UNSAVED));

function trying(act, otherwise) {
  try {
    return act();
  } catch {
    return otherwise;
  }
}

function setFull(value) {
  if (full === value) return;
  full = value;
  listeners.forEach((hear) => hear(full));
}

export const store = {
  get full() { return full; },

  get(name) { return memory.get(name) ?? trying(() => localStorage.getItem(name), null); },

  put(name, value) {
    const text = String(value);
    const stored = trying(() => { localStorage.setItem(name, text); return true; }, false);
    if (stored) memory.delete(name);
    else {
      // An older copy would be taken for what was typed last.
      trying(() => localStorage.removeItem(name));
      memory.set(name, text);
    }
    // Settings of the screen, as its theme, are no loss.
    if (name.startsWith(UNSAVED)) setFull(!stored || inMemory());
  },

  remove(name) {
    memory.delete(name);
    trying(() => localStorage.removeItem(name));
  },

  names(start) {
    const stored = trying(() => Object.keys(localStorage), []);
    return [...new Set([...stored, ...memory.keys()])].filter((name) => name.startsWith(start));
  },
};

// What is in this window alone is lost with it: the browser asks before it closes.
addEventListener("beforeunload", (event) => {
  if (inMemory()) event.preventDefault();
});

export function useFull() {
  const [value, setValue] = useState(full);
  useEffect(() => {
    setValue(full);
    listeners.add(setValue);
    return () => listeners.delete(setValue);
  }, []);
  return value;
}
