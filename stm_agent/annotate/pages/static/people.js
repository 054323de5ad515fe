// People, invitations, and the LLMs.
import { html, useState, api, useLoad, Loaded, told, toast, enc, Field } from "/static/lib.js";

export function People({ me }) {
  const people = useLoad(() => api.get("people"), []);
  const projects = useLoad(() => api.get("projects"), []);
  const llms = useLoad(() => api.get("llms"), []);
  const [invite, setInvite] = useState({ role: "annotator", project: "" });
  const [link, setLink] = useState("");
  const empty = { name: "", model: "", api_base: "", key: "", system_prompt: "", default: false };
  const [llm, setLlm] = useState(empty);
  const admin = me.role === "admin";
  const change = (name, changes) => api.patch(`people/${enc(name)}`, changes).then(people.reload).catch(told);
  const ask = (event) => { event.preventDefault(); api.post("invitations", { ...invite, project: invite.project || null }).then((made) => setLink(`${location.origin}/join#${made.token}`)).catch(told); };
  const save = (event) => { event.preventDefault(); api.put("llms", { ...llm, api_base: llm.api_base || null, key: llm.key || null }).then(() => { toast("LLM saved; its key never leaves the server"); setLlm(empty); llms.reload(); }).catch(told); };
  const field = (name) => (event) => setLlm({ ...llm, [name]: event.target.value });
  return html`<div class="stack"><h2>People</h2><${Loaded} of=${people}>${(rows) => html`<table><thead><tr><th>Name</th><th>Role</th><th></th></tr></thead><tbody>${rows.map((row) => html`<tr><td>${row.name}</td><td>${admin ? html`<select aria-label=${`Role of ${row.name}`} style=${{ width: "auto" }} value=${row.role} onChange=${(event) => change(row.name, { role: event.target.value })}>${["annotator", "reviewer", "admin"].map((one) => html`<option>${one}</option>`)}</select>` : row.role}</td>
      <td>${admin && html`<button onClick=${() => change(row.name, { active: !row.active })}>${row.active ? "Shut out" : "Let in"}</button>`}</td></tr>`)}</tbody></table>`}<//>
    ${admin && html`<form class="card row" onSubmit=${ask}><${Field} label="Invite a new"><select value=${invite.role} onChange=${(event) => setInvite({ ...invite, role: event.target.value })}>${["annotator", "reviewer", "admin"].map((one) => html`<option>${one}</option>`)}</select><//>
      <${Field} label="Into project"><select value=${invite.project} onChange=${(event) => setInvite({ ...invite, project: event.target.value })}><option value="">none yet</option>${(projects.data || []).map((row) => html`<option value=${row.key}>${row.name}</option>`)}</select><//><button style=${{ alignSelf: "end" }}>Make a link</button>
      ${link && html`<p style=${{ flexBasis: "100%" }}>It works once, for seven days: <code>${link}</code></p>`}</form>`}
    <h2>LLMs</h2><${Loaded} of=${llms}>${(rows) => rows.length ? html`<table><thead><tr><th>Name</th><th>Model</th><th></th></tr></thead><tbody>${rows.map((row) => html`<tr><td>${row.name}${row.default ? " (default)" : ""}</td><td>${row.model}</td><td>${admin && html`<span class="row"><button onClick=${() => setLlm({ ...empty, ...row, key: "", api_base: row.api_base || "" })}>Change</button><button class="bad" onClick=${() => api.del(`llms/${enc(row.name)}`).then(llms.reload).catch(told)}>Delete</button></span>`}</td></tr>`)}</tbody></table>` : html`<p class="quiet">None yet: blocks cannot be drafted. embedded:smollm2-135m needs no key and no network.</p>`}<//>
    ${admin && html`<form class="card stack" onSubmit=${save}><h3>Set up or change</h3><div class="row"><${Field} label="Name"><input required value=${llm.name} onInput=${field("name")} /><//><${Field} label="Model, as LiteLLM names it"><input required placeholder="openai/gpt-5-mini" value=${llm.model} onInput=${field("model")} /><//>
      <${Field} label="Base URL, if it has its own"><input placeholder="https://" value=${llm.api_base} onInput=${field("api_base")} /><//><${Field} label="Key (stored encrypted, never shown)"><input type="password" autocomplete="off" value=${llm.key} onInput=${field("key")} /><//></div>
      <${Field} label="System prompt, before every block's own"><textarea value=${llm.system_prompt} onInput=${field("system_prompt")}></textarea><//><label class="line"><input type="checkbox" checked=${llm.default} onChange=${() => setLlm({ ...llm, default: !llm.default })} />Used where a block names none</label><div class="row"><button class="main">Save</button></div></form>`}</div>`;
}
