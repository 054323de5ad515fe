// The workspace: documents, one of them open with its evidence, and an entry.
import {
  Dialog, Dot, Field, Loaded, Saved, Select, api, enc, freshKey, html, levelKeys, toast, told, useEffect, useKeys,
  useLayoutEffect, useLoad, useOpen, useRef, useState,
} from "/static/lib.js";
import { Blocks } from "/static/blocks.js";
import { Clash } from "/static/clash.js";
import { endSelection, selectedSpan } from "/static/document.js";
import { Entries, summary } from "/static/entries.js";
import { useEntry } from "/static/entry.js";
import { List } from "/static/list.js";
import { Edge, bringIntoView } from "/static/panes.js";
import { Document } from "/static/reader.js";

function Evidence({ entry, levels, current, pick, remove, clear, relabel, locked }) {
  const names = levels.map((level) => [level.id, level.name]);
  const options = (row) => (names.some(([id]) => id === row.level) ? names : [...names, [row.level, row.level]]);
  const colour = (row) => levels.find((level) => level.id === row.level)?.colour || "#888888";
  return html`<section class="stack tight" aria-label="Evidence"><div class="row between"><h3>Evidence (${entry.evidence.length})</h3>
    ${!locked && entry.evidence.length > 1 && html`<button class="bare small" onClick=${clear}>Delete all</button>`}</div>
    ${!entry.evidence.length && html`<p class="quiet small">Select text, by mouse or with <kbd>Shift</kbd> and arrows, and press a level's number.</p>`}
    <ul class="plain">${entry.evidence.map((row) => html`<li key=${row.key} class="item" aria-current=${row.key === current ? "true" : null}>
      <div class="row between"><span class="row"><${Dot} colour=${colour(row)} /><button class="link small" onClick=${() => pick(row)}>
        ${row.document}</button></span>
        ${locked ? html`<span class="small">${options(row).find(([id]) => id === row.level)[1]}</span>` : html`<span class="row">
          <${Select} class="slim" aria-label="Level" value=${row.level} change=${(level) => relabel(row, level)} options=${options(row)} />
          <button class="bare small" aria-label="Delete this evidence" onClick=${() => remove(row)}>Delete</button></span>`}</div>
      <span class="small clamp" dir="auto">${row.text}</span></li>`)}</ul></section>`;
}

// Closed, it waits: nothing is saved, and nothing of either side goes, until one is chosen.
function Changed({ project, keeper }) {
  const { clash, entry } = keeper;
  const [shut, setShut] = useState(false);
  const text = (value) => (Array.isArray(value) ? value.join(", ") : String(value ?? ""));
  const marks = (one) => one.evidence.map((row) => row.text).join(" / ");
  const parts = [
    ...project.schema.blocks.map((block) => [block.name, text(clash.values[block.id]), text(entry.values[block.id])]),
    ["Notes", clash.notes, entry.notes], ["State", clash.state, entry.state], ["Evidence", marks(clash), marks(entry)],
  ];
  if (shut) {
    return html`<div class="note bad row between" role="alert"><span>Changed elsewhere. Nothing is saved until you choose a version.</span>
      <button onClick=${() => setShut(false)}>Choose</button></div>`;
  }
  return html`<${Dialog} title="Changed elsewhere" close=${() => setShut(true)}>
    <${Clash} what="This entry" parts=${parts} mine=${() => keeper.settle(true)} theirs=${() => keeper.settle(false)} /><//>`;
}

const FIELDS = ["input", "textarea", "select"].map((name) => `section[aria-label=Entry] .body ${name}:enabled`).join(", ");

function focusOn(selector, otherwise) {
  const field = document.querySelector(selector);
  if (field) field.focus();
  else toast(otherwise);
}

// Opens an entry, and once it is there its state again.
function useReopen(keeper, state, put) {
  const [wanted, setWanted] = useState(null);
  const entry = keeper?.entry;
  useEffect(() => {
    if (!wanted || entry?.key !== wanted) return;
    setWanted(null);
    if (entry.state === "done") state("draft");
  }, [entry, wanted]);
  return (key) => {
    put({ entry: key });
    setWanted(key);
  };
}

// What is done to an entry as a whole.
function useActs(project, place, keeper, put, mine, text, open) {
  const fresh = async (evidence = []) => {
    await keeper?.flush();
    try {
      let made = await api.post(`${place}/entries`, { document: open || null, reuse: true });
      try {
        // It is opened with what it begins with in it.
        if (evidence.length) made = await api.patch(`${place}/entries/${made.key}`, { version: made.version, changes: { evidence } });
      } catch (error) { told(error); }
      // An empty one that is open already is begun for another document.
      if (keeper?.entry?.key === made.key) keeper.came(made);
      mine.reload();
      put({ entry: made.key });
    } catch (error) { told(error); }
  };
  // A document that was dealt out is done with what is finished on it.
  const follow = () => { if (typeof text.data?.done === "boolean") text.reload(); };
  const state = async (value) => {
    keeper.change("state", value);
    await keeper.flush();
    // What was sent before it was there, and the answer lost: the state is sent over that.
    if (keeper.dirty && !keeper.clash && !keeper.away) await keeper.flush();
    mine.reload();
    follow();
    return keeper.state === "saved" && keeper.entry.state === value;
  };
  const reopen = useReopen(keeper, state, put);
  const finish = async () => {
    const before = keeper.entry.state;
    if (!(await state("done"))) {
      if (keeper.clash) {
        keeper.withdraw("state", before);
        toast("The entry was changed elsewhere, so it is not finished. Choose a version, then finish it", { bad: true });
        return;
      }
      if (keeper.away) toast("The server does not answer, so the entry is not finished. What you typed is kept; finish it later", { bad: true });
      keeper.change("state", before);
      return;
    }
    const asks = project.schema.blocks.some((block) => block.role === "query");
    try {
      if (asks) await api.post(`${place}/entries/${keeper.entry.key}/query`);
      const { key } = keeper.entry;
      await fresh();
      // Offered once the next one is open: that would take whoever reopens this one away from it.
      toast(asks ? "Finished; its query is ready to be judged" : "Finished", { act: ["Reopen", () => reopen(key)] });
    } catch (error) {
      // Without its query it is not finished.
      told(error);
      await state(before);
    }
  };
  const step = async (way, words, more) => {
    if (!(await keeper.step(way))) return;
    toast(words, more);
    follow();
  };
  const redo = () => step("redo", "Redone");
  const undo = () => step("undo", "Undone", { act: ["Redo", redo] });
  return { fresh, state, finish, undo, redo };
}

function EntryPane({ project, keeper, open, show, levels, current, pick, remove, clear, relabel, acts, locked, theirs }) {
  const { entry } = keeper;
  return html`<div class="body stack wide">
    <${Blocks} key=${entry.key} project=${project} keeper=${keeper} open=${open} show=${show} locked=${locked} />
      <${Evidence} entry=${entry} levels=${levels} current=${current} pick=${pick} remove=${remove} clear=${clear} relabel=${relabel}
        locked=${locked} />
      <${Field} label="Notes"><textarea dir="auto" value=${entry.notes} disabled=${locked} onInput=${(event) => keeper.change("notes", event.target.value)}>
        </textarea><//></div>
    <div class="foot row between">${theirs ? html`<span class="quiet">Written by ${entry.author} (read only)</span>`
      : entry.state === "done" ? html`<button onClick=${() => acts.state("draft")}>Reopen</button><button onClick=${acts.undo}>Undo <kbd>Ctrl+z</kbd>
        </button>`
      : html`<button class="main" onClick=${acts.finish}>Finish <kbd>f</kbd></button><span class="row">
        <button onClick=${acts.undo}>Undo <kbd>Ctrl+z</kbd></button>
        <${Select} aria-label="State of the entry" class="slim" value=${entry.state} change=${acts.state}
          options=${[["draft", "Draft"], ["flagged", "Flagged"], ["skipped", "Skipped"]]} /></span>`}</div>`;
}

// An entry brings its document along: that of its first evidence, or the one it was drafted for.
const aboutOf = (row) => row.evidence[0]?.document || row.about || null;

export function Work({ project, me, rest }) {
  const place = `projects/${enc(project.key)}`;
  const { levels } = project.schema;
  const [{ document: open, entry: key }, put] = useOpen([project.key, "work"], ["document", "entry"], rest);
  const [current, setCurrent] = useState(null);
  const [looks, setLooks] = useState(0);
  const [listing, setListing] = useState(false);
  const [searched, setSearched] = useState("");
  const mine = useLoad(() => api.get(`${place}/entries?mine=true`), [project.key]);
  const keeper = useEntry(place, key);
  const entry = keeper?.entry || null;
  useEffect(() => { if (keeper?.gone) put({ entry: "" }); }, [keeper?.gone]);
  const theirs = Boolean(entry) && entry.author !== me.name;
  // What is finished stands in exports: it is reopened before it changes.
  const locked = theirs || entry?.state === "done";
  // The document that is to be brought into view once it is there.
  const [brought, bring] = useState(null);
  const section = useRef();
  const show = (document) => { put({ document }, { step: true }); bring({ document }); };
  const pickEntry = (row) => put({ entry: row.key, document: aboutOf(row) || open }, { step: true });
  const text = useLoad(() => (open ? api.get(`${place}/documents/${enc(open)}`) : Promise.resolve(false)), [open]);
  useLayoutEffect(() => { if (brought && text.data?.key === brought.document) bringIntoView(section.current); }, [brought, text.data?.key]);
  const acts = useActs(project, place, keeper, put, mine, text, open);
  useEffect(() => {
    const last = mine.data && !key && mine.data.find((row) => row.state === "draft");
    // What was chosen meanwhile stays.
    if (last) put((now) => ({ entry: now.entry || last.key, document: now.document || aboutOf(last) || "" }));
  }, [mine.data]);
  const chosen = entry?.evidence.find((row) => row.key === current);
  const relabel = (row, level) => keeper.change("evidence", entry.evidence.map((one) => (one.key === row.key ? { ...one, level } : one)));
  // The offer to undo brings back these rows, whatever was done since.
  const without = (rows, words) => {
    const gone = new Set(rows.map((row) => row.key));
    const places = new Map(entry.evidence.map((row, at) => [row.key, at]));
    keeper.change("evidence", entry.evidence.filter((row) => !gone.has(row.key)));
    const back = () => {
      if (keeper.entry.state === "done") {
        toast("This entry is finished; reopen it to change it");
        return;
      }
      const all = [...keeper.entry.evidence];
      for (const row of rows) if (!all.some((one) => one.key === row.key)) all.splice(places.get(row.key), 0, row);
      keeper.change("evidence", all);
    };
    toast(words, { act: ["Undo", back] });
  };
  const remove = (row) => without([row], "Evidence deleted");
  const clear = () => without(entry.evidence, "All evidence of the entry deleted");
  const mark = async (level) => {
    if (locked) {
      toast("This entry is finished; reopen it to change it");
      return;
    }
    if (key && !entry) {
      toast("The entry is still loading; mark the text again in a moment", { bad: true });
      return;
    }
    const span = selectedSpan();
    if (!span) {
      if (chosen) relabel(chosen, level.id);
      else toast("Select some text first");
      return;
    }
    endSelection();
    const { document, field, start, end, text: words } = span;
    const row = { key: freshKey(), document, field, start, end, text: words, level: level.id };
    setCurrent(row.key);
    if (entry) keeper.change("evidence", [...entry.evidence, row]);
    else await acts.fresh([row]);
  };
  const showEvidence = (row) => {
    show(row.document);
    setCurrent(row.key);
    // Chosen again, it is shown again.
    setLooks(looks + 1);
  };
  const free = Boolean(entry) && !theirs;
  const marking = Object.fromEntries(Object.entries(levelKeys(levels))
    .map(([name, level]) => [name, [() => mark(level), `Mark or relabel as ${level.name}`]]));
  useKeys({
    n: [() => acts.fresh(), "New entry"],
    o: [() => setListing(true), "All entries"],
    t: [() => focusOn("section[aria-label=Document] .text:not(.title)", "Open a document first"), "To the document's text"],
    e: [() => focusOn(FIELDS, "Open an entry first"), "To the first field of the entry"],
    ...(free ? {
      f: [() => entry.state !== "done" && acts.finish(), "Finish the entry"],
      "Ctrl+z": [acts.undo, "Undo the last change"],
      "Ctrl+Shift+z": [acts.redo, "Redo the change that was undone"],
      "Ctrl+s": [() => keeper.flush(), "Save now"],
      Delete: [() => chosen && !locked && remove(chosen), "Delete the selected evidence"],
    } : {}),
    ...(theirs ? {} : marking),
  });
  const rows = (mine.data || []).map((row) => (row.key === entry?.key ? entry : row));
  const options = [["", "Choose an entry"], ...rows.map((row) => [row.key, `${row.state}: ${summary(row)}`])];
  if (entry && !rows.some((row) => row.key === entry.key)) options.push([entry.key, summary(entry)]);
  const change = (one) => {
    const row = rows.find(({ key: own }) => own === one);
    if (row) pickEntry(row);
    else put({ entry: one });
  };
  return html`<div class="panes"><section aria-label="Documents"><${List} project=${project} place=${place} open=${open} text=${text} show=${show} searched=${setSearched} />
      <${Edge} screen="work" side="left" label="Width of the list of documents" width=${248} /></section>
    <section aria-label="Document" ref=${section}>${!open ? html`<div class="empty"><p>Choose a document on the left, or search with <kbd>/</kbd>.</p></div>`
      : html`<${Loaded} of=${text}>${(data) => data && html`<${Document} project=${project} data=${data} searched=${searched} entry=${entry} current=${current} looks=${looks}
        pick=${setCurrent} mark=${mark} locked=${locked} />`}<//>`}</section>
    <section aria-label="Entry"><div class="head"><div class="row between"><h2>Entry</h2>
        ${entry && html`<${Saved} state=${keeper.state} />`}
        <span class="row"><button class="bare" onClick=${() => setListing(true)}>All <kbd>o</kbd></button>
          <button onClick=${() => acts.fresh()}>New <kbd>n</kbd></button></span></div>
        <${Select} aria-label="Your entries" value=${key || ""}
          change=${change} options=${options} />
        ${keeper?.clash && html`<${Changed} key=${key} project=${project} keeper=${keeper} />`}</div>
      ${entry ? html`<${EntryPane} project=${project} keeper=${keeper} open=${open} show=${show} levels=${levels} current=${current}
          pick=${showEvidence} remove=${remove} clear=${clear} relabel=${relabel} acts=${acts} locked=${locked} theirs=${theirs} />`
        : key ? html`<div class="empty"><p class="quiet">Loading</p></div>`
        : html`<div class="empty"><p>Start an entry with <kbd>n</kbd> or by marking evidence.</p></div>`}
      <${Edge} screen="work" side="right" label="Width of the entry" width=${348} /></section>
    ${listing && html`<${Entries} project=${project} me=${me} close=${() => setListing(false)}
      pick=${(row) => { setListing(false); pickEntry(row); }}
      gone=${(row) => { if (row.key === key) put({ entry: "" }); mine.reload(); }} />`}</div>`;
}
