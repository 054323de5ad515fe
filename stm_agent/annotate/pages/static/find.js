// Passages that no run has found: searched by the judge and put beside the pool.
import { Dialog, Loaded, Snippet, api, html, query, useDebounced, useLoad, useState } from "/static/lib.js";

const FOUND = 30;

export function Find({ place, start, pooled, add, close }) {
  const [words, setWords] = useState(start);
  const late = useDebounced(words.trim(), 150);
  const rows = useLoad(() => (late ? api.get(`${place}/search?${query({ q: late, k: FOUND })}`) : Promise.resolve([])), [late]);
  const pick = (row) => { add(row.key, late); close(); };
  return html`<${Dialog} title="Find a passage" wide close=${close}><div class="stack">
    <input type="search" dir="auto" autofocus aria-label="Words of the passage" value=${words} onInput=${(event) => setWords(event.target.value)} />
    <${Loaded} of=${rows}>${(found) => (found.length ? html`<ul class="plain list">${found.map((row) => html`<li key=${row.key}>
      <button class="item" onClick=${() => pick(row)}><b>${row.key}</b>${pooled.has(row.key) ? html` <span class="small quiet">in the pool</span>` : ""}
        <span class="small quiet clamp" dir="auto"><${Snippet} of=${row.snippet} /></span></button></li>`)}</ul>`
      : html`<p class="quiet">${late ? "No match."
        : "The passage you choose is added to the pool and graded like the others."}</p>`)}<//></div><//>`;
}
