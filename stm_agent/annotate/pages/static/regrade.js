// Levels that were used went away or became one with another: where the grades that were given go.
import { Dialog, Field, Select, html, useState } from "/static/lib.js";

export function Regrade({ rows, grades, levels, move, close }) {
  const [chosen, setChosen] = useState({});
  const left = new Set(levels.map((level) => level.score));  // another person may have taken the chosen level away
  const goals = Object.fromEntries(rows.map((row) => [row.grade, left.has(chosen[row.grade]) ? chosen[row.grade] : row.goal]));
  const options = levels.map((level) => [String(level.score), `${level.name} (${level.score})`]);
  const send = (event) => { event.preventDefault(); move({ ...grades, ...goals }); };
  return html`<${Dialog} title="Move existing grades" close=${close}><form class="stack" onSubmit=${send}>
    <p>Some judgements have a grade that no level has any more. Choose a new grade for each; nothing is saved before
      that.</p>
    ${rows.map((row) => html`<${Field} key=${row.grade} label=${`${row.count.toLocaleString()} of grade ${row.grade} (${row.name}) become`}>
      <${Select} value=${String(goals[row.grade])} options=${options}
        change=${(value) => setChosen({ ...chosen, [row.grade]: Number(value) })} /><//>`)}
    <div><button class="main">Move them and save</button></div></form><//>`;
}
