// The workspace: documents, one of them open with its evidence, and the blocks of an entry.
import { html, useState, useEffect, useRef, useMemo, api, useLoad, Loaded, useDebounced, Dot, Snippet, Dialog, Field, told, toast, query, enc, useKeys, levelKeys, stream } from "/static/lib.js";
import { Text } from "/static/document.js";

const SAVE_AFTER = 800;

// An entry that saves itself: what is typed goes out after a pause, in one request at a time.
function useEntry(place, key) {
  const [entry, setEntry] = useState(null);
  const [state, setState] = useState("saved");
  const [clash, setClash] = useState(null);
  const waiting = useRef({});
  const version = useRef(0);
  const timer = useRef(0);
  const busy = useRef(false);
  const take = (data) => { version.current = data.version; setEntry(data); };
  useEffect(() => { if (key) api.get(`${place}/entries/${key}`).then(take).catch(told); }, [key]);
  const send = async (options) => {
    clearTimeout(timer.current);
    if (busy.current || !Object.keys(waiting.current).length) return;
    const changes = waiting.current;
    waiting.current = {};
    busy.current = true;
    setState("saving");
    try {
      const data = await api.patch(`${place}/entries/${key}`, { version: version.current, changes }, options);
      version.current = data.version;
      // What was typed meanwhile is newer than what came back.
      setEntry((now) => ({ ...data, values: { ...data.values, ...now.values }, evidence: waiting.current.evidence || data.evidence, notes: now.notes, name: now.name }));
      setState(Object.keys(waiting.current).length ? "waiting" : "saved");
    } catch (error) {
      waiting.current = { ...changes, ...waiting.current };
      setState("not saved");
      if (error.current) setClash(error.current); else told(error);
    } finally {
      busy.current = false;
      if (Object.keys(waiting.current).length && !clash) timer.current = setTimeout(send, SAVE_AFTER * 3);
    }
  };
  const change = (part, value) => {
    setEntry((now) => part === "values" ? { ...now, values: { ...now.values, ...value } } : { ...now, [part]: value });
    waiting.current = part === "values" ? { ...waiting.current, values: { ...waiting.current.values, ...value } } : { ...waiting.current, [part]: value };
    setState("waiting");
    clearTimeout(timer.current);
    timer.current = setTimeout(send, SAVE_AFTER);
  };
  useEffect(() => {
    const leave = () => send({ keepalive: true });
    addEventListener("pagehide", leave);
    return () => { removeEventListener("pagehide", leave); leave(); };
  }, [key]);
  const settle = (mine) => {
    version.current = clash.version;
    if (!mine) { waiting.current = {}; setEntry(clash); setState("saved"); } else timer.current = setTimeout(send, 0);
    setClash(null);
  };
  return { entry, state, clash, change, send, take, settle };
}

function Draft({ block, draft, accept, reject, stop }) {
  const [text, setText] = useState(draft.text);
  useEffect(() => setText(draft.text), [draft.text]);
  if (draft.problem) return html`<div class="note bad" role="alert">${draft.problem} <button class="bare" onClick=${reject}>Close</button></div>`;
  return html`<div class="stack" aria-live="polite">${draft.done && block.type === "longtext" ? html`<${Field} label=${`Draft by ${draft.done.model}, yours to edit`}><textarea rows="6" value=${text} onInput=${(event) => setText(event.target.value)}></textarea><//>` : html`<div class="draft">${draft.text || "..."}</div>`}
    <div class="row">${draft.done ? html`<button class="main" onClick=${() => accept(text)}>Accept <kbd>Ctrl+Enter</kbd></button><button onClick=${reject}>Reject <kbd>Esc</kbd></button>` : html`<button onClick=${stop}>Stop</button>`}</div></div>`;
}

function Value({ block, value, change }) {
  const set = (event) => change(event.target.value);
  const id = `block-${block.id}`;
  switch (block.type) {
    case "longtext": return html`<textarea id=${id} rows="5" placeholder=${block.placeholder} value=${value ?? ""} onInput=${set}></textarea>`;
    case "select": return html`<select id=${id} value=${value ?? ""} onChange=${set}><option value=""></option>${block.options.map((one) => html`<option>${one}</option>`)}</select>`;
    case "multiselect": return html`<div id=${id} class="stack" role="group" aria-label=${block.name}>${block.options.map((one) => html`<label class="line"><input type="checkbox" checked=${(value || []).includes(one)} onChange=${() => change((value || []).includes(one) ? value.filter((other) => other !== one) : [...(value || []), one])} />${one}</label>`)}</div>`;
    case "boolean": return html`<div id=${id} class="row" role="group" aria-label=${block.name}>${[[true, block.yes], [false, block.no]].map(([one, name]) => html`<label class="line"><input type="radio" name=${id} checked=${value === one} onChange=${() => change(one)} />${name}</label>`)}</div>`;
    case "number": return html`<input id=${id} type="number" step="any" value=${value ?? ""} onInput=${(event) => change(event.target.value === "" ? null : Number(event.target.value))} />`;
    case "date": return html`<input id=${id} type="date" value=${value ?? ""} onInput=${(event) => change(event.target.value || null)} />`;
    default: return html`<input id=${id} placeholder=${block.placeholder} value=${value ?? ""} onInput=${set} />`;
  }
}

function Blocks({ project, entry, open, change, send }) {
  const place = `projects/${enc(project.key)}`;
  const [drafts, setDrafts] = useState({});
  const stops = useRef({});
  const put = (id, more) => setDrafts((all) => ({ ...all, [id]: more === null ? undefined : { ...all[id], ...more } }));
  useEffect(() => {
    // Drafts that were made beforehand wait for an answer.
    api.get(`${place}/drafts?entry=${entry.key}`).then((rows) => rows.filter((row) => row.state === "offered").forEach((row) => put(row.block, { text: row.answer.trim(), done: row, problem: null }))).catch(told);
  }, [entry.key]);
  const ask = async (block) => {
    await send();
    const stop = new AbortController();
    stops.current[block.id] = stop;
    put(block.id, { text: "", done: null, problem: null });
    let text = "";
    try {
      await stream(`${place}/entries/${entry.key}/drafts`, { block: block.id, document: open }, stop.signal, (kind, data) => {
        if (kind === "piece") put(block.id, { text: (text += data.text) });
        if (kind === "done") put(block.id, { done: data, text: data.answer.trim() });
        if (kind === "problem") put(block.id, { problem: data.title });
      });
    } catch (error) { put(block.id, error.name === "AbortError" ? null : { problem: error.message }); }
  };
  const decide = (block, decision, text) => {
    const draft = drafts[block.id];
    put(block.id, null);
    if (!draft?.done) return;
    const value = block.type === "longtext" || block.type === "text" ? text : draft.done.value;
    if (decision !== "rejected") change("values", { [block.id]: value });
    api.put(`${place}/drafts/${draft.done.key}`, { decision, final: decision === "rejected" ? null : text }).catch(told);
  };
  const first = project.schema.blocks.find((block) => drafts[block.id]?.done);
  useKeys({ "Ctrl+Enter": [() => first && decide(first, "accepted", drafts[first.id].text), "Accept the draft"], Escape: [() => first && decide(first, "rejected"), "Reject the draft"],
    d: [() => { const block = project.schema.blocks.find((one) => one.mode !== "plain"); if (block) ask(block); }, "Draft the first AI block"] });
  return html`<div class="stack">${project.schema.blocks.map((block) => html`<section class="stack" aria-label=${block.name}><div class="row between"><label for=${`block-${block.id}`} style=${{ color: "var(--ink)", fontWeight: 600 }}>${block.name}${block.required ? " (required)" : ""}</label>
      ${block.mode !== "plain" && html`<button class="bare" title=${block.mode === "solo" ? "The LLM sees the prompt alone" : "The LLM sees this block's inputs"} onClick=${() => ask(block)}>Draft</button>`}</div>
    ${block.description && html`<p class="quiet small">${block.description}</p>`}<${Value} block=${block} value=${entry.values[block.id]} change=${(value) => change("values", { [block.id]: value })} />
    ${drafts[block.id] && html`<${Draft} block=${block} draft=${drafts[block.id]} accept=${(text) => decide(block, "accepted", text)} reject=${() => decide(block, "rejected")} stop=${() => stops.current[block.id].abort()} />`}</section>`)}
    ${Object.keys(entry.migrated).length > 0 && html`<details class="note"><summary>Kept from an earlier schema</summary>${Object.entries(entry.migrated).map(([name, value]) => html`<div><b>${name}</b>: ${JSON.stringify(value)}</div>`)}</details>`}
    <${Field} label="Notes"><textarea value=${entry.notes} onInput=${(event) => change("notes", event.target.value)}></textarea><//></div>`;
}

function Evidence({ entry, levels, current, pick, remove, relabel }) {
  if (!entry.evidence.length) return html`<p class="quiet small">No evidence yet: select text and press a level's number.</p>`;
  return html`<ul class="plain">${entry.evidence.map((row) => html`<li class="item" aria-current=${row.key === current ? "true" : null}><div class="row between"><button class="bare small" onClick=${() => pick(row)}>${row.document}</button>
      <span class="row"><select aria-label="Level" style=${{ width: "auto" }} value=${row.level} onChange=${(event) => relabel(row, event.target.value)}>${levels.map((level) => html`<option value=${level.id}>${level.name}</option>`)}${!levels.some((level) => level.id === row.level) && html`<option>${row.level}</option>`}</select>
      <button class="bare" aria-label="Delete this evidence" onClick=${() => remove(row)}>Delete</button></span></div><div class="small">${row.text.slice(0, 160)}</div></li>`)}</ul>`;
}

function List({ project, open, show }) {
  const [words, setWords] = useState("");
  const box = useRef();
  const late = useDebounced(words, 180);
  const place = `projects/${enc(project.key)}`;
  const rows = useLoad(() => late.trim() ? api.get(`${place}/search?${query({ q: late, k: 40 })}`) : api.get(`${place}/documents?limit=60`).then((page) => page.documents), [late]);
  const keys = (rows.data || []).map((row) => row.key);
  const step = (by) => { const next = keys[Math.min(Math.max(keys.indexOf(open) + by, 0), keys.length - 1)]; if (next) show(next); };
  useKeys({ "/": [() => box.current.focus(), "Search the documents"], j: [() => step(1), "Next document"], k: [() => step(-1), "Document before"] });
  return html`<div class="stack"><input ref=${box} type="search" aria-label="Search the documents" placeholder="Search  /" value=${words} onInput=${(event) => setWords(event.target.value)} />
    <${Loaded} of=${rows}>${(data) => html`<ul class="plain">${data.map((row) => html`<li><button class="item" aria-current=${row.key === open ? "true" : null} onClick=${() => show(row.key)}><b>${row.key}</b><br />${typeof row.snippet === "string" ? html`<span class="small quiet">${row.snippet.slice(0, 90)}</span>` : html`<${Snippet} of=${row.snippet} />`}</button></li>`)}</ul>`}<//></div>`;
}

function Find({ text, set }) {
  const [words, setWords] = useState("");
  const [at, setAt] = useState(0);
  const hits = useMemo(() => {
    if (!words.trim()) return [];
    const found = [];
    const low = text.toLowerCase(), want = words.toLowerCase();
    for (let place = low.indexOf(want); place >= 0 && found.length < 2000; place = low.indexOf(want, place + want.length)) found.push([Array.from(text.slice(0, place)).length, Array.from(text.slice(0, place + want.length)).length]);
    return found;
  }, [words, text]);
  useEffect(() => set({ hits, at }), [hits, at]);
  const step = (by) => setAt(hits.length ? (at + by + hits.length) % hits.length : 0);
  return html`<div class="row"><input style=${{ width: "14rem" }} type="search" aria-label="Search in this document" placeholder="In this document" value=${words} onInput=${(event) => { setWords(event.target.value); setAt(0); }} onKeyDown=${(event) => event.key === "Enter" && step(event.shiftKey ? -1 : 1)} />
    ${words && html`<span class="small quiet" role="status">${hits.length ? `${at + 1} of ${hits.length}` : "none"}</span><button class="bare" aria-label="Hit before" onClick=${() => step(-1)}>Before</button><button class="bare" aria-label="Next hit" onClick=${() => step(1)}>Next</button>`}</div>`;
}

export function Work({ project, rest }) {
  const place = `projects/${enc(project.key)}`;
  const levels = project.schema.levels;
  const [open, setOpen] = useState(rest[0] || null);
  const [key, setKey] = useState(null);
  const [current, setCurrent] = useState(null);
  const [find, setFind] = useState({ hits: [], at: 0 });
  const mine = useLoad(() => api.get(`${place}/entries?mine=true`), [project.key]);
  const { entry, state, clash, change, send, take, settle } = useEntry(place, key);
  useEffect(() => { if (mine.data && !key) { const last = mine.data.find((row) => row.state === "draft"); if (last) setKey(last.key); } }, [mine.data]);
  const text = useLoad(() => open ? api.get(`${place}/documents/${enc(open)}`) : Promise.resolve(false), [open]);
  const fresh = () => api.post(`${place}/entries`).then((made) => { mine.reload(); setKey(made.key); return made; }).catch(told);
  const mark = async (span, level) => {
    const into = entry || (await fresh());
    if (!into) return;
    const row = { ...span, key: crypto.randomUUID().replaceAll("-", ""), document: open, level: level.id, text: Array.from(String(text.data.fields[span.field])).slice(span.start, span.end).join("") };
    if (entry) change("evidence", [...entry.evidence, row]);
    else api.patch(`${place}/entries/${into.key}`, { version: into.version, changes: { evidence: [row] } }).then(take).catch(told);
    setCurrent(row.key);
  };
  const remove = (row) => { change("evidence", entry.evidence.filter((one) => one.key !== row.key)); toast("Evidence deleted; Ctrl+z brings it back"); };
  const relabel = (row, level) => change("evidence", entry.evidence.map((one) => one.key === row.key ? { ...one, level } : one));
  const undo = async () => { if (!entry) return; await send(); api.post(`${place}/entries/${entry.key}/undo`, { version: entry.version }).then((data) => { take(data); toast("Undone"); }).catch(told); };
  const finish = async () => {
    await send();
    try {
      const now = await api.get(`${place}/entries/${entry.key}`);
      take(await api.patch(`${place}/entries/${entry.key}`, { version: now.version, changes: { state: "done" } }));
      if (project.schema.blocks.some((block) => block.role === "query")) await api.post(`${place}/entries/${entry.key}/query`, { split: "dev" });
      toast("Entry finished; its query is ready to be judged");
      setKey(null);
      await fresh();
    } catch (error) { told(error); }
  };
  const keys = levelKeys(levels);
  useKeys({ n: [fresh, "New entry"], "Ctrl+z": [undo, "Undo the last change"], "Ctrl+s": [() => send(), "Save now"], f: [() => entry && finish(), "Finish the entry"],
    Delete: [() => { const row = entry?.evidence.find((one) => one.key === current); if (row) remove(row); }, "Delete the evidence that is chosen"],
    ...Object.fromEntries(Object.entries(keys).map(([name, level]) => [name, [() => { const row = entry?.evidence.find((one) => one.key === current); if (row) relabel(row, level.id); }, `Mark as ${level.name}`]])) });
  const content = project.schema.fields.filter((field) => field.content).map((field) => field.name);
  const bodies = (data) => (content.length ? content : ["text"]).filter((name) => data.fields[name]);
  return html`<div class="panes"><section aria-label="Documents"><${List} project=${project} open=${open} show=${setOpen} /></section>
    <section aria-label="Document" class="card">${!open ? html`<p class="quiet">Choose a document on the left, or search with /.</p>` : html`<${Loaded} of=${text}>${(data) => data && html`<div class="stack"><div class="row between"><h2>${data.key}</h2><${Find} text=${bodies(data).map((name) => String(data.fields[name])).pop() || ""} set=${setFind} /></div>
      <div class="row" role="group" aria-label="Levels">${Object.entries(keys).map(([name, level]) => html`<span class="row small" title=${level.help}><${Dot} colour=${level.colour} />${level.name} <kbd>${name}</kbd></span>`)}</div>
      ${bodies(data).map((name, place, all) => html`${all.length > 1 && html`<h3 class="quiet small">${name}</h3>`}<${Text} key=${`${data.key}/${name}`} text=${String(data.fields[name])} field=${name} label=${`${name} of ${data.key}`} levels=${levels} current=${current} find=${place === all.length - 1 ? find : null}
        marks=${(entry?.evidence || []).filter((row) => row.document === data.key && row.field === name)} onMark=${mark} onPick=${setCurrent} />`)}
      ${project.schema.fields.some((field) => field.metadata) && html`<table><tbody>${project.schema.fields.filter((field) => field.metadata).map((field) => html`<tr><th scope="row">${field.name}</th><td>${String(data.fields[field.name] ?? "")}</td></tr>`)}</tbody></table>`}</div>`}<//>`}</section>
    <section aria-label="Entry" class="stack"><div class="row between"><h2>Entry</h2><span class="saved" role="status">${entry ? state : ""}</span></div>
      <div class="row"><select aria-label="Your entries" style=${{ flex: 1 }} value=${key || ""} onChange=${(event) => setKey(event.target.value || null)}><option value="">choose an entry</option>${(mine.data || []).map((row) => html`<option value=${row.key}>${row.state}: ${Object.values(row.values)[0] || row.name || row.key.slice(0, 6)}</option>`)}</select><button onClick=${fresh}>New <kbd>n</kbd></button></div>
      ${entry ? html`<${Blocks} key=${entry.key} project=${project} entry=${entry} open=${open} change=${change} send=${send} />
        <h3>Evidence (${entry.evidence.length})</h3><${Evidence} entry=${entry} levels=${levels} current=${current} pick=${(row) => { setOpen(row.document); setCurrent(row.key); }} remove=${remove} relabel=${relabel} />
        <div class="row"><button class="main" onClick=${finish}>Finish <kbd>f</kbd></button><button onClick=${undo}>Undo <kbd>Ctrl+z</kbd></button><button onClick=${() => change("state", "skipped")}>Skip</button><button onClick=${() => change("state", "flagged")}>Flag</button></div>` : html`<p class="quiet">Begin an entry with New, or by marking evidence.</p>`}</section>
    ${clash && html`<${Dialog} title="Changed somewhere else" close=${() => settle(false)}><p>This entry was saved in another window since you opened it. Nothing of yours is lost yet.</p>
      <table><thead><tr><th></th><th>There</th><th>Yours</th></tr></thead><tbody>${project.schema.blocks.filter((block) => clash.values[block.id] !== entry.values[block.id]).map((block) => html`<tr><th scope="row">${block.name}</th><td>${String(clash.values[block.id] ?? "")}</td><td>${String(entry.values[block.id] ?? "")}</td></tr>`)}
        <tr><th scope="row">Evidence</th><td>${clash.evidence.length}</td><td>${entry.evidence.length}</td></tr><tr><th scope="row">Notes</th><td>${clash.notes}</td><td>${entry.notes}</td></tr></tbody></table>
      <div class="row"><button class="main" onClick=${() => settle(true)}>Keep mine</button><button onClick=${() => settle(false)}>Take what is there</button></div><//>`}</div>`;
}
