// A passage to judge: its text, its grades, and the note that saves itself.
import { outbox } from "/static/outbox.js";
import { Dot } from "/static/widgets.js";
import { html, useState } from "/static/vendor/preact.js";

// A long text begins cut, so that the next passage is near; all of it is one press away.
export function Long({ text, most = 6000 }) {
  const [all, setAll] = useState(false);
  if (text.length <= most) return text;
  const rest = (text.length - most).toLocaleString();
  return html`${all ? text : `${text.slice(0, most)} …`} <button class="link more" aria-expanded=${all ? "true" : "false"} onClick=${() => setAll(!all)}>
    ${all ? "Show less" : `Show all, ${rest} characters more`}</button>`;
}

// A passage's content fields: a short first one is its title.
function Body({ row, names }) {
  const parts = names.map((name) => String(row.fields[name] ?? "")).filter(Boolean);
  const text = parts.length ? parts : [row.text];
  const titled = text.length > 1 && text[0].length < 200;
  const rest = (titled ? text.slice(1) : text).join("\n");
  return html`<div class="text" dir="auto">${titled && html`<b>${text[0]}</b><br />`}<${Long} text=${rest} /></div>`;
}

// What is typed waits in the outbox at once, goes out within a second, and without waiting when the note is left.
function Note({ number, value, save, closed }) {
  return html`<input class="small" dir="auto" aria-label=${`Note on passage ${number}`} readonly=${closed} maxlength="10000"
    placeholder="Note, if the grade needs one  c" value=${value} onInput=${(event) => save(event.target.value)} onBlur=${() => outbox.flush()} />`;
}

export function Passage({ row, number, current, levels, names, others, pick, grade, note, closed }) {
  const nameOf = (score) => levels.find((level) => level.score === score)?.name ?? score;
  const said = row.llm_grade === null || row.llm_grade === undefined ? null : nameOf(row.llm_grade);
  return html`<article class="passage stack" aria-current=${current ? "true" : null} aria-label=${`Passage ${number}`} onClick=${pick}>
    <${Body} row=${row} names=${names} />
    <div class="row between"><div class="grades" role="group" aria-label=${`Grade of passage ${number}`}>${levels.map((level) => html`
        <button aria-pressed=${row.grade === level.score ? "true" : "false"} title=${level.help} onClick=${() => grade(level.score)}>
          <${Dot} colour=${level.colour} />${level.name}</button>`)}</div>
      <span class="small quiet">${row.grade === null ? "unjudged" : said !== null ? `The LLM said: ${said}` : ""}</span></div>
    ${others.length > 0 && html`<p class="small quiet">
      ${others.map((one) => `${one.person}: ${nameOf(one.grade)}${one.note ? ` (${one.note})` : ""}`).join(", ")}</p>`}
    ${current && row.grade !== null && html`<${Note} number=${number} value=${row.note} save=${note} closed=${closed} />`}</article>`;
}
