// The editor of a schema: fields, levels and blocks, in the wizard and in the settings alike.
import { Check, Field, NumberBox, Select, freshKey, html } from "/static/lib.js";

const id = () => freshKey().slice(0, 8);
const FRESH = {
  fields: () => ({ id: id(), name: "", type: "text", description: "", required: false, ai_input: false, content: false, metadata: true, output: true }),
  levels: () => ({ id: id(), name: "", colour: "#2b6cb0", score: 1, help: "" }),
  blocks: () => ({
    id: id(), name: "", type: "text", mode: "plain", role: "note", placeholder: "", description: "", required: false, options: [],
    yes: "Yes", no: "No", prompt: "", llm: "", temperature: 0.7, max_tokens: 512, inputs: [],
  }),
};
const FIELD_TYPES = ["text", "number", "date", "boolean", "array", "object"].map((one) => [one, one]);
const BLOCK_TYPES = [["text", "text"], ["longtext", "long text"], ["select", "one of several"], ["multiselect", "several of several"], ["boolean", "yes or no"],
  ["number", "number"], ["date", "date"]];
const ROLES = [["query", "the query"], ["answer", "its answer"], ["note", "a note"]];
const MODES = [["plain", "People only"], ["solo", "LLM, from its prompt only"], ["human", "LLM from the inputs below"]];
const SWITCHES = [["content", "Read and searched"], ["metadata", "Shown beside the text"], ["ai_input", "May be sent to an LLM"], ["required", "Required"],
  ["output", "In exports"]];

const Line = ({ row, set, name, label, grow, ...more }) => html`<${Field} label=${label} grow=${grow}>
  <input value=${row[name]} ...${more} onInput=${(event) => set({ ...row, [name]: event.target.value })} /><//>`;
const Amount = ({ row, set, name, label, ...more }) => html`<${Field} label=${label}>
  <${NumberBox} required value=${row[name]} ...${more} change=${(value) => set({ ...row, [name]: value })} /><//>`;
const Area = ({ row, set, name, label }) => html`<${Field} label=${label}>
  <textarea value=${row[name]} onInput=${(event) => set({ ...row, [name]: event.target.value })}></textarea><//>`;
const Choice = ({ row, set, name, label, options }) => html`<${Field} label=${label}>
  <${Select} value=${row[name]} change=${(value) => set({ ...row, [name]: value })} options=${options} /><//>`;
const Switch = ({ row, set, name, label }) => html`<${Check} checked=${row[name]} change=${() => set({ ...row, [name]: !row[name] })}>${label}<//>`;

function FieldEditor({ row, set }) {
  return html`<div class="row end"><${Line} grow ...${{ row, set, name: "name", label: "Name in the documents", required: true }} />
      <${Choice} ...${{ row, set, name: "type", label: "Type", options: FIELD_TYPES }} />
        <${Line} grow ...${{ row, set, name: "description", label: "What it is" }} /></div>
    <div class="row">${SWITCHES.map(([name, label]) => html`<${Switch} ...${{ row, set, name, label }} />`)}</div>`;
}

function LevelEditor({ row, set }) {
  return html`<div class="row end"><${Field} label="Colour">
    <input type="color" value=${row.colour} onInput=${(event) => set({ ...row, colour: event.target.value })} /><//>
    <${Line} grow ...${{ row, set, name: "name", label: "Name", required: true }} />
    <${Amount} ...${{ row, set, name: "score", label: "Grade (0: not relevant)", min: 0, max: 100 }} />
    <${Line} grow ...${{ row, set, name: "help", label: "When to give it" }} /></div>`;
}

function Inputs({ row, set, schema }) {
  const sources = [
    ...schema.blocks.filter((one) => one.id !== row.id && one.name).map((one) => ["block", one.id, `block ${one.name}`]),
    ["annotation", "", "all evidence"],
    ...schema.levels.filter((one) => one.name).map((one) => ["annotation", one.id, `evidence marked ${one.name}`]),
    ...schema.fields.filter((one) => one.ai_input && one.name).map((one) => ["field", one.id, `field ${one.name}`]),
  ];
  const at = (kind, ref) => row.inputs.findIndex((one) => one.kind === kind && one.ref === ref);
  const turn = (kind, ref, place) => set({
    ...row, inputs: place >= 0 ? row.inputs.filter((_, n) => n !== place) : [...row.inputs, { kind, ref, label: "", required: false }],
  });
  const need = (place) => set({ ...row, inputs: row.inputs.map((one, n) => (n === place ? { ...one, required: !one.required } : one)) });
  return html`<fieldset><legend>What the LLM is sent</legend><div class="stack tight">${sources.map(([kind, ref, name]) => {
    const place = at(kind, ref);
    return html`<div class="row"><${Check} checked=${place >= 0} change=${() => turn(kind, ref, place)}>${name}<//>
      ${place >= 0 && html`<${Check} checked=${row.inputs[place].required} change=${() => need(place)}><span class="quiet">required for a draft</span>
        <//>`}</div>`;
  })}</div></fieldset>`;
}

function BlockEditor({ row, set, schema, llms }) {
  const names = [["", "the default LLM"], ...llms.map((one) => [one.name, one.name])];
  if (row.llm && !llms.some((one) => one.name === row.llm)) names.push([row.llm, `${row.llm} (not set up)`]);
  return html`<div class="row end"><${Line} grow ...${{ row, set, name: "name", label: "Name", required: true }} />
      <${Choice} ...${{ row, set, name: "type", label: "Type", options: BLOCK_TYPES }} />
        <${Choice} ...${{ row, set, name: "role", label: "Used as", options: ROLES }} />
      <${Choice} ...${{ row, set, name: "mode", label: "Who writes", options: MODES }} /></div>
    ${["select", "multiselect"].includes(row.type) && html`<${Field} label="Options, one per line"><textarea required value=${row.options.join("\n")}
      onInput=${(event) => set({ ...row, options: event.target.value.split("\n") })}></textarea><//>`}
    ${row.type === "boolean" && html`<div class="row"><${Line} ...${{ row, set, name: "yes", label: "Label for yes" }} />
      <${Line} ...${{ row, set, name: "no", label: "Label for no" }} /></div>`}
    <div class="row end"><${Line} grow ...${{ row, set, name: "placeholder", label: "Placeholder" }} />
      <${Line} grow ...${{ row, set, name: "description", label: "Help" }} />
      <${Switch} ...${{ row, set, name: "required", label: "Required" }} /></div>
    ${row.mode !== "plain" && html`<${Area} ...${{ row, set, name: "prompt", label: "Prompt" }} />
      <div class="row end"><${Choice} ...${{ row, set, name: "llm", label: "LLM", options: names }} />
        <${Amount} ...${{ row, set, name: "temperature", label: "Temperature", min: 0, max: 2, step: "any" }} />
        <${Amount} ...${{ row, set, name: "max_tokens", label: "Maximum tokens", min: 1, max: 32768 }} /></div>`}
    ${row.mode === "human" && html`<${Inputs} row=${row} set=${set} schema=${schema} />`}`;
}

const EDITORS = { fields: FieldEditor, levels: LevelEditor, blocks: BlockEditor };
const ONE = { fields: "field", levels: "level", blocks: "block" };

// Input sources of what was removed go with it.
function without(schema, part, row) {
  const kind = { fields: "field", levels: "annotation", blocks: "block" }[part];
  const left = { ...schema, [part]: schema[part].filter((one) => one !== row) };
  const keeps = (source) => source.kind !== kind || source.ref !== row.id;
  return { ...left, blocks: left.blocks.map((block) => ({ ...block, inputs: block.inputs.filter(keeps) })) };
}

export function Part({ part, schema, change, llms = [] }) {
  const Editor = EDITORS[part];
  const rows = schema[part];
  const put = (all) => change({ ...schema, [part]: all });
  const move = (place, by) => {
    const all = [...rows];
    const [row] = all.splice(place, 1);
    all.splice(place + by, 0, row);
    put(all);
  };
  const name = (row, place) => row.name || `${ONE[part]} ${place + 1}`;
  return html`<div class="stack">${rows.map((row, place) => html`<div class="card stack" key=${row.id} role="group" aria-label=${name(row, place)}>
      <${Editor} row=${row} schema=${schema} llms=${llms} set=${(now) => put(rows.map((one, n) => (n === place ? now : one)))} />
      <div class="row"><button type="button" class="bare" aria-label=${`Move ${name(row, place)} up`} disabled=${!place}
          onClick=${() => move(place, -1)}>Up</button>
        <button type="button" class="bare" aria-label=${`Move ${name(row, place)} down`} disabled=${place === rows.length - 1}
          onClick=${() => move(place, 1)}>Down</button>
        <button type="button" class="bare bad" aria-label=${`Remove ${name(row, place)}`}
          onClick=${() => change(without(schema, part, row))}>Remove</button></div></div>`)}
    <div><button type="button" onClick=${() => put([...rows, FRESH[part]()])}>Add a ${ONE[part]}</button></div></div>`;
}

// A schema as it is sent: lines of options that are empty were only being typed, and a field that may not go to an LLM is
// no input; until then it is, so that a switch that is turned back loses nothing.
export function clean(schema) {
  const closed = new Set(schema.fields.filter((one) => !one.ai_input).map((one) => one.id));
  const blocks = schema.blocks.map((block) => ({
    ...block,
    options: block.options.map((one) => one.trim()).filter(Boolean),
    inputs: block.inputs.filter((one) => one.kind !== "field" || !closed.has(one.ref)),
  }));
  return { ...schema, blocks };
}

export const PARTS = [
  ["fields", "Document fields", "Which fields of a document are read, shown and sent to an LLM. All other fields are kept."],
  ["levels", "Levels", "Grades of relevance, for evidence and judgements alike; their numbers are the keys."],
  ["blocks", "Blocks", "What annotators fill in or an LLM drafts."],
];
