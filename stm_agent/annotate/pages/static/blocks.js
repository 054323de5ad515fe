// The blocks of an entry: filled in by a person, or drafted by an LLM and accepted, edited or rejected.
import {
  Check, NumberBox, Select, api, enc, html, outbox, query, store, stream, toast, told, useEffect, useKeys, useRef, useState,
} from "/static/lib.js";

const WRITTEN = ["text", "longtext"];

function Multi({ block, value, change }) {
  const chosen = value || [];
  const turn = (one) => change(chosen.includes(one) ? chosen.filter((other) => other !== one) : [...chosen, one]);
  return html`<div class="stack tight" role="group" aria-label=${block.name}>${block.options.map((one) => html`
    <${Check} checked=${chosen.includes(one)} change=${() => turn(one)}>${one}<//>`)}</div>`;
}

function YesNo({ block, value, change }) {
  const id = `block-${block.id}`;
  return html`<div class="row" role="group" aria-label=${block.name}>${[[true, block.yes], [false, block.no]].map(([one, name]) => html`
    <label class="line"><input type="radio" name=${id} checked=${value === one} onChange=${() => change(one)} />${name}</label>`)}
    ${value !== undefined && value !== null && html`<button class="bare small" onClick=${() => change(null)}>Clear</button>`}</div>`;
}

function Value({ block, value, change }) {
  const id = `block-${block.id}`;
  const put = (event) => change(event.target.value || null);
  switch (block.type) {
    case "longtext":
      return html`<textarea id=${id} dir="auto" rows="5" placeholder=${block.placeholder} value=${value ?? ""}
        onInput=${(event) => change(event.target.value)}></textarea>`;
    case "select":
      return html`<${Select} id=${id} value=${value ?? ""} change=${(one) => change(one || null)}
        options=${[["", "choose"], ...block.options.map((one) => [one, one])]} />`;
    case "multiselect": return html`<${Multi} block=${block} value=${value} change=${change} />`;
    case "boolean": return html`<${YesNo} block=${block} value=${value} change=${change} />`;
    case "number":
      return html`<${NumberBox} id=${id} step="any" placeholder=${block.placeholder} value=${value} change=${change} />`;
    case "date": return html`<input id=${id} type="date" value=${value ?? ""} onInput=${put} />`;
    default:
      return html`<input id=${id} dir="auto" placeholder=${block.placeholder} value=${value ?? ""} onInput=${(event) => change(event.target.value)} />`;
  }
}

// "No" and 0 are said.
const empty = (value) => value === undefined || value === null || value === "" || value.length === 0;

// Why a block cannot be drafted yet, by the inputs it needs; "" where it can.
function missing(schema, block, entry, open) {
  if (block.mode !== "human") return "";
  for (const source of block.inputs.filter((one) => one.required)) {
    if (source.kind === "block" && empty(entry.values[source.ref])) {
      return `needs ${schema.blocks.find((one) => one.id === source.ref).name} first`;
    }
    if (source.kind === "annotation" && !entry.evidence.some((row) => !source.ref || row.level === source.ref)) {
      return `needs evidence${source.ref ? ` marked ${schema.levels.find((one) => one.id === source.ref).name}` : ""} first`;
    }
    if (source.kind === "field" && !open) return "needs an open document";
  }
  return "";
}

function Draft({ block, draft, edit, accept, reject, stop, again }) {
  if (draft.problem) {
    return html`<div class="note bad stack tight" role="alert"><span>${draft.problem}. Nothing was changed.</span>
      <div class="row"><button onClick=${again}>Try again</button><button class="bare" onClick=${reject}>Close</button></div></div>`;
  }
  if (!draft.done) {
    return html`<div class="stack tight"><div class="draft" dir="auto" aria-busy="true">${draft.text || "Waiting for the LLM"}</div>
      <div class="row"><button onClick=${stop}>Stop <kbd>Esc</kbd></button></div></div>`;
  }
  const cut = draft.done.cut ? `, cut off at its limit of ${draft.done.parameters.max_tokens.toLocaleString()} tokens` : "";
  const label = `Draft by ${draft.done.model}${cut}`;
  return html`<div class="stack tight" data-draft=${block.id}>${WRITTEN.includes(block.type) ? html`
      <label><span>${label} (you can edit it)</span><textarea dir="auto" rows=${block.type === "text" ? 2 : 6} value=${draft.text}
        onInput=${(event) => edit(event.target.value)}></textarea></label>`
      : html`<span class="small quiet">${label}</span><div class="draft" dir="auto">${String(draft.done.value)}</div>`}
    <div class="row"><button class="main" onClick=${accept}>Accept <kbd>Ctrl+Enter</kbd></button>
      <button onClick=${reject}>Reject <kbd>Esc</kbd></button></div></div>`;
}

// Ids in square brackets that are documents of the evidence, as buttons that open them.
function Citations({ text, entry, show }) {
  const known = [...new Set(entry.evidence.map((row) => row.document))].filter((key) => String(text ?? "").includes(`[${key}]`));
  return known.length > 0 && html`<div class="row small"><span class="quiet">Cites</span>${known.map((key) => html`
    <button class="link" onClick=${() => show(key)}>${key}</button>`)}</div>`;
}

// Drafts by block: asked, streamed, stopped, decided on. The entry changes only when a person accepts.
function useDrafts(place, keeper, open, blocks) {
  const [drafts, setDrafts] = useState({});
  const stops = useRef({});
  useEffect(() => () => Object.values(stops.current).forEach((stop) => stop.abort()), []);
  const put = (id, more) => setDrafts((all) => ({ ...all, [id]: more && { ...all[id], ...more } }));
  // What was made of a draft stays in the browser until it is decided on.
  const keptAs = (draft) => `unsaved draft ${draft.key}`;
  const edit = (block, text) => {
    store.put(keptAs(drafts[block.id].done), text);
    put(block.id, { text });
  };
  const pathOf = (draft) => `${place}/drafts/${draft.key}`;
  useEffect(() => {
    // Drafts that were made beforehand, or before the page was closed, wait for an answer: the author's last of each block.
    // What was decided on and waits for the server is decided.
    const waits = (row) => row.state === "offered" && [null, keeper.entry.author].includes(row.asked_by) && !outbox.waiting(pathOf(row));
    api.get(`${place}/drafts?${query({ entry: keeper.entry.key })}`).then((rows) => rows.filter(waits)
      .forEach((row) => put(row.block, { text: store.get(keptAs(row)) ?? row.answer.trim(), done: row, problem: null }))).catch(told);
  }, []);
  const came = (block, done, before) => {
    put(block.id, { done, text: done.answer.trim(), before: null });
    if (!before) return;
    store.remove(keptAs(before.done));
    toast("New draft", { act: ["Restore the previous draft", () => offer(block, before)] });
  };
  const ask = async (block) => {
    stops.current[block.id]?.abort();
    const stop = new AbortController();
    stops.current[block.id] = stop;
    // One that waits stays until a new one is there.
    const before = drafts[block.id]?.done ? drafts[block.id] : drafts[block.id]?.before;
    setDrafts((all) => ({ ...all, [block.id]: { text: "", done: null, problem: null, before } }));
    await keeper.flush();
    let text = "";
    try {
      await stream(`${place}/entries/${keeper.entry.key}/drafts`, { block: block.id, document: open }, stop.signal, (kind, data) => {
        if (kind === "piece") put(block.id, { text: (text += data.text) });
        if (kind === "done") came(block, data, before);
        if (kind === "problem") put(block.id, { problem: data.title });
      });
    } catch (error) {
      if (stops.current[block.id] === stop) put(block.id, error.name === "AbortError" ? before || null : { problem: error.message });
    }
  };
  const decide = (block, decision) => {
    const draft = drafts[block.id];
    stops.current[block.id]?.abort();
    setDrafts((all) => ({ ...all, [block.id]: draft?.done ? null : draft?.before || null }));
    if (!draft?.done) return;
    const kept = decision === "rejected" ? null : WRITTEN.includes(block.type) ? draft.text : draft.done.answer;
    if (kept !== null) keeper.change("values", { [block.id]: WRITTEN.includes(block.type) ? draft.text : draft.done.value });
    outbox.put(pathOf(draft.done), { decision, final: kept });
    store.remove(keptAs(draft.done));
    if (decision === "rejected") toast("Draft rejected", { act: ["Undo", () => offer(block, draft)] });
  };
  const offer = (block, draft) => {
    stops.current[block.id]?.abort();
    store.put(keptAs(draft.done), draft.text);
    put(block.id, draft);
    outbox.put(pathOf(draft.done), { decision: "offered", final: null });
  };
  const waiting = blocks.find((block) => drafts[block.id]);
  return { drafts, ask, decide, waiting, edit };
}

export function Blocks({ project, keeper, open, show, locked }) {
  const { schema } = project;
  const { entry } = keeper;
  const { drafts, ask, decide, waiting, edit } = useDrafts(`projects/${enc(project.key)}`, keeper, open, schema.blocks);
  const change = (block, value) => keeper.change("values", { [block.id]: value });
  const first = () => {
    const asked = schema.blocks.filter((block) => block.mode !== "plain");
    const able = asked.filter((block) => !drafts[block.id] && !missing(schema, block, entry, open));
    return able.find((block) => empty(entry.values[block.id])) || (waiting ? null : asked[0]);
  };
  const next = () => {
    if (first()) ask(first());
    else if (waiting) toast(`Accept or reject the draft of ${waiting.name} first`);
  };
  // The draft that a key is pressed in, or the first.
  const meant = (event) => {
    const id = event.target.closest?.("[data-draft]")?.dataset.draft;
    return id ? schema.blocks.find((block) => block.id === id) : waiting;
  };
  useKeys(locked ? {} : {
    d: [next, "Ask for a draft"],
    "Ctrl+Enter": [(event) => waiting && drafts[meant(event).id].done && decide(meant(event), "accepted"), "Accept the draft"],
    Escape: [(event) => waiting && decide(meant(event), "rejected"), "Reject the draft, or stop it"],
  });
  const one = (block) => {
    const lack = missing(schema, block, entry, open);
    return html`<section class="stack tight" aria-label=${block.name} key=${block.id}>
      <div class="row between"><label class="own" for=${`block-${block.id}`}><span>
        ${block.name}${block.required ? html` <span class="small quiet">required</span>` : ""}</span></label>
        ${block.mode !== "plain" && !locked && html`<span class="row">${lack && html`<span class="small quiet">${lack}</span>`}
          <button disabled=${Boolean(lack)} title=${block.mode === "solo" ? "The LLM sees only the prompt" : "The LLM sees this block's inputs"}
            onClick=${() => ask(block)}>Draft</button></span>`}</div>
      ${block.description && html`<p class="hint">${block.description}</p>`}
      <fieldset disabled=${locked}><${Value} block=${block} value=${entry.values[block.id]} change=${(value) => change(block, value)} /></fieldset>
      <${Citations} text=${entry.values[block.id]} entry=${entry} show=${show} />
      ${drafts[block.id] && !locked && html`<${Draft} block=${block} draft=${drafts[block.id]} edit=${(text) => edit(block, text)} again=${() => ask(block)}
        accept=${() => decide(block, "accepted")} reject=${() => decide(block, "rejected")} stop=${() => decide(block, "rejected")} />`}</section>`;
  };
  return html`${schema.blocks.map(one)}
    ${Object.keys(entry.migrated).length > 0 && html`<details class="note"><summary>Values from earlier blocks</summary><dl class="facts">
      ${Object.entries(entry.migrated).map(([name, value]) => html`<dt>${name}</dt><dd>${JSON.stringify(value)}</dd>`)}</dl></details>`}`;
}
