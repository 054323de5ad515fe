// @ts-check
import { chart } from './charts.js';
import { fill, h, section, signed, three, tone, written } from './dom.js';
import { Grid } from './grid.js';

/** (b) The search over cost, and (c) what a point opens. */
export function trials(page) {
  const { timeline, charts } = page;
  const detail = h('div.detail', { hidden: true, 'aria-live': 'polite' });
  const open = (dot) => show(detail, page, timeline.dots.find((other) => other.id === dot.id));
  const grid = new Grid('Trials', [
    { title: 'trial', width: 'minmax(10rem, 2fr)', cell: (dot) => dot.label, sort: (dot) => dot.label },
    { title: 'lever', width: '7rem', cell: (dot) => dot.lever, sort: (dot) => dot.lever },
    { title: 'nDCG@10', width: '6rem', number: true, cell: (dot) => three(dot.value ?? dot.off_scale),
      sort: (dot) => dot.value ?? dot.off_scale ?? -1 },
    { title: 'outcome', width: '6rem', cell: (dot) => dot.outcome, sort: (dot) => dot.outcome },
    { title: 'minutes', width: '5.5rem', number: true, cell: (dot) => dot.minutes.toFixed(1), sort: (dot) => dot.minutes },
    { title: 'reason', width: 'minmax(10rem, 3fr)', cell: (dot) => dot.reason },
  ], open, 'No trial is like this.');
  const place = h('div', {});
  const draw = (cost) => fill(place, chart(charts[cost], (dot) => open(dot)));
  const element = section('search', 'Search over cost',
    'The line is the best model so far on the search half of dev, from the moment the start was scored until the end of the run; '
    + 'it falls back where a model was not confirmed. Each point is one trial; those below the dotted line have no score on that '
    + 'half. Trials of one action lie at equal distances in their order. Click a point, or choose a row.',
    axes(page, draw), legend(timeline.dots), place, timeline.confirmation ? written('p', timeline.confirmation) : null,
    filters(timeline.dots, grid), grid.element, detail);
  draw('minutes');
  grid.show(timeline.dots);
  return { element, open: (id) => {
    const dot = timeline.dots.find((other) => other.id === id || other.id.endsWith(`:${id}`));
    if (dot) open(dot);
    detail.scrollIntoView({ block: 'nearest' });
  } };
}

/** Colours and shapes as in stm_agent.inspect.page.charts. */
const LEVERS = ['instruction', 'program', 'expert', 'merge', 'probe', 'failure'];
const OUTCOMES = { taken: '◆', tried: '○', refused: '✚', failed: '▼' };

function legend(dots) {
  const levers = LEVERS.map((name, at) => [name, at + 1]).filter(([name]) => dots.some((dot) => dot.lever === name));
  const outcomes = Object.entries(OUTCOMES).filter(([name]) => dots.some((dot) => dot.outcome === name));
  return h('div.row.small', {}, levers.map(([name, number]) =>
    h('span', {}, h('span', { 'aria-hidden': 'true', style: `color: var(--lever-${number})` }, '● '), name)),
  h('span.quiet', { 'aria-hidden': 'true' }, '|'), outcomes.map(([name, mark]) => h('span.quiet', {}, `${mark} ${name}`)));
}

function axes({ timeline }, draw) {
  if (!timeline.end || !timeline.end.usd) return h('p.quiet.small', {}, 'This run paid for no LLM call, so its cost is time.');
  const buttons = [['minutes', 'over minutes'], ['usd', 'over dollars']].map(([cost, title], index) =>
    h('button', { type: 'button', 'aria-pressed': String(index === 0), onclick: (event) => {
      buttons.forEach((button) => button.setAttribute('aria-pressed', String(button === event.currentTarget)));
      draw(cost);
    } }, title));
  return h('div.row', { role: 'group', 'aria-label': 'Cost' }, buttons);
}

function filters(dots, grid) {
  const outcomes = [...new Set(dots.map((dot) => dot.outcome))];
  const select = h('select', { onchange: () => {
    grid.show(dots.filter((dot) => !select.value || dot.outcome === select.value));
  } }, h('option', { value: '' }, 'all'), outcomes.map((name) => h('option', { value: name }, name)));
  return h('div.row', {}, h('label', {}, 'Outcome', select), h('span.quiet.small', {}, `${dots.length} trials`));
}

/** One trial: text against its parent, chat, examples, scores and cost. */
function show(place, page, dot) {
  const trial = page.trials[dot.id];
  place.hidden = false;
  place.dataset.id = dot.id;
  const head = h('div', {}, h('h3', {}, dot.label), h('p', {}, h('span.tag', {}, dot.outcome), ' ', written('span', dot.reason)));
  if (!trial) return fill(place, head, h('p.quiet', {}, 'Nothing more is recorded of this trial.'));
  return fill(place, head, fields(trial), text(trial), passage(trial), chat(trial), examples(trial), queries(trial));
}

const fields = (trial) => h('dl.facts', {}, trial.fields.map(([name, value]) =>
  h('div', {}, h('dt', {}, name), written('dd', value))));

function text(trial) {
  if (!trial.text && !trial.words.length) return null;
  if (!trial.words.length) return h('div', {}, h('h3', {}, 'Text'), written('pre', trial.text, { tabindex: 0 }));
  return h('div', {}, h('h3', {}, `Words changed against ${trial.parent}`), difference(trial.words),
    h('details', {}, h('summary', {}, 'The whole text'), written('pre', trial.text || '(none)', { tabindex: 0 })));
}

/** The text in front of passages, which most trials do not have. */
function passage(trial) {
  if (!trial.passage && !trial.passage_words.length) return null;
  if (!trial.passage_words.length) return h('div', {}, h('h3', {}, 'Passage instruction'), written('pre', trial.passage, { tabindex: 0 }));
  return h('div', {}, h('h3', {}, `Passage instruction against that of ${trial.parent}`), difference(trial.passage_words));
}

/** Words of two texts, those that are gone or new marked. */
function difference(words) {
  const marks = { '-': 'del', '+': 'ins', ' ': 'span' };
  return h('pre', { tabindex: 0, dir: 'auto' }, words.flatMap(([mark, part]) => [h(marks[mark], {}, part), ' ']));
}

function chat(trial) {
  if (!trial.chat.length) return null;
  return h('div', {}, h('h3', {}, 'The chat as it was sent'), trial.chat.map((message) =>
    h('div.message', {}, h('h4', {}, message.role), written('div.text.long', message.content, { tabindex: 0 }))));
}

function examples(trial) {
  if (!trial.shown.length) return null;
  return h('details', { open: trial.shown.length < 4 }, h('summary', {}, `Examples that the LLM was shown (${trial.shown.length})`),
    trial.shown.map((example) => h('div.message', {}, Object.entries(example).map(([name, value]) =>
      h('div', {}, h('span.quiet.small', {}, `${name}: `), written('span', value))))));
}

function queries(trial) {
  if (!trial.changes.length) return null;
  return h('div', {}, h('h3', {}, `Queries against ${trial.parent}: ${trial.won} won, ${trial.lost} lost`),
    trial.changes.map((row) => h('div.message', {},
      h('div', {}, h(`strong.${tone(row.after - row.before)}`, {}, signed(row.after - row.before)), ' ', written('span', row.query)),
      h('div.quiet.small', {}, `found first before (${three(row.before)}): `, written('span', row.first_before)),
      h('div.quiet.small', {}, `found first now (${three(row.after)}): `, written('span', row.first_after)))));
}
