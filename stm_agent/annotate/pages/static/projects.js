// All projects, and the wizard that makes one.
import { Check, Dialog, Field, Loaded, api, enc, go, html, query, toast, told, useKept, useKeys, useLoad, useState } from "/static/lib.js";
import { PARTS, Part, clean } from "/static/schema.js";

const TEMPLATES = [
  ["qa", "Question answering", "Questions, answers and the evidence for them; an LLM drafts the answers."],
  ["judging", "Relevance judging", "Queries with graded passages: a dev and test set."],
  ["negatives", "Hard-negative review", "Doubtful negatives of a run: which of them are relevant after all?"],
];
const STEPS = ["About", ...PARTS.map(([, title]) => title)];
export const tagsOf = (text) => text.split(",").map((tag) => tag.trim()).filter(Boolean);

function About({ form, set, template, choose }) {
  const put = (name) => (event) => set({ ...form, [name]: event.target.value });
  return html`<div class="stack"><${Field} label="Name"><input required autofocus value=${form.name} onInput=${put("name")} /><//>
    <${Field} label="Description"><input value=${form.description} onInput=${put("description")} /><//>
    <${Field} label="Tags (separated by commas)"><input value=${form.tags} onInput=${put("tags")} /><//>
    <fieldset><legend>Start from</legend><div class="choices">${TEMPLATES.map(([name, title, what]) => html`<label>
      <input type="radio" name="template" value=${name}
      checked=${template === name} onChange=${() => choose(name)} /><span><b>${title}</b><span class="quiet">${what}</span></span></label>`)}
    </div></fieldset></div>`;
}

const FRESH = { name: "", description: "", tags: "", template: "qa", schema: null, step: 0 };

function Wizard({ close }) {
  const templates = useLoad(() => api.get("templates"), []);
  const llms = useLoad(() => api.get("llms"), []);
  const [kept, setKept] = useKept("unsaved project");
  const { step, template, ...form } = kept || FRESH;
  const schema = form.schema || templates.data?.[template];
  const change = (more) => setKept((now) => ({ ...(now || FRESH), ...more }));
  const setStep = (to) => change({ step: to });
  const done = (made) => {
    setKept(null);
    toast(`Project ${made.name} created; import its documents next`);
    go(made.key, "documents");
  };
  const make = () => api.post("projects", { ...form, tags: tagsOf(form.tags), schema: clean(schema) }).then(done).catch(told);
  // What a step asks for is checked by the browser before the next.
  const onward = (event) => {
    event.preventDefault();
    if (event.submitter?.value === "make" || step === STEPS.length - 1) make();
    else setStep(step + 1);
  };
  const [part, title, what] = PARTS[step - 1] || [];
  return html`<${Dialog} wide title="New project" close=${close}><${Loaded} of=${templates}>
    ${() => schema && html`<form class="stack wide" onSubmit=${onward}>
    <ol class="row small" style=${{ listStyle: "none", margin: 0, padding: 0 }}>
      ${STEPS.map((name, place) => html`<li aria-current=${place === step ? "step" : null}
      class=${place === step ? "" : "quiet"}>${place === step ? html`<b>${place + 1}. ${name}</b>` : `${place + 1}. ${name}`}</li>`)}</ol>
    ${step === 0 ? html`<${About} form=${form} set=${change} template=${template} choose=${(name) => change({ template: name, schema: null })} />`
      : html`<section class="stack" aria-label=${title}><p class="quiet">${what} You can change this later.</p>
        <${Part} part=${part} schema=${schema} change=${(all) => change({ schema: all })} llms=${llms.data || []} /></section>`}
    <div class="row between"><span>${step > 0 && html`<button type="button" onClick=${() => setStep(step - 1)}>Back</button>`}</span>
      <span class="row">${kept && html`<button type="button" class="bare" onClick=${() => setKept(null)}>Start over</button>`}
      ${step < STEPS.length - 1 && html`<button value="make">Create now</button>`}
      <button class="main" value="on">${step < STEPS.length - 1 ? `Next: ${STEPS[step + 1]}` : "Create the project"}</button></span></div></form>`}<//>
        <//>`;
}

function BringIn({ close }) {
  const [busy, setBusy] = useState(false);
  const send = (event) => {
    event.preventDefault();
    const form = new FormData();
    form.append("file", event.target.elements.file.files[0]);
    setBusy(true);
    api.post("projects/import", form).then((made) => {
      const { highlights_without_text: lost = 0, queries = 0, skipped = {} } = made;
      const parts = [`Project ${made.name} imported`, made.skipped && queries > 0 && `${counted(queries, "entry", "entries")} became queries`,
        lost > 0 && `${counted(lost, "highlight")} without text in the file: kept for an export to AIANO`,
        ...Object.entries(skipped).map(([why, count]) => `${counted(count, "entry", "entries")} without a query: ${why}`)];
      toast(parts.filter(Boolean).join("; "));
      go(made.key, "documents");
    }).catch(told).finally(() => setBusy(false));
  };
  return html`<${Dialog} title="Import a project" close=${close}><form class="stack" onSubmit=${send}>
    <p class="quiet">An archive of stm-agent annotate (.zip), AIANO's dataset JSON, or an .aiano file. To import only documents, open a
      project and go to Documents.</p>
    <${Field} label="File"><input type="file" name="file" required accept=".zip,.json,.aiano" /><//>
    <div><button class="main" disabled=${busy}>${busy ? "Importing" : "Import"}</button></div></form><//>`;
}

const counted = (count, one, many = `${one}s`) => `${count.toLocaleString()} ${count === 1 ? one : many}`;

function Card({ row, setTag }) {
  return html`<article class="card stack tight"><h3>
    <a href=${`#/${enc(row.key)}/${row.schema.blocks.length ? "work" : row.queries ? "judge" : "documents"}`}>${row.name}</a></h3>
    ${row.description && html`<p class="clamp">${row.description}</p>`}
    <p class="small quiet">${counted(row.documents, "document")}, ${row.queries === 1 ? "1 query" : `${row.queries.toLocaleString()} queries`},
      ${row.entries === 1 ? " 1 entry" : ` ${row.entries.toLocaleString()} entries`}</p>
    ${row.tags.length > 0 && html`<div class="row">${row.tags.map((one) => html`<button class="tag" onClick=${() => setTag(one)}>
      ${one}</button>`)}</div>`}</article>`;
}

export function Projects({ me }) {
  const [tag, setTag] = useState("");
  const [archived, setArchived] = useState(false);
  const [words, setWords] = useState("");
  const [open, setOpen] = useState(null);
  const rows = useLoad(() => api.get(`projects?${query({ tag, archived })}`), [tag, archived]);
  const admin = me.role === "admin";
  useKeys(admin ? { n: [() => setOpen("new"), "New project"], i: [() => setOpen("import"), "Import a project"] } : {});
  const fits = (row) => `${row.name} ${row.description} ${row.tags.join(" ")}`.normalize("NFC").toLowerCase().includes(words.trim().normalize("NFC").toLowerCase());
  const none = admin ? html`<p>No projects yet. A project is a corpus and the questions asked about it.</p>
    <button class="main" onClick=${() => setOpen("new")}>New project <kbd>n</kbd></button>`
    : html`<p>You are not in a project yet; an administrator can add you.</p>`;
  return html`<div class="stack wide"><div class="row between"><h2>${archived ? "Archived projects" : "Projects"}</h2><span class="row">
      <input class="slim" type="search" aria-label="Search the projects" placeholder="Search" value=${words}
        onInput=${(event) => setWords(event.target.value)} />
      <${Check} checked=${archived} change=${() => setArchived(!archived)}>Archived<//>
      ${tag && html`<button onClick=${() => setTag("")}>Tagged ${tag} ×</button>`}
      ${admin && html`<button onClick=${() => setOpen("import")}>Import <kbd>i</kbd></button>
        <button class="main" onClick=${() => setOpen("new")}>New project <kbd>n</kbd></button>`}</span></div>
    <${Loaded} of=${rows}>${(data) => (data.length ? html`<div class="grid">
      ${data.filter(fits).map((row) => html`<${Card} key=${row.key} row=${row} setTag=${setTag} />`)}</div>`
      : html`<div class="empty">${tag || archived ? html`<p>None here.</p>` : none}</div>`)}<//>
    ${open === "new" && html`<${Wizard} close=${() => setOpen(null)} />`}${open === "import" && html`<${BringIn} close=${() => setOpen(null)} />`}</div>`;
}
