// A project's every part, editable at any time: about, fields, levels, blocks, people.
import { html, useState, api, useLoad, Loaded, told, toast, enc, Field, go, useKeys } from "/static/lib.js";

const FRESH = { fields: () => ({ id: id(), name: "", type: "text", description: "", required: false, ai_input: false, content: false, metadata: true, output: true }),
  levels: () => ({ id: id(), name: "", colour: "#2b6cb0", score: 1, help: "" }),
  blocks: () => ({ id: id(), name: "", type: "text", mode: "plain", role: "note", placeholder: "", description: "", required: false, options: [], yes: "Yes", no: "No", prompt: "", llm: "", temperature: 0.7, max_tokens: 512, inputs: [] }) };
const id = () => crypto.randomUUID().slice(0, 8);

const Check = ({ row, name, label, set }) => html`<label class="line"><input type="checkbox" checked=${row[name]} onChange=${() => set({ ...row, [name]: !row[name] })} />${label}</label>`;
const Line = ({ row, name, label, set, type = "text" }) => html`<${Field} label=${label}><input type=${type} step="any" value=${row[name]} onInput=${(event) => set({ ...row, [name]: type === "number" ? Number(event.target.value) : event.target.value })} /><//>`;
const Choice = ({ row, name, label, set, of }) => html`<${Field} label=${label}><select value=${row[name]} onChange=${(event) => set({ ...row, [name]: event.target.value })}>${of.map(([value, text]) => html`<option value=${value}>${text}</option>`)}</select><//>`;
const same = (names) => names.map((name) => [name, name]);

function Inputs({ row, set, schema }) {
  const sources = [...schema.blocks.filter((one) => one.id !== row.id).map((one) => ["block", one.id, `block ${one.name}`]), ["annotation", "", "all evidence"], ...schema.levels.map((one) => ["annotation", one.id, `evidence: ${one.name}`]), ...schema.fields.filter((one) => one.ai_input).map((one) => ["field", one.id, `field ${one.name}`])];
  const at = (kind, ref) => row.inputs.findIndex((one) => one.kind === kind && one.ref === ref);
  return html`<fieldset><legend>What the LLM is sent</legend>${sources.map(([kind, ref, name]) => { const place = at(kind, ref); return html`<div class="row"><label class="line"><input type="checkbox" checked=${place >= 0} onChange=${() => set({ ...row, inputs: place >= 0 ? row.inputs.filter((_, n) => n !== place) : [...row.inputs, { kind, ref, label: "", required: false }] })} />${name}</label>
    ${place >= 0 && html`<label class="line small"><input type="checkbox" checked=${row.inputs[place].required} onChange=${() => set({ ...row, inputs: row.inputs.map((one, n) => n === place ? { ...one, required: !one.required } : one) })} />needed</label>`}</div>`; })}</fieldset>`;
}

const EDITORS = {
  fields: ({ row, set }) => html`<div class="row"><${Line} ...${{ row, set, name: "name", label: "Name in the documents" }} /><${Choice} ...${{ row, set, name: "type", label: "Type", of: same(["text", "number", "date", "boolean", "array", "object"]) }} />
    ${[["content", "Read and searched"], ["metadata", "Shown beside"], ["ai_input", "May go to the LLM"], ["required", "Required"], ["output", "In exports"]].map(([name, label]) => html`<${Check} ...${{ row, set, name, label }} />`)}</div>`,
  levels: ({ row, set }) => html`<div class="row"><${Line} ...${{ row, set, name: "name", label: "Name" }} /><${Line} ...${{ row, set, name: "score", label: "Grade; 0 is not relevant", type: "number" }} /><${Field} label="Colour"><input type="color" value=${row.colour} onInput=${(event) => set({ ...row, colour: event.target.value })} /><//><${Line} ...${{ row, set, name: "help", label: "When to give it" }} /></div>`,
  blocks: ({ row, set, schema }) => html`<div class="stack"><div class="row"><${Line} ...${{ row, set, name: "name", label: "Name" }} /><${Choice} ...${{ row, set, name: "type", label: "Type", of: [["text", "text"], ["longtext", "long text"], ...same(["select", "multiselect", "boolean", "number", "date"])] }} />
      <${Choice} ...${{ row, set, name: "role", label: "What it is to the loop", of: [["query", "the query"], ["answer", "its answer"], ["note", "a note"]] }} /><${Choice} ...${{ row, set, name: "mode", label: "Who writes", of: [["plain", "people alone"], ["solo", "LLM, from the prompt alone"], ["human", "LLM drafts from the inputs"]] }} /><${Check} ...${{ row, set, name: "required", label: "Required" }} /></div>
    ${["select", "multiselect"].includes(row.type) && html`<${Field} label="Options, a line each"><textarea value=${row.options.join("\n")} onInput=${(event) => set({ ...row, options: event.target.value.split("\n").filter((one) => one.trim()) })}></textarea><//>`}
    ${row.type === "boolean" && html`<div class="row"><${Line} ...${{ row, set, name: "yes", label: "Word for yes" }} /><${Line} ...${{ row, set, name: "no", label: "Word for no" }} /></div>`}
    <div class="row"><${Line} ...${{ row, set, name: "placeholder", label: "Placeholder" }} /><${Line} ...${{ row, set, name: "description", label: "Help" }} /></div>
    ${row.mode !== "plain" && html`<${Field} label="Prompt"><textarea value=${row.prompt} onInput=${(event) => set({ ...row, prompt: event.target.value })}></textarea><//><div class="row"><${Line} ...${{ row, set, name: "llm", label: "LLM; empty: the default one" }} /><${Line} ...${{ row, set, name: "temperature", label: "Temperature", type: "number" }} /><${Line} ...${{ row, set, name: "max_tokens", label: "Most tokens", type: "number" }} /></div>${row.mode === "human" && html`<${Inputs} ...${{ row, set, schema }} />`}`}</div>`,
};

export function Settings({ project, reload }) {
  const place = `projects/${enc(project.key)}`;
  const [about, setAbout] = useState({ name: project.name, description: project.description, guidelines: project.guidelines, tags: project.tags.join(", "), overlap: project.overlap });
  const [schema, setSchema] = useState(project.schema);
  const members = useLoad(() => api.get(`${place}/progress`), []);
  const [newcomer, setNewcomer] = useState("");
  const [sure, setSure] = useState("");
  const save = () => {
    const changes = { ...about, tags: about.tags.split(",").map((tag) => tag.trim()).filter(Boolean), schema };
    api.patch(place, { version: project.version, changes }).then(() => { toast("Saved; what people wrote came along"); reload(); }).catch(told);
  };
  useKeys({ "Ctrl+s": [save, "Save"] });
  const set = (part, place_, row) => setSchema({ ...schema, [part]: schema[part].map((one, n) => n === place_ ? row : one) });
  const move = (part, place_, by) => { const rows = [...schema[part]]; const [row] = rows.splice(place_, 1); rows.splice(place_ + by, 0, row); setSchema({ ...schema, [part]: rows }); };
  const part = (name, title, what) => { const Editor = EDITORS[name]; return html`<section class="stack" aria-label=${title}><h2>${title}</h2><p class="quiet small">${what}</p>${schema[name].map((row, n) => html`<div class="card stack" key=${row.id}><${Editor} row=${row} schema=${schema} set=${(now) => set(name, n, now)} />
      <div class="row"><button class="bare" disabled=${!n} onClick=${() => move(name, n, -1)}>Up</button><button class="bare" disabled=${n === schema[name].length - 1} onClick=${() => move(name, n, 1)}>Down</button><button class="bare bad" onClick=${() => setSchema({ ...schema, [name]: schema[name].filter((_, m) => m !== n) })}>Remove</button></div></div>`)}
    <div class="row"><button onClick=${() => setSchema({ ...schema, [name]: [...schema[name], FRESH[name]()] })}>Add</button></div></section>`; };
  const line = (name, label) => html`<${Line} row=${about} name=${name} label=${label} set=${setAbout} />`;
  return html`<div class="stack"><div class="row between"><h2>About</h2><button class="main" onClick=${save}>Save <kbd>Ctrl+s</kbd></button></div>
    <div class="row">${line("name", "Name")}${line("tags", "Tags")}<${Line} row=${about} name="overlap" label="People who judge each query" type="number" set=${setAbout} /></div>${line("description", "Description")}
    <${Field} label="Guidelines for annotators"><textarea rows="5" value=${about.guidelines} onInput=${(event) => setAbout({ ...about, guidelines: event.target.value })}></textarea><//>
    ${part("levels", "Levels", "Grades of relevance, for evidence and for judgements.")}${part("blocks", "Blocks", "What an annotator fills in. A value whose block goes or changes its type is kept aside and comes back.")}${part("fields", "Document fields", "What of a document is read, shown, and sent to an LLM. Every other field is kept too.")}
    <h2>People</h2><${Loaded} of=${members}>${(rows) => html`<p>${rows.map((row) => row.name).join(", ")}</p>`}<//>
    <form class="row" onSubmit=${(event) => { event.preventDefault(); api.post(`${place}/members`, { name: newcomer }).then(() => { setNewcomer(""); members.reload(); }).catch(told); }}><input aria-label="Name of a person" placeholder="Name" style=${{ width: "14rem" }} value=${newcomer} onInput=${(event) => setNewcomer(event.target.value)} /><button>Let in</button>
      <button type="button" onClick=${() => api.post(`${place}/deal`).then((one) => { toast(`${one.dealt} queries dealt out`); members.reload(); }).catch(told)}>Deal the queries out</button></form>
    <h2>Duplicate, archive, delete</h2><div class="row"><button onClick=${() => api.post(`${place}/duplicate`, { name: `${project.name} (copy)` }).then((made) => go(made.key, "settings")).catch(told)}>Duplicate without documents</button>
      <button onClick=${() => api.patch(place, { version: project.version, changes: { archived: !project.archived } }).then(reload).catch(told)}>${project.archived ? "Take out of the archive" : "Archive"}</button>
      <input aria-label="The project's name, to delete it" placeholder=${`type "${project.name}" to delete`} style=${{ width: "18rem" }} value=${sure} onInput=${(event) => setSure(event.target.value)} /><button class="bad" disabled=${sure !== project.name} onClick=${() => api.del(`${place}?confirm=${enc(sure)}`).then(() => go()).catch(told)}>Delete with all in it</button></div></div>`;
}
