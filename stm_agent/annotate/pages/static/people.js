// People, invitations, and the LLMs.
import { Check, Dialog, Field, Loaded, Select, api, enc, html, toast, told, useLoad, useState } from "/static/lib.js";

const ROLES = [["annotator", "annotator"], ["reviewer", "reviewer"], ["admin", "administrator"]];
const EMPTY = { name: "", model: "", api_base: "", key: "", system_prompt: "", default: false };

function Person({ row, admin, change }) {
  return html`<tr><th scope="row">${row.name}</th><td>
    ${admin ? html`<${Select} class="slim" aria-label=${`Role of ${row.name}`}
      value=${row.role} change=${(role) => change(row, { role })} options=${ROLES} />` : row.role}</td>
    <td>${row.active ? "" : html`<span class="quiet">deactivated</span>`}</td><td class="number">
      ${admin && html`<button class="bare" aria-label=${`${row.active ? "Deactivate" : "Activate"} ${row.name}`}
      onClick=${() => change(row, { active: !row.active })}>${row.active ? "Deactivate" : "Activate"}</button>`}</td></tr>`;
}

function Invite({ close }) {
  const projects = useLoad(() => api.get("projects"), []);
  const [form, setForm] = useState({ role: "annotator", project: "" });
  const [link, setLink] = useState("");
  const ask = (event) => {
    event.preventDefault();
    api.post("invitations", { ...form, project: form.project || null }).then((made) => setLink(`${location.origin}/join#${made.token}`)).catch(told);
  };
  // Over plain HTTP browsers let no page copy.
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(link);
      toast("Copied");
    } catch { toast("Select the link and copy it", { bad: true }); }
  };
  return html`<${Dialog} title="Invite somebody" close=${close}><div class="stack"><form class="row end" onSubmit=${ask}>
      <${Field} grow label="Role"><${Select} value=${form.role} change=${(role) => setForm({ ...form, role })} options=${ROLES} /><//>
      <${Field} grow label="Project">
        <${Select} value=${form.project}
          change=${(project) => setForm({ ...form, project })} options=${[["", "none yet"], ...(projects.data || []).map((row) => [row.key, row.name])]} /><//>
      <button class="main">Create a link</button></form>
    <p class="hint">Annotators see their own work, reviewers everybody's and settle disagreements, administrators also make projects, people and LLMs.</p>
    ${link && html`<div class="note stack tight"><span>The link works once, for seven days:</span><code>${link}</code><div>
      <button onClick=${copy}>Copy</button></div></div>`}</div><//>`;
}

function Invitations({ again }) {
  const open = useLoad(() => api.get("invitations"), [again]);
  const revoke = (row) => api.del(`invitations/${row.id}`).then(() => { toast("Invitation revoked"); open.reload(); }).catch(told);
  if (!open.data?.length) return null;
  return html`<table class="fit"><caption>Open invitations</caption><thead><tr><th>Role</th><th>Project</th><th>Until</th><th></th></tr></thead>
    <tbody>${open.data.map((row) => html`<tr key=${row.id}><td>${ROLES.find(([role]) => role === row.role)[1]}</td><td>${row.project || "none yet"}</td>
      <td>${new Date(row.expires_at).toLocaleString()}</td><td><button class="bare" onClick=${() => revoke(row)}>Revoke</button></td></tr>`)}
        </tbody></table>`;
}

function LlmForm({ start, close, saved }) {
  const [llm, setLlm] = useState({ ...EMPTY, ...start, key: "", api_base: start.api_base || "" });
  const put = (name) => (event) => setLlm({ ...llm, [name]: event.target.value });
  const { name, model, system_prompt, default: first } = llm;
  const save = (event) => {
    event.preventDefault();
    api.put("llms", { name, model, system_prompt, version: llm.version ?? 0, default: first, api_base: llm.api_base || null, key: llm.key || null })
      .then(() => { toast("LLM saved; its key never leaves the server"); saved(); close(); }).catch(told);
  };
  return html`<${Dialog} title=${start.name ? `Change ${start.name}` : "Set up an LLM"} close=${close}><form class="stack" onSubmit=${save}>
    <${Field} label="Name" hint="Blocks refer to it by this name.">
      <input required autofocus readonly=${Boolean(start.name)} value=${name} onInput=${put("name")} /><//>
    <${Field} label="Model (LiteLLM name)" hint="embedded:smollm2-135m needs no key and no network.">
      <input required placeholder="openai/gpt-5-mini" value=${model} onInput=${put("model")} /><//>
    <${Field} label="Base URL (optional)">
      <input type="url" placeholder="http://127.0.0.1:8000/v1" value=${llm.api_base} onInput=${put("api_base")} /><//>
    <${Field} label="Key" hint=${start.has_key ? "A key is stored; leave this empty to keep it." : "Stored encrypted, never shown again."}>
      <input type="password" autocomplete="off" value=${llm.key} onInput=${put("key")} /><//>
    <${Field} label="System prompt, sent before each block's own"><textarea value=${system_prompt} onInput=${put("system_prompt")}></textarea><//>
    <${Check} checked=${first} change=${() => setLlm({ ...llm, default: !first })}>Default for blocks that name no LLM<//>
    <div><button class="main">Save</button></div></form><//>`;
}

// What an LLM says to a short question: whether it can be reached, how long it takes and what it costs.
function Tried({ of }) {
  if (of.busy) return html`<span role="status" class="quiet">Asking</span>`;
  if (of.problem) return html`<span role="status" class="saved bad">${of.problem}</span>`;
  const cost = of.usd ? `, ${of.usd.toFixed(6)} USD` : "";
  return html`<span role="status">“${of.answer.trim()}” <span class="quiet small">${of.seconds.toFixed(1)} s, ${
    of.prompt_tokens} + ${of.completion_tokens} tokens${cost}</span></span>`;
}

function Llms({ admin }) {
  const llms = useLoad(() => api.get("llms"), []);
  const [open, setOpen] = useState(null);
  const [sure, setSure] = useState("");
  const remove = (name) => api.del(`llms/${enc(name)}`).then(() => { setSure(""); llms.reload(); }).catch(told);
  const [tried, setTried] = useState({});
  const attempt = (name) => {
    const show = (of) => setTried((now) => ({ ...now, [name]: of }));
    show({ busy: true });
    api.post(`llms/${enc(name)}/try`).then(show, (error) => show({ problem: error.message }));
  };
  const acts = (row) => html`<button class="bare" aria-label=${`Try ${row.name}`} disabled=${Boolean(tried[row.name]?.busy)}
      onClick=${() => attempt(row.name)}>Try</button>
    <button class="bare" aria-label=${`Change ${row.name}`} onClick=${() => setOpen(row)}>Change</button>
    ${sure === row.name ? html`<button class="bad" onClick=${() => remove(row.name)}>Delete permanently</button>`
      : html`<button class="bare" aria-label=${`Delete ${row.name}`} onClick=${() => setSure(row.name)}>Delete</button>`}`;
  return html`<section class="stack" aria-label="LLMs"><div class="row between"><h2>LLMs</h2>
    ${admin && html`<button onClick=${() => setOpen(EMPTY)}>Set up an LLM</button>`}</div>
    <${Loaded} of=${llms}>${(rows) => (rows.length ? html`<table><thead><tr><th>Name</th><th>Model</th><th>Key</th><th></th></tr></thead><tbody>
      ${rows.map((row) => html`<tr key=${row.name}><th scope="row">${row.name}${row.default ? html` <span class="quiet">(default)</span>` : ""}</th>
      <td><code>${row.model}</code></td><td>${row.has_key ? "stored" : "none"}</td><td class="number">${admin && acts(row)}</td></tr>
      ${tried[row.name] && html`<tr><td colspan="4"><${Tried} of=${tried[row.name]} /></td></tr>`}`)}</tbody>
        </table>` : html`<p class="quiet">No LLM yet, so no block can be drafted. embedded:smollm2-135m needs no key and no network.</p>`)}<//>
    ${open && html`<${LlmForm} start=${open} close=${() => setOpen(null)} saved=${llms.reload} />`}</section>`;
}

export function People({ me }) {
  const people = useLoad(() => api.get("people"), []);
  const [inviting, setInviting] = useState(false);
  const admin = me.role === "admin";
  const change = ({ name, version }, changes) => api.patch(`people/${enc(name)}`, { version, ...changes })
    .then(people.reload).catch((error) => { told(error); people.reload(); });
  return html`<div class="stack wide"><section class="stack" aria-label="People"><div class="row between"><h2>People</h2>
    ${admin && !me.alone && html`<button onClick=${() => setInviting(true)}>Invite somebody</button>`}</div>
      ${me.alone && html`<p class="hint">You work alone here. To invite others, start the tool with <code>stm-agent annotate --team</code>, or with
        a <code>--host</code> that they can reach.</p>`}
      <${Loaded} of=${people}>${(rows) => html`<table><thead><tr><th>Name</th><th>Role</th><th>State</th><th></th></tr></thead><tbody>
        ${rows.map((row) => html`<${Person} key=${row.name} row=${row} admin=${admin} change=${change} />`)}</tbody></table>`}<//>
      ${admin && !me.alone && html`<${Invitations} again=${inviting} />`}</section>
    <${Llms} admin=${admin} />${inviting && html`<${Invite} close=${() => setInviting(false)} />`}</div>`;
}
