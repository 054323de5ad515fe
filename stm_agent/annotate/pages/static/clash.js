// What somebody else saved in between beside one's own, and which of the two is to stay.
import { html } from "/static/vendor/preact.js";

// Parts are [name, what is there, what is mine]; those that are the same are not shown.
export function Clash({ what, parts, mine, theirs }) {
  const rows = parts.filter(([, there, here]) => there !== here);
  return html`<div class="stack"><p role="alert">${what} was changed by somebody else since you opened it. Your changes are not lost.</p>
    <table><thead><tr><th>Part</th><th>Theirs</th><th>Yours</th></tr></thead><tbody>${rows.map(([name, there, here]) => html`
      <tr><th scope="row">${name}</th><td dir="auto">${there}</td><td dir="auto">${here}</td></tr>`)}</tbody></table>
    <div class="row"><button class="main" onClick=${mine}>Keep mine</button><button onClick=${theirs}>Keep theirs</button></div></div>`;
}
