// The documents beside the open one: all of them page by page, filtered and sorted, or what a search finds.
import { Loaded, Snippet, api, html, query, told, useDebounced, useEffect, useKeys, useLoad, useRef, useState } from "/static/lib.js";
import { Filters, conditions } from "/static/filters.js";

const PAGE = 120;
const FOUND = 50;

// Gives what is listed, and a function that adds the next page to it.
function useDocuments(place, words, { filter, sort }) {
  const page = (offset) => api.get(`${place}/documents?${query({ offset, limit: PAGE, sort, filter: conditions(filter) })}`);
  const search = () => api.get(`${place}/search?${query({ q: words, k: FOUND })}`).then((documents) => ({ documents, total: documents.length }));
  const rows = useLoad(() => (words ? search() : page(0)), [words, filter, sort]);
  const shown = useRef();
  shown.current = rows.data;
  const more = async () => {
    const { data } = rows;
    try {
      const { total, documents } = await page(data.documents.length);
      // What is listed may have been asked for anew meanwhile.
      if (shown.current === data) rows.set({ total, documents: [...data.documents, ...documents] });
      return documents;
    } catch (error) {
      told(error);
      return [];
    }
  };
  return [rows, more];
}

function Row({ row, open, show }) {
  return html`<li><button class="item" aria-current=${row.key === open ? "true" : null} onClick=${() => show(row.key)}>
    <b>${row.key}</b><span class="small quiet clamp">
    ${typeof row.snippet === "string" ? row.snippet : html`<${Snippet} of=${row.snippet} />`}</span></button></li>`;
}

export function List({ project, place, open, show }) {
  const [words, setWords] = useState("");
  const [view, setView] = useState({ filter: "", sort: "" });
  const box = useRef();
  const body = useRef();
  const late = useDebounced(words.trim(), 150);
  const filter = useDebounced(view.filter, 250);
  const [rows, more] = useDocuments(place, late, { filter, sort: view.sort });
  useEffect(() => { body.current.scrollTop = 0; }, [late, filter, view.sort]);
  const listed = rows.data?.documents || [];
  const left = rows.data ? rows.data.total - listed.length : 0;
  const step = async (by) => {
    const next = Math.max(listed.findIndex((row) => row.key === open) + by, 0);
    const row = listed[next] || (left > 0 && (await more())[0]);
    if (row) show(row.key);
  };
  useKeys({
    "/": [() => box.current.focus(), "Search all documents"],
    j: [() => step(1), "Next document"],
    k: [() => step(-1), "Document before"],
  });
  const none = late ? "Nothing has these words." : filter ? "No document fits." : "No documents yet.";
  return html`<div class="head"><input ref=${box} type="search" aria-label="Search all documents" placeholder="Search all documents  /"
      value=${words} onInput=${(event) => setWords(event.target.value)} />
      ${!words.trim() && html`<details class="small"><summary>${filter || view.sort ? "Filtered, sorted" : "Filter, sort"}</summary>
        <${Filters} project=${project} view=${view} change=${(part) => setView({ ...view, ...part })} /></details>`}</div>
    <div class="body list" ref=${body}><${Loaded} of=${rows}>${({ total }) => html`<ul class="plain">${listed.map((row) => html`
      <${Row} key=${row.key} row=${row} open=${open} show=${show} />`)}</ul>
      ${!listed.length && html`<p class="quiet small" style=${{ padding: ".6rem" }}>${none}</p>`}
      ${left > 0 && html`<button class="bare" onClick=${more}>More of ${total.toLocaleString()}</button>`}`}<//></div>`;
}
