// What somebody else saved in between beside one's own, and which of the two is to stay.
import { html } from "/static/vendor/preact.js";

// Parts are [name, what is there, what is mine]; those that are the same are not shown.
export function Clash({ what, parts, mine, theirs }) {
  const rows = parts.filter(([, there, here]) => there !== here);
  return html`<div class="stack"><p role="alert">${what} was changed by somebody else since you opened it. Nothing of yours is lost yet.</p>
    <table><thead><tr><th>Part</th><th>There</th><th>Yours</th></tr></thead><tbody>${rows.map(([name, there, here]) => html`
      <tr><th scope="row">${name}</th><td dir="auto">${there}</td><td dir="auto">${here}</td></tr>`)}</tbody></table>
    <div class="row"><button class="main" onClick=${mine}>Save mine over it</button><button onClick=${theirs}>Take what is there</button></div></div>`;
}
