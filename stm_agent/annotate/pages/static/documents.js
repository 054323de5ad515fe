// The corpus: search as you type, filter, sort, tags, import and export.
import { html, useState, api, useLoad, Loaded, useDebounced, Snippet, Field, Dialog, told, toast, query, enc, go, useKeys, useRef, useJob } from "/static/lib.js";

const EXPORTS = [["beir", "BEIR folder: goes straight into stm-agent optimize --collection"], ["qrels", "TREC qrels"], ["mteb", "mteb task with its data"], ["triplets", "Triplets with hard negatives"],
  ["aiano", "AIANO dataset JSON"], ["aiano-project", "AIANO project (.aiano)"], ["archive", "Whole project, for another stm-agent"], ["drafts", "LLM drafts with their provenance"]];

function Import({ project, close, done }) {
  const [report, setReport] = useState(null);
  const [busy, setBusy] = useState(false);
  const send = async (event) => {
    event.preventDefault();
    const sum = { added: 0, skipped: {}, examples: [] };
    setBusy(true);
    try {
      for (const file of event.target.elements.files.files) {
        const form = new FormData();
        form.append("file", file);
        const one = await api.post(`projects/${enc(project.key)}/import`, form);
        sum.added += one.added;
        for (const [why, count] of Object.entries(one.skipped)) sum.skipped[why] = (sum.skipped[why] || 0) + count;
        sum.examples.push(...one.examples);
      }
      setReport(sum);
      done();
    } catch (error) { told(error); } finally { setBusy(false); }
  };
  return html`<${Dialog} title="Import documents" close=${close}><form class="stack" onSubmit=${send}>
    <p class="quiet">JSON arrays (AIANO's too), JSON lines or CSV; each document needs an id (_id, id, Document_Id) and keeps every field. Folders: stm-agent annotate import.</p>
    <${Field} label="Files"><input type="file" name="files" multiple required accept=".json,.jsonl,.ndjson,.csv" /><//>
    <div class="row"><button class="main" disabled=${busy}>${busy ? "Importing" : "Import"}</button></div></form>
    ${report && html`<div class="note" role="status"><b>${report.added.toLocaleString()} documents went in.</b> ${Object.entries(report.skipped).map(([why, count]) => html`<div>${count} skipped: ${why}</div>`)}
      ${report.examples.length > 0 && html`<details><summary>Which</summary>${report.examples.map((one) => html`<div class="small">${one}</div>`)}</details>`}</div>`}<//>`;
}

export function Documents({ project, me, reload }) {
  const [words, setWords] = useState("");
  const [mode, setMode] = useState("bm25");
  const [model, setModel] = useState("embedded:all-minilm-l6-v2");
  const [view, setView] = useState({ offset: 0, sort: "", filter: "", tag: "" });
  const [open, setOpen] = useState(null);
  const box = useRef();
  const late = useDebounced(words, 180);
  const place = `projects/${enc(project.key)}`;
  const page = useLoad(() => api.get(`${place}/documents?${query({ ...view, limit: 50 })}`), [view.offset, view.sort, view.filter, view.tag]);
  const found = useLoad(() => late.trim() ? api.get(`${place}/search?${query({ q: late, mode, model: mode === "bm25" ? "" : model })}`) : Promise.resolve(false), [late, mode, model]);
  useKeys({ "/": [() => box.current.focus(), "Search the documents"], i: [() => me.role === "admin" && setOpen("import"), "Import documents"], e: [() => me.role !== "annotator" && setOpen("export"), "Export"] });
  const [progress, begin] = useJob(place, () => toast("Drafts wait under Annotate"));
  const drafted = project.schema.blocks.filter((block) => block.mode !== "plain");
  const fields = project.schema.fields.map((field) => field.name);
  const show = (key) => go(project.key, "work", key);
  const list = (rows, part) => html`<table><thead><tr><th>Document</th><th>Text</th><th>${part ? "Tags" : "Score"}</th></tr></thead><tbody>${rows.map((row) => html`<tr>
    <td><button class="bare" onClick=${() => show(row.key)}>${row.key}</button></td><td>${part ? html`<span class="small">${row.snippet}</span>` : html`<${Snippet} of=${row.snippet} />`}</td>
    <td class="small quiet">${part ? row.tags.map((tag) => html`<button class="bare tag" onClick=${() => setView({ ...view, tag, offset: 0 })}>${tag}</button>`) : row.score.toFixed(3)}</td></tr>`)}</tbody></table>`;
  return html`<div class="stack"><div class="row between"><h2>${project.documents.toLocaleString()} documents</h2><div class="row">
      ${drafted.map((block) => html`<button title="Begins an entry for each of these documents, with a draft to decide on" onClick=${() => begin("drafts", { block: block.id, documents: (late.trim() ? found.data || [] : page.data?.documents || []).map((row) => row.key).slice(0, 50) })}>Draft ${block.name} for these</button>`)}
      ${me.role === "admin" && html`<button onClick=${() => setOpen("import")}>Import <kbd>i</kbd></button>`}${me.role !== "annotator" && html`<button onClick=${() => setOpen("export")}>Export <kbd>e</kbd></button>`}</div></div>
    ${progress}${project.guidelines && html`<details class="note"><summary>Guidelines</summary><p style=${{ whiteSpace: "pre-wrap" }}>${project.guidelines}</p></details>`}
    <div class="row"><div style=${{ flex: "1 1 22rem" }}><${Field} label='Search: "a phrase", -word, field:value'><input ref=${box} type="search" value=${words} onInput=${(event) => setWords(event.target.value)} placeholder="Press / to search" /><//></div>
      <${Field} label="By"><select value=${mode} onChange=${(event) => setMode(event.target.value)}><option value="bm25">words (BM25)</option><option value="dense">meaning (a model)</option><option value="both">both, fused</option></select><//>
      ${mode !== "bm25" && html`<${Field} label="Model"><input value=${model} onChange=${(event) => setModel(event.target.value)} /><//>`}</div>
    ${late.trim() ? html`<${Loaded} of=${found}>${(rows) => rows && (rows.length ? list(rows, false) : html`<p class="quiet">Nothing has these words.</p>`)}<//>` : html`
    <div class="row"><${Field} label="Filter, as year>2000"><input value=${view.filter} onChange=${(event) => setView({ ...view, filter: event.target.value, offset: 0 })} /><//>
      <${Field} label="Sort by"><select value=${view.sort} onChange=${(event) => setView({ ...view, sort: event.target.value, offset: 0 })}><option value="">as imported</option>${fields.flatMap((name) => [html`<option value=${name}>${name}</option>`, html`<option value=${`-${name}`}>${name}, falling</option>`])}</select><//>
      ${view.tag && html`<button onClick=${() => setView({ ...view, tag: "", offset: 0 })}>Tag ${view.tag}: show all</button>`}</div>
    <${Loaded} of=${page}>${(data) => html`${list(data.documents, true)}<div class="row"><button disabled=${!view.offset} onClick=${() => setView({ ...view, offset: Math.max(0, view.offset - 50) })}>Earlier</button>
      <span class="quiet small">${data.total ? `${(view.offset + 1).toLocaleString()} to ${Math.min(view.offset + 50, data.total).toLocaleString()} of ${data.total.toLocaleString()}` : "no documents"}</span>
      <button disabled=${view.offset + 50 >= data.total} onClick=${() => setView({ ...view, offset: view.offset + 50 })}>Later</button></div>`}<//>`}
    ${open === "import" && html`<${Import} project=${project} close=${() => setOpen(null)} done=${() => { page.reload(); reload(); }} />`}
    ${open === "export" && html`<${Dialog} title="Export" close=${() => setOpen(null)}><ul class="plain">${EXPORTS.map(([kind, what]) => html`<li><a class="button" href=${`/api/v1/${place}/export/${kind}`} onClick=${() => toast(`${what}: the download begins`)}>${what}</a></li>`)}</ul><//>`}</div>`;
}
