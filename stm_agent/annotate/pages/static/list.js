// The documents beside the open one: all of them page by page, filtered and sorted, or what a search finds.
import {
  Loaded, Saved, Select, Snippet, api, enc, html, outbox, query, toast, told, useDebounced, useEffect, useKeys, useLoad, useOutbox, useRef, useState,
} from "/static/lib.js";
import { Filters, conditions } from "/static/filters.js";

const PAGE = 120;
const FOUND = 50;
const DEEPEST = 1000;
const WHOSE = [["true", "Assigned to you"], ["false", "All documents"]];

// Gives what is listed, a function that adds the next page to it, and one that tells it what is done since.
function useDocuments(place, words, { filter, sort, mine }) {
  const page = (offset) => api.get(`${place}/documents?${query({ offset, limit: PAGE, sort, mine, filter: conditions(filter) })}`);
  // How many a search would find is not known: one more than are shown stands for those behind them.
  const search = (k) => api.get(`${place}/search?${query({ q: words, k })}`)
    .then((documents) => ({ documents, total: documents.length + (documents.length === k && k < DEEPEST ? 1 : 0) }));
  // Until it is known whether any were dealt to one, none are asked for.
  const first = () => (mine === null ? new Promise(() => {}) : page(0));
  const rows = useLoad(() => (words ? search(FOUND) : first()), [words, filter, sort, mine]);
  const shown = useRef();
  shown.current = rows.data;
  const mark = (key, done) => {
    const was = rows.data?.documents.find((row) => row.key === key);
    if (typeof was?.done !== "boolean" || was.done === done) return;
    const documents = rows.data.documents.map((row) => (row === was ? { ...row, done, moved: !row.moved } : row));
    rows.set({ ...rows.data, documents, open: rows.data.open + (done ? -1 : 1) });
  };
  const more = async () => {
    const { data } = rows;
    // What was done since stays where it is listed; on the server it went behind the open ones, and the rest moved up.
    const moved = data.documents.filter((row) => row.moved && row.done).length;
    try {
      const next = await (words ? search(data.documents.length + FOUND) : page(data.documents.length - moved));
      const listed = new Set(data.documents.map((row) => row.key));
      const documents = next.documents.filter((row) => !listed.has(row.key));
      // What is listed may have been asked for anew meanwhile.
      if (shown.current === data) rows.set({ ...next, documents: [...data.documents, ...documents] });
      return documents;
    } catch (error) {
      told(error);
      return [];
    }
  };
  return [rows, more, mark];
}

// Whether documents were dealt to this person, and whether only those are listed: until they choose, where there are any; null: not known yet.
function useMine(place) {
  const dealt = useLoad(() => api.get(`${place}/documents?${query({ mine: true, limit: 1 })}`), [place]);
  const [chosen, choose] = useState(null);
  const known = dealt.data ? dealt.data.total > 0 : null;
  return { any: Boolean(known), mine: chosen ?? (dealt.error ? false : known), choose };
}

function Row({ row, open, show }) {
  return html`<li><button class="item" aria-current=${row.key === open ? "true" : null} onClick=${() => show(row.key)}>
    <b>${row.key}</b>${typeof row.done === "boolean" && html`<span class="small">${row.done ? "✓ done" : "open"}</span>`}<span class="small quiet clamp" dir="auto">
    ${typeof row.snippet === "string" ? row.snippet : html`<${Snippet} of=${row.snippet} />`}</span></button></li>`;
}

// Whether one is done with the open document (null: it was not dealt to one), and what changes it: kept until the server has it.
function useDone(place, text) {
  const pathOf = (key) => `${place}/documents/${enc(key)}/done`;
  const { key, done } = text.data || {};
  const dealt = typeof done === "boolean";
  const now = dealt ? outbox.waiting(pathOf(key))?.body.done ?? done : null;
  useOutbox(({ path, error }) => {
    if (!dealt || path !== pathOf(key)) return;
    if (error) text.reload();
    else text.set({ ...text.data, done: now });
  });
  const turn = () => {
    if (!dealt) return;
    outbox.put(pathOf(key), { done: !now });
    toast(now ? "Reopened" : `${key} is marked as done`);
  };
  return [now, turn];
}

function Dealt({ mine, choose, rows, done, finish }) {
  return html`<div class="row between"><${Select} class="slim" aria-label="Which documents" value=${String(mine)}
      change=${(value) => choose(value === "true")} options=${WHOSE} />
    ${mine && rows.data?.open !== undefined && html`<span class="small quiet" role="status">${rows.data.open} open of ${rows.data.total}</span>`}
    ${outbox.state === "not saved" && html`<${Saved} state=${outbox.state} />`}
    ${done !== null && html`<button onClick=${finish}>${done ? "Reopen" : "Mark as done"} <kbd>x</kbd></button>`}</div>`;
}

// The document that is open comes as `text`, a load; `searched` is told the words of the search.
export function List({ project, place, open, text, show, searched }) {
  const [words, setWords] = useState("");
  const [view, setView] = useState({ filter: "", sort: "" });
  const box = useRef();
  const body = useRef();
  const late = useDebounced(words.trim(), 150);
  useEffect(() => searched(late), [late]);
  const filter = useDebounced(view.filter, 250);
  const { any, mine, choose } = useMine(place);
  const [rows, more, mark] = useDocuments(place, late, { filter, sort: view.sort, mine });
  useEffect(() => { body.current.scrollTop = 0; }, [late, filter, view.sort, mine]);
  // Finishing an entry may finish the document as well.
  const [done, finish] = useDone(place, text);
  useEffect(() => { if (text.data) mark(text.data.key, done); }, [text.data, done]);
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
    k: [() => step(-1), "Previous document"],
    ...(any ? { x: [finish, "Mark the document assigned to you as done, or reopen it"] } : {}),
  });
  const none = late ? "No match." : filter ? "No document matches." : "No documents yet.";
  return html`<div class="head"><input ref=${box} type="search" dir="auto" aria-label="Search all documents" placeholder="Search all documents  /"
      value=${words} onInput=${(event) => setWords(event.target.value)} />
      ${any && !words.trim() && html`<${Dealt} mine=${mine} choose=${choose} rows=${rows} done=${done} finish=${finish} />`}
      ${!words.trim() && html`<details class="small"><summary>${filter || view.sort ? "Filter and sort (active)" : "Filter and sort"}</summary>
        <${Filters} project=${project} view=${view} change=${(part) => setView({ ...view, ...part })} /></details>`}</div>
    <div class="body list" ref=${body}><${Loaded} of=${rows}>${({ total }) => html`<ul class="plain">${listed.map((row) => html`
      <${Row} key=${row.key} row=${row} open=${open} show=${show} />`)}</ul>
      ${!listed.length && html`<p class="quiet small" style=${{ padding: ".6rem" }}>${none}</p>`}
      ${left > 0 && html`<button class="bare" onClick=${more}>More${late ? "" : ` of ${total.toLocaleString()}`}</button>`}`}<//></div>`;
}
