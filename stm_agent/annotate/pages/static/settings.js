// A project's every part, editable at any time: about, fields, levels, blocks, people.
import {
  Check, Dialog, Field, Loaded, NumberBox, Select, api, enc, go, html, toast, told, useFull, useKept, useKeys, useLoad, useState,
} from "/static/lib.js";
import { Clash } from "/static/clash.js";
import { conditions } from "/static/filters.js";
import { Progress } from "/static/progress.js";
import { tagsOf } from "/static/projects.js";
import { Regrade } from "/static/regrade.js";
import { PARTS, Part, clean } from "/static/schema.js";
import { Splits } from "/static/splits.js";

function About({ about, set }) {
  const put = (name) => (event) => set({ ...about, [name]: event.target.value });
  return html`<section class="stack" aria-label="About"><h2>About</h2><div class="row end"><${Field} grow label="Name">
    <input value=${about.name} onInput=${put("name")} /><//>
      <${Field} grow label="Tags (separated by commas)"><input value=${about.tags} onInput=${put("tags")} /><//>
      <${Field} label="People who judge each query">
        <${NumberBox} min="1" required value=${about.overlap} change=${(overlap) => set({ ...about, overlap })} /><//></div>
    <div class="row end"><${Field} grow label="Most LLM calls by people who are not administrators" hint="Empty: no limit.">
        <${NumberBox} min="0" value=${about.llm_calls} change=${(llm_calls) => set({ ...about, llm_calls })} /><//>
      <${Field} grow label="Most US dollars for these calls" hint="Empty: no limit. A model without a known price is then refused.">
        <${NumberBox} min="0" step="any" value=${about.llm_usd} change=${(llm_usd) => set({ ...about, llm_usd })} /><//></div>
    <${Field} label="Description"><input dir="auto" value=${about.description} onInput=${put("description")} /><//>
    <${Field} label="Guidelines for annotators"><textarea dir="auto" rows="5" value=${about.guidelines} onInput=${put("guidelines")}></textarea><//></section>`;
}

const DEALT = [["queries", "queries to judge"], ["documents", "documents to write about"]];

// What came of dealing, in words: nothing may mean that nothing fits, or that all was dealt before.
function outcome(what, { dealt, of }) {
  const one = what === "queries" ? "query" : "document";
  if (!of) return what === "queries" ? "There is no query yet" : "No document matches; nothing was assigned";
  if (!dealt) return `All ${of.toLocaleString()} ${what} are already assigned`;
  return `Made ${dealt.toLocaleString()} ${dealt === 1 ? "assignment" : "assignments"} for ${of.toLocaleString()} ${of === 1 ? one : what}`;
}

function Deal({ place, rows, overlap, dealt }) {
  const [form, setForm] = useState({ what: "queries", tag: "", filter: "", each: null, without: [] });
  const put = (name) => (event) => setForm({ ...form, [name]: event.target.value });
  const { what, without } = form;
  const chosen = { what, ...(what === "documents" ? { tag: form.tag.trim() || null, filters: conditions(form.filter) } : {}) };
  const people = rows.map((row) => row.name).filter((name) => !without.includes(name));
  const turn = (name) => setForm({ ...form, without: without.includes(name) ? without.filter((one) => one !== name) : [...without, name] });
  const send = (way, body, words) => api.post(`${place}/${way}`, { ...chosen, ...body }).then((one) => { toast(words(one)); dealt(); }, told);
  const deal = (event) => {
    event.preventDefault();
    send("deal", { people, each: Number(form.each ?? overlap) }, (one) => outcome(what, one));
  };
  const back = () => send("undeal", {}, ({ taken }) => (taken ? `${taken.toLocaleString()} assignments withdrawn; finished work stays` : "Nothing to withdraw"));
  return html`<form class="stack tight" onSubmit=${deal}><div class="row end"><${Field} label="Assign">
      <${Select} value=${what} change=${(now) => setForm({ ...form, what: now })} options=${DEALT} /><//>
    <${Field} label="People for each"><input class="slim" type="number" min="1" required value=${form.each ?? overlap} onInput=${put("each")} /><//>
    ${what === "documents" && html`<${Field} label="Only with the tag"><input value=${form.tag} onInput=${put("tag")} /><//>
      <${Field} grow label="Only with fields: year>2000, title~rash"><input value=${form.filter} onInput=${put("filter")} /><//>`}</div>
    ${rows.length > 1 && html`<div class="row" role="group" aria-label="To whom"><span class="small quiet">To</span>
      ${rows.map(({ name }) => html`<${Check} key=${name} checked=${!without.includes(name)} change=${() => turn(name)}>${name}<//>`)}</div>`}
    <div class="row"><button disabled=${!people.length}>Assign the ${what}</button>
      <button type="button" onClick=${back}>Withdraw unfinished assignments</button></div></form>`;
}

function Members({ place, alone, overlap }) {
  const members = useLoad(() => api.get(`${place}/progress`), []);
  const people = useLoad(() => api.get("people"), []);
  const [name, setName] = useState("");
  const add = (event) => {
    event.preventDefault();
    api.post(`${place}/members`, { name }).then(() => { setName(""); members.reload(); }).catch(told);
  };
  // What they wrote stays, and they can be let in again.
  const remove = (one) => api.del(`${place}/members/${enc(one)}`).then(() => { toast(`${one} removed; their work stays`); members.reload(); }).catch(told);
  const inside = new Set((members.data || []).map((row) => row.name));
  const others = (people.data || []).filter((row) => row.active && !inside.has(row.name)).map((row) => [row.name, `${row.name} (${row.role})`]);
  return html`<section class="stack" aria-label="People"><h2>People</h2><${Loaded} of=${members}>${(rows) => html`<${Progress} rows=${rows}
      act=${(one) => html`<button class="bare" aria-label=${`Remove ${one}`} onClick=${() => remove(one)}>Remove</button>`} />`}<//>
    ${others.length > 0 && html`<form class="row" onSubmit=${add}><span>
      <${Select} aria-label="Person to add" required value=${name} change=${setName} options=${[["", "Choose a person"], ...others]} /></span>
      <button disabled=${!name}>Add</button></form>`}
    <${Deal} place=${place} rows=${members.data || []} overlap=${overlap} dealt=${members.reload} />
    <p class="hint">Each query or document is assigned to the number of people you choose, first to those who have the fewest.
      They don't see each other's grades until they are done, and each other's entries never; reviewers see all entries.
      ${alone ? html`Others can join once the tool is started with <code>stm-agent annotate --team</code>.`
        : html`New people get a link under <a href="#/people">People, LLMs</a>.`}</p></section>`;
}

function End({ project, place, version, changed, refused }) {
  const [sure, setSure] = useState(null);
  const duplicate = () => api.post(`${place}/duplicate`, { name: `${project.name} (copy)` })
    .then((made) => { toast("Copied without documents"); go(made.key, "settings"); }).catch(told);
  const archive = () => api.patch(place, { version, changes: { archived: !project.archived } })
    .then((made) => { toast(project.archived ? "Project restored" : "Project archived; find it under Archived on the first page"); changed(made); }).catch(refused);
  const remove = (event) => { event.preventDefault(); api.del(`${place}?confirm=${enc(sure)}`).then(() => { toast("Deleted"); go(); }).catch(told); };
  return html`<section class="stack" aria-label="Project"><h2>Project</h2><div class="row">
    <button onClick=${duplicate}>Duplicate without documents</button>
      <button onClick=${archive}>${project.archived ? "Restore from the archive" : "Archive"}</button>
        <button class="bad" onClick=${() => setSure("")}>Delete</button></div>
    ${sure !== null && html`<${Dialog} title="Delete the project" close=${() => setSure(null)}><form class="stack" onSubmit=${remove}>
      <p>This deletes ${project.documents.toLocaleString()} documents, ${project.entries.toLocaleString()} entries
        and ${project.queries.toLocaleString()} queries with their judgements. An archive under Export keeps
        all of it.</p>
      <${Field} label=${`Type “${project.name}” to confirm`}><input autofocus value=${sure} onInput=${(event) => setSure(event.target.value)} /><//>
      <div><button class="bad" disabled=${sure !== project.name}>Delete permanently</button></div></form><//>`}</section>`;
}

const aboutOf = ({ name, description, guidelines, overlap, llm_calls, llm_usd, tags }) => (
  { name, description, guidelines, overlap, llm_calls, llm_usd, tags: tags.join(", ") });

const LABELS = {
  name: "Name", tags: "Tags", overlap: "People who judge each query", llm_calls: "Most LLM calls", llm_usd: "Most US dollars",
  description: "Description", guidelines: "Guidelines",
};

// What is there and what is mine of each part, as a table shows it.
function partsOf(there, about, schema) {
  const theirs = aboutOf(there);
  const parts = Object.entries(LABELS).map(([part, label]) => [label, String(theirs[part] ?? ""), String(about[part] ?? "")]);
  // Of two lists that read alike the rest is shown, so that no difference is passed over.
  const lists = PARTS.map(([part, title]) => {
    const names = [there.schema, schema].map((one) => one[part].map((row) => row.name).join(", "));
    return [title, ...(names[0] === names[1] ? [there.schema, schema].map((one) => JSON.stringify(one[part])) : names)];
  });
  return [...parts, ...lists];
}

export function Settings({ project, me, reload }) {
  const place = `projects/${enc(project.key)}`;
  const [there, setThere] = useState(project);
  // What is being changed, with the version it began from: after a reload, or beside somebody else, it is not lost.
  const [mine, setMine] = useKept(`unsaved settings ${project.key}`);
  const { about, schema, version } = mine || { about: aboutOf(there), schema: there.schema, version: there.version };
  const [clash, setClash] = useState(null);
  const [regrade, setRegrade] = useState(null);
  const full = useFull();
  const llms = useLoad(() => api.get("llms"), []);
  const edit = (part) => (value) => setMine((now) => ({ about, schema, version, ...now, [part]: value }));
  const changed = (made) => {
    setThere(made);
    setMine((now) => now && { ...now, version: made.version });
    reload();
  };
  // Where grades are to go is asked for; places that were chosen before stay.
  const refused = (error, grades = {}) => {
    setRegrade(error.unplaced ? { rows: error.unplaced, grades } : null);
    if (error.current) setClash(error.current);
    else if (!error.unplaced) told(error);
  };
  // What was typed while it was being saved stays.
  const saved = (made, sent) => {
    setMine((now) => (now === sent ? null : now));
    setClash(null);
    setRegrade(null);
    changed(made);
  };
  const save = (seen, grades = {}) => api.patch(place, { version: seen, changes: { ...about, tags: tagsOf(about.tags), schema: clean(schema), grades } })
    .then((made) => { saved(made, mine); toast("Saved. Existing annotations were migrated"); }).catch((error) => refused(error, grades));
  useKeys({ "Ctrl+s": [() => save(version), "Save the settings"] });
  return html`<div class="stack wide"><div class="row between bar"><span class=${mine ? "saved bad" : "saved"} role="status">
    ${!mine ? "Saved" : full ? "Not saved; no local copy, the browser's storage is full" : "Not saved yet; kept in this browser"}</span>
      <span class="row">${mine && html`<button onClick=${() => setMine(null)}>Discard changes</button>`}
        <button class="main" disabled=${!mine} onClick=${() => save(version)}>Save <kbd>Ctrl+s</kbd></button></span></div>
    <${About} about=${about} set=${edit("about")} />
    ${PARTS.map(([part, title, what]) => html`<section class="stack" aria-label=${title}><div><h2>${title}</h2><p class="hint">
      ${what}${part === "blocks" ? " Values of a removed or changed block are kept and come back with it." : ""}</p></div>
      <${Part} part=${part} schema=${schema} change=${edit("schema")} llms=${llms.data || []} /></section>`)}
    <${Splits} place=${place} version=${there.version} shares=${there.splits} changed=${changed} refused=${refused} />
    <${Members} place=${place} alone=${me.alone} overlap=${there.overlap} /><${End} project=${project} place=${place} version=${version} changed=${changed} refused=${refused} />
    ${regrade && !clash && html`<${Regrade} ...${regrade} levels=${schema.levels} close=${() => setRegrade(null)}
      move=${(grades) => save(version, grades)} />`}
    ${clash && html`<${Dialog} title="Changed elsewhere" wide close=${() => setClash(null)}>
      <${Clash} what="This project" parts=${partsOf(clash, about, schema)} mine=${() => save(clash.version)} theirs=${() => saved(clash, mine)} /><//>`}</div>`;
}
