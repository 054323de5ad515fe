// The corpus: search as you type, filter, sort, tags, import and export.
import {
  Dialog, Field, Loaded, Select, Snippet, api, download, enc, go, html, query, toast, told, useDebounced, useEffect, useJob, useKeys,
  useLoad, useOpen, useRef, useState,
} from "/static/lib.js";
import { Batch } from "/static/batch.js";
import { Facets } from "/static/facets.js";
import { Filters, conditions } from "/static/filters.js";
import { One } from "/static/one.js";
import { ExportSplits } from "/static/splits.js";

const PAGE = 50;
const DEEPEST = 1000;
const MODES = [["bm25", "words (BM25)"], ["dense", "meaning (a model)"], ["both", "both (fused)"]];
const EXPORTS = [
  ["beir", "BEIR folder", "for stm-agent optimize --collection and evaluate"],
  ["qrels", "TREC qrels", "one line per judgement"],
  ["mteb", "mteb task", "with its data"],
  ["triplets", "Triplets", "JSON lines and a datasets folder, with judged hard negatives"],
  ["aiano", "AIANO dataset", "JSON"],
  ["aiano-project", "AIANO project", ".aiano"],
  ["archive", "Whole project", "for another stm-agent; importing it gives the same project"],
  ["drafts", "LLM drafts", "prompts, models, answers, costs, decisions, edit distances"],
];

function Export({ place, project, admin, close }) {
  const [busy, setBusy] = useState("");
  const take = (kind) => {
    setBusy(kind);
    download(`${place}/export/${kind}`).then(({ left, missing }) => toast(["The download is ready", left && `left out: ${left}`, missing].filter(Boolean).join("; ")))
      .catch(told).finally(() => setBusy(""));
  };
  return html`<${Dialog} title="Export" close=${close}><div class="stack"><${ExportSplits} place=${place} project=${project} admin=${admin} /><table><tbody>${EXPORTS.map(([kind, name, what]) => html`
    <tr><td><button disabled=${Boolean(busy)} onClick=${() => take(kind)}>${busy === kind ? "Writing" : name}</button></td><td class="quiet">
      ${what}</td></tr>`)}</tbody></table></div><//>`;
}

function Report({ of }) {
  const beside = ["queries", "judgements"].filter((what) => of[what]).map((what) => `${of[what].toLocaleString()} ${what}`);
  const came = new Intl.ListFormat("en-GB").format([`${of.added.toLocaleString()} documents`, ...beside]);
  const failed = of.failed.length > 0 && html`<div class="note bad stack tight" role="alert">${of.failed.map((why) => html`
    <div><b>Not imported.</b> ${why}</div>`)}</div>`;
  if (of.failed.length === of.files) return failed;
  return html`${failed}<div class="note stack tight" role="status"><b>Imported ${came}.</b>
    ${Object.entries(of.skipped).map(([why, count]) => html`<div>${count.toLocaleString()} skipped: ${why}</div>`)}
    ${of.examples.length > 0 && html`<details><summary>Skipped documents</summary>${of.examples.map((one) => html`<div class="small">
      ${one}</div>`)}</details>`}
    ${Object.keys(of.fields).length > 0 && html`<div class="small quiet">Fields: ${Object.keys(of.fields).join(", ")}</div>`}</div>`;
}

async function importAll(place, files) {
  const sum = { added: 0, queries: 0, judgements: 0, skipped: {}, examples: [], fields: {}, failed: [], files: files.length };
  for (const file of files) {
    const form = new FormData();
    form.append("file", file);
    let one;
    try {
      one = await api.post(`${place}/import`, form);
    } catch (error) {
      // The others go on, and what went in before is told.
      sum.failed.push(`${file.name}: ${error.message}`);
      continue;
    }
    sum.added += one.added;
    sum.queries += one.queries;
    sum.judgements += one.judgements;
    for (const [why, count] of Object.entries(one.skipped)) sum.skipped[why] = (sum.skipped[why] || 0) + count;
    sum.examples.push(...one.examples);
    Object.assign(sum.fields, one.fields);
  }
  return sum;
}

function Import({ place, close, done }) {
  const [report, setReport] = useState(null);
  const [busy, setBusy] = useState(false);
  const send = (event) => {
    event.preventDefault();
    setBusy(true);
    importAll(place, event.target.elements.files.files).then(setReport, told).finally(() => { setBusy(false); done(); });
  };
  return html`<${Dialog} title="Import documents" close=${close}><div class="stack"><form class="stack" onSubmit=${send}>
    <p class="quiet">A JSON array (AIANO's too), JSON lines, CSV or TSV. A document needs an id (_id, id or Document_Id) and keeps every
      field. A BEIR folder (with its queries and judgements) or a datasets folder comes as a .zip.</p>
    <${Field} label="Files"><input type="file" name="files" multiple required accept=".json,.jsonl,.ndjson,.csv,.tsv,.zip" /><//>
    <div class="row"><button class="main" disabled=${busy}>${busy ? "Importing" : "Import"}</button>
      ${busy && html`<progress class="grow" aria-label="Importing"></progress>`}</div></form>
    ${report && html`<${Report} of=${report} />`}</div><//>`;
}

function Found({ rows, show }) {
  if (!rows.length) return html`<p class="quiet">No match.</p>`;
  return html`<table><thead><tr><th>Document</th><th>Text</th><th class="number">Score</th></tr></thead><tbody>
    ${rows.map((row) => html`<tr key=${row.key}>
    <td><button class="link" onClick=${() => show(row.key)}>${row.key}</button></td><td dir="auto"><${Snippet} of=${row.snippet} /></td>
    <td class="number quiet small">${row.score.toFixed(3)}</td></tr>`)}</tbody></table>`;
}

// A model that has much to encode first does so behind the page; then the search is asked again.
function Unencoded({ of, place, me, again }) {
  const [progress, begin] = useJob(place, "encodings", again);
  return html`<div class="note stack tight" role="status"><p>${progress ? "The search continues when the documents are encoded." : of.message}</p>
    ${progress || (me.role !== "annotator" && html`<div>
      <button class="main" onClick=${() => begin({ model: of.unencoded.model })}>Encode the documents</button></div>`)}</div>`;
}

function Page({ data, project, show, view, setView }) {
  const meta = project.schema.fields.filter((field) => field.metadata).slice(0, 3).map((field) => field.name);
  const to = (offset) => setView({ ...view, offset });
  if (!data.total) return html`<p class="quiet">${view.filter || view.tag ? "No document matches." : "No documents yet. Import some."}</p>`;
  return html`<div class="stack"><table><thead><tr><th>Document</th><th>Text</th>${meta.map((name) => html`<th>${name}</th>`)}<th>Tags</th></tr>
    </thead><tbody>${data.documents.map((row) => html`
    <tr key=${row.key}><td><button class="link" onClick=${() => show(row.key)}>${row.key}</button></td><td><span class="clamp" dir="auto">${row.snippet}</span>
      </td>
      ${meta.map((name) => html`<td class="small">${String(row.metadata[name] ?? "")}</td>`)}
      <td><span class="row">${row.tags.map((tag) => html`<button class="tag" onClick=${() => setView({ ...view, tag, offset: 0 })}>
        ${tag}</button>`)}</span></td></tr>`)}</tbody></table>
    <div class="row between"><span class="quiet small">
      ${(view.offset + 1).toLocaleString()} to ${Math.min(view.offset + PAGE, data.total).toLocaleString()} of ${data.total.toLocaleString()}</span>
      <span class="row"><button disabled=${!view.offset} onClick=${() => to(Math.max(0, view.offset - PAGE))}>Previous</button>
      <button disabled=${view.offset + PAGE >= data.total} onClick=${() => to(view.offset + PAGE)}>Next</button></span></div></div>`;
}

// What is searched stands in the address, told a moment after it is typed.
function useWords(project, rest) {
  const [open, put] = useOpen([project.key, "documents"], ["words"], rest);
  const [words, setWords] = useState(open.words);
  const late = useDebounced(words.trim(), 150);
  useEffect(() => put({ words: late }), [late]);
  useEffect(() => { if (open.words !== late) setWords(open.words); }, [open.words]);
  return [words, setWords, late];
}

export function Documents({ project, me, rest, reload }) {
  const place = `projects/${enc(project.key)}`;
  const [words, setWords, late] = useWords(project, rest);
  const [mode, setMode] = useState("bm25");
  const [model, setModel] = useState("");
  const [view, setView] = useState({ offset: 0, sort: "", filter: "", tag: "" });
  const [open, setOpen] = useState(null);
  const [like, setLike] = useState("");
  const [reach, setReach] = useState({ asked: "", k: PAGE });
  const box = useRef();
  const admin = me.role === "admin";
  const filter = useDebounced(view.filter, 250);
  const ranking = () => api.get(`${place}/runs`).then((runs) => runs.models.filter((one) => one !== "bm25"));
  const models = useLoad(() => (mode === "bm25" ? Promise.resolve([]) : ranking()), [mode]);
  const chosen = model || models.data?.[0] || "";
  const page = useLoad(() => api.get(`${place}/documents?${query({ offset: view.offset, sort: view.sort, tag: view.tag, limit: PAGE,
    filter: conditions(filter) })}`), [view.offset, view.sort, filter, view.tag, project.documents]);
  const by = mode === "bm25" ? "" : chosen;
  const asked = [late, like, mode, by].join(" ");
  const k = reach.asked === asked ? reach.k : PAGE;
  const search = () => (like ? api.get(`${place}/like/${enc(like)}?${query({ model: by, k })}`)
    : api.get(`${place}/search?${query({ q: late, mode, model: by, k })}`));
  const searched = Boolean(late || like);
  const found = useLoad(() => (searched && (mode === "bm25" || chosen) ? search() : Promise.resolve(false)), [late, like, mode, chosen, k]);
  const further = () => setReach({ asked, k: Math.min(2 * k, DEEPEST) });
  const [progress, begin] = useJob(place, "drafts", () => {
    reload();
    toast("The drafts are under Annotate", { act: ["Open", () => go(project.key, "work")] });
  });
  const drafted = project.schema.blocks.some((block) => block.mode !== "plain");
  useKeys({
    "/": [() => box.current.focus(), "Search the documents"],
    ...(admin ? { i: [() => setOpen("import"), "Import documents"] } : {}),
    ...(me.role === "annotator" ? {} : { e: [() => setOpen("export"), "Export"] }),
    ...(drafted ? { b: [() => setOpen("batch"), "Draft for many documents"] } : {}),
  });
  const show = (name) => setOpen({ name });
  const changed = () => { page.reload(); reload(); };
  return html`<div class="stack"><div class="row between"><h2>${project.documents.toLocaleString()} documents</h2><span class="row">
      ${admin && html`<button onClick=${() => setOpen("import")}>Import <kbd>i</kbd>
        </button>`}${drafted && html`<button onClick=${() => setOpen("batch")}>Draft many <kbd>b</kbd>
        </button>`}${me.role !== "annotator" && html`<button onClick=${() => setOpen("export")}>Export <kbd>e</kbd></button>`}</span></div>
    ${progress}
    <div class="row end"><${Field} grow label=${html`Search: <code>"a phrase"</code> <code>-word</code> <code>field:value</code>`}>
      <input ref=${box} type="search" dir="auto" aria-label="Search" value=${words}
        onInput=${(event) => { setLike(""); setWords(event.target.value); }} placeholder="Press / to search" /><//>
      <${Field} label="By"><${Select} value=${mode} change=${setMode} options=${MODES} /><//>
      ${mode !== "bm25" && html`<${Field} label="Model">
        <${Select} value=${chosen} change=${setModel} options=${(models.data || []).map((one) => [one, one])} /><//>`}</div>
    ${like && html`<div><button onClick=${() => setLike("")}>Similar to ${like} ×</button></div>`}
    ${searched && found.error?.unencoded ? html`<${Unencoded} of=${found.error} place=${place} me=${me} again=${found.reload} />`
      : searched ? html`${!like && html`<${Facets} place=${place} asked=${{ q: late, mode, model: by }}
        narrow=${(one) => setWords(`${words.trim()} ${one}`)} />`}
        <${Loaded} of=${found}>${(rows) => rows && html`<${Found} rows=${rows} show=${show} />
          ${rows.length === k && k < DEEPEST && html`<div><button onClick=${further}>Show more than ${k}</button></div>`}`}<//>`
      : html`<${Filters} project=${project} view=${view} change=${(part) => setView({ ...view, ...part, offset: 0 })}>
        ${view.tag && html`<button onClick=${() => setView({ ...view, tag: "", offset: 0 })}>Tagged ${view.tag} ×</button>`}<//>
        <${Facets} place=${place} asked=${{ filter: conditions(filter), tag: view.tag }} tag=${(tag) => setView({ ...view, tag, offset: 0 })}
          narrow=${(one) => setView({ ...view, filter: [view.filter.trim(), one].filter(Boolean).join(", "), offset: 0 })} />
        <${Loaded} of=${page}>${(data) => html`<${Page} data=${data} project=${project} show=${show} view=${view} setView=${setView} />`}<//>`}
    ${open === "import" && html`<${Import} place=${place} close=${() => setOpen(null)} done=${changed} />`}
    ${open === "batch" && html`<${Batch} project=${project} place=${place}
      documents=${searched && found.data ? found.data.map((row) => row.key) : null} begin=${begin} close=${() => setOpen(null)} />`}
    ${open === "export" && html`<${Export} place=${place} project=${project} admin=${admin} close=${() => setOpen(null)} />`}
    ${open?.name && html`<${One} project=${project} me=${me} name=${open.name} words=${searched && !like ? late : ""} close=${() => setOpen(null)}
      changed=${changed} like=${(key) => { setWords(""); setLike(key); }} />`}</div>`;
}
