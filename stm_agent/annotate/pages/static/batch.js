// Drafts by the dozen: a block drafted in the background, for many documents or in many entries.
import { Dialog, Field, Select, api, html, useLoad, useState } from "/static/lib.js";

const MOST = 500;

// Whether a block is drafted from what only a person can give: evidence, or another block.
const afterPeople = (block) => block.mode === "human" && block.inputs.some((one) => one.required && one.kind !== "field");

// How many calls of which model a batch makes, and how many the project's ceiling leaves.
function Calls({ of }) {
  if (!of) return null;
  const left = of.left === null ? "" : `; ${of.left.toLocaleString()} are left in this project`;
  return html`<span role="status" class="quiet">${of.calls.toLocaleString()} ${of.calls === 1 ? "call" : "calls"} of ${of.model}${left}</span>`;
}

export function Batch({ project, place, documents, begin, close }) {
  const blocks = project.schema.blocks.filter((block) => block.mode !== "plain");
  const [id, setId] = useState(blocks[0].id);
  const [chosen, setChosen] = useState("documents");
  const [most, setMost] = useState(20);
  const late = afterPeople(blocks.find((block) => block.id === id));
  const into = late ? "entries" : chosen;
  const found = documents?.length;
  const named = into === "entries" ? { entries: "draft" } : { documents: found ? documents.slice(0, most) : [] };
  const body = { block: id, limit: most, ...named };
  const counted = useLoad(() => api.post(`${place}/jobs/drafts`, { ...body, dry: true }), [id, into, most]);
  const send = (event) => {
    event.preventDefault();
    begin(body);
    close();
  };
  const first = found ? `the first of the ${found} documents found` : "the first documents of the project";
  const places = [...(late ? [] : [["documents", first]]), ["entries", "my unfinished entries without this block"]];
  return html`<${Dialog} title="Draft for many documents or entries" close=${close}><form class="stack" onSubmit=${send}>
    <p class="quiet">Each draft is stored in its entry until it is accepted, edited or rejected. Each document gets its own entry. Documents and
      entries that have a draft of this block are skipped.${late && " This block needs input from a person, so it is drafted in entries that have it."}</p>
    <div class="row end"><${Field} grow label="Block"><${Select} value=${id} change=${setId} options=${blocks.map((block) => [block.id, block.name])} /><//>
      <${Field} grow label="For"><${Select} value=${into} change=${setChosen} options=${places} /><//>
      <${Field} label="At most"><input type="number" required min="1" max=${(into === "documents" && found) || MOST} value=${most}
        onInput=${(event) => setMost(Number(event.target.value))} /><//></div>
    <div class="row"><button class="main">Start</button><${Calls} of=${counted.data} /></div></form><//>`;
}
