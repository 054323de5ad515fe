// All projects, and the wizard that makes one.
import { html, useState, api, useLoad, Loaded, Dialog, Field, told, toast, go, query, enc, useKeys } from "/static/lib.js";

const TEMPLATES = { judging: ["Relevance judging", "Queries with graded passages: a dev and test set."], qa: ["Question answering", "Questions, answers and the evidence for them, an LLM drafting."],
  negatives: ["Hard-negative review", "Doubtful negatives of a run: which are none."] };

function Wizard({ close }) {
  const [form, setForm] = useState({ name: "", description: "", tags: "", template: "judging" });
  const set = (name) => (event) => setForm({ ...form, [name]: event.target.value });
  const send = (event) => {
    event.preventDefault();
    const tags = form.tags.split(",").map((tag) => tag.trim()).filter(Boolean);
    api.post("projects", { ...form, tags }).then((made) => { toast(`Project ${made.name} made; fields, levels and blocks are under Settings`); go(made.key, "documents"); }).catch(told);
  };
  return html`<${Dialog} title="New project" close=${close}><form class="stack" onSubmit=${send}>
    <${Field} label="Name"><input required autofocus value=${form.name} onInput=${set("name")} /><//>
    <${Field} label="Description"><textarea value=${form.description} onInput=${set("description")}></textarea><//>
    <${Field} label="Tags, with commas between"><input value=${form.tags} onInput=${set("tags")} /><//>
    <fieldset class="stack" style=${{ border: "1px solid var(--line)", borderRadius: "5px" }}><legend>Start from</legend>
      ${Object.entries(TEMPLATES).map(([name, [title, what]]) => html`<label class="line"><input type="radio" name="template" value=${name} checked=${form.template === name} onChange=${set("template")} /><span><b>${title}</b> <span class="quiet">${what}</span></span></label>`)}</fieldset>
    <div class="row"><button class="main">Make it</button></div></form><//>`;
}

export function Projects({ me }) {
  const [tag, setTag] = useState("");
  const [archived, setArchived] = useState(false);
  const [making, setMaking] = useState(false);
  const rows = useLoad(() => api.get(`projects?${query({ tag, archived })}`), [tag, archived]);
  const admin = me.role === "admin";
  useKeys(admin ? { n: [() => setMaking(true), "New project"] } : {});
  return html`<div class="stack"><div class="row between"><h2>Projects</h2><div class="row">
      <label class="line"><input type="checkbox" checked=${archived} onChange=${() => setArchived(!archived)} />Archived</label>
      ${tag && html`<button onClick=${() => setTag("")}>Tag ${tag}: show all</button>`}
      ${admin && html`<button class="main" onClick=${() => setMaking(true)}>New project <kbd>n</kbd></button>`}</div></div>
    <${Loaded} of=${rows}>${(data) => data.length ? html`<div class="grid">${data.map((row) => html`<article class="card stack">
        <h3><a href=${`#/${enc(row.key)}/${row.queries && !row.schema.blocks.length ? "judge" : "documents"}`}>${row.name}</a></h3>
        ${row.description && html`<p class="quiet">${row.description}</p>`}
        <p class="small quiet">${row.documents.toLocaleString()} documents, ${row.queries.toLocaleString()} queries, ${row.entries.toLocaleString()} entries</p>
        <div class="row">${row.tags.map((one) => html`<button class="bare tag" onClick=${() => setTag(one)}>${one}</button>`)}</div></article>`)}</div>`
      : html`<p class="quiet">${admin ? "No project yet. Make one, or run stm-agent annotate --collection DIR." : "You are in no project yet; an administrator can add you."}</p>`}<//>
    ${making && html`<${Wizard} close=${() => setMaking(false)} />`}</div>`;
}
