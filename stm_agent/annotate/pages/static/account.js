// One's own password and API tokens.
import { Field, Loaded, Select, api, html, toast, told, useLoad, useState } from "/static/lib.js";

const DAYS = [["30", "30 days"], ["90", "90 days"], ["365", "a year"], ["", "no end"]];
const EMPTY = { old: "", fresh: "", again: "" };

function Password() {
  const [form, setForm] = useState(EMPTY);
  const put = (name) => (event) => setForm({ ...form, [name]: event.target.value });
  const send = (event) => {
    event.preventDefault();
    if (form.fresh !== form.again) {
      toast("The new passwords differ", { bad: true });
      return;
    }
    api.put("me/password", { old: form.old, new: form.fresh })
      .then(() => { setForm(EMPTY); toast("Password changed; your other logins have ended"); }).catch(told);
  };
  const box = (name, label, complete) => html`<${Field} label=${label}>
    <input type="password" required autocomplete=${complete} value=${form[name]} onInput=${put(name)} /><//>`;
  return html`<section class="stack" aria-label="Password"><h2>Password</h2><form class="stack" onSubmit=${send}>
    ${box("old", "Current password", "current-password")}
    ${box("fresh", "New password, ten characters or more", "new-password")}
    ${box("again", "New password again", "new-password")}
    <div><button class="main">Change the password</button></div></form></section>`;
}

function Tokens() {
  const tokens = useLoad(() => api.get("me/tokens"), []);
  const [form, setForm] = useState({ name: "", days: "90" });
  const [made, setMade] = useState("");
  const send = (event) => {
    event.preventDefault();
    api.post("me/tokens", { name: form.name, days: form.days === "" ? null : Number(form.days) }).then((row) => {
      setMade(row.token);
      setForm({ ...form, name: "" });
      tokens.reload();
    }).catch(told);
  };
  const revoke = (row) => api.del(`me/tokens/${row.id}`).then(() => { toast("Token revoked"); tokens.reload(); }).catch(told);
  const day = (moment) => (moment ? new Date(moment).toLocaleDateString() : "never");
  return html`<section class="stack" aria-label="API tokens"><div><h2>API tokens</h2>
      <p class="hint">A script sends a token instead of logging in. It may do what you may do.</p></div>
    <form class="row end" onSubmit=${send}><${Field} grow label="What the token is for">
        <input required value=${form.name} onInput=${(event) => setForm({ ...form, name: event.target.value })} /><//>
      <${Field} label="Valid for"><${Select} value=${form.days} change=${(days) => setForm({ ...form, days })} options=${DAYS} /><//>
      <button>Create a token</button></form>
    ${made && html`<div class="note stack tight" role="status"><span>Copy the token now; it is not shown again:</span><code>${made}</code></div>`}
    <${Loaded} of=${tokens}>${(rows) => rows.length > 0 && html`<table><thead><tr><th>For</th><th>Created</th><th>Expires</th><th></th></tr></thead>
      <tbody>${rows.map((row) => html`<tr key=${row.id}><th scope="row">${row.name}</th><td>${day(row.created_at)}</td><td>${day(row.expires_at)}</td>
        <td class="number"><button class="bare" aria-label=${`Revoke ${row.name}`} onClick=${() => revoke(row)}>Revoke</button></td></tr>`)}</tbody></table>`}<//></section>`;
}

export const Account = () => html`<div class="stack wide"><${Password} /><${Tokens} /></div>`;
