// A passage to judge: its text, its grades, and the note that saves itself.
import { Passage as Fields } from "/static/fields.js";
import { outbox } from "/static/outbox.js";
import { Dot } from "/static/widgets.js";
import { html } from "/static/vendor/preact.js";

// What is typed waits in the outbox at once, goes out within a second, and without waiting when the note is left.
function Note({ number, value, save, closed }) {
  return html`<input class="small" dir="auto" aria-label=${`Note on passage ${number}`} readonly=${closed} maxlength="10000"
    placeholder="Note (optional)  c" value=${value} onInput=${(event) => save(event.target.value)} onBlur=${() => outbox.flush()} />`;
}

export function Passage({ project, row, number, current, levels, others, pick, grade, note, closed }) {
  const nameOf = (score) => levels.find((level) => level.score === score)?.name ?? score;
  const said = row.llm_grade === null || row.llm_grade === undefined ? null : nameOf(row.llm_grade);
  return html`<article class="passage stack" aria-current=${current ? "true" : null} aria-label=${`Passage ${number}`} onClick=${pick}>
    <${Fields} project=${project} fields=${row.fields} text=${row.text} words=${row.words} />
    <div class="row between"><div class="grades" role="group" aria-label=${`Grade of passage ${number}`}>${levels.map((level) => html`
        <button aria-pressed=${row.grade === level.score ? "true" : "false"} title=${level.help} onClick=${() => grade(level.score)}>
          <${Dot} colour=${level.colour} />${level.name}</button>`)}</div>
      <span class="small quiet">${row.grade === null ? "unjudged" : said !== null ? `The LLM said: ${said}` : ""}</span></div>
    ${others.length > 0 && html`<p class="small quiet">
      ${others.map((one) => `${one.person}: ${nameOf(one.grade)}${one.note ? ` (${one.note})` : ""}`).join(", ")}</p>`}
    ${current && row.grade !== null && html`<${Note} number=${number} value=${row.note} save=${note} closed=${closed} />`}</article>`;
}
