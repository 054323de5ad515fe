// @ts-check
import { chart } from './charts.js';
import { h, pValue, section, signed, table, three, written } from './dom.js';

const STATES = { finished: 'good', stopped: 'bad', interrupted: 'bad', running: 'quiet' };

/** (a) The verdict, the rows, the gate and the cost. */
export function overview(page) {
  const view = page.overview;
  return section('verdict', 'Verdict', null,
    h('div.row', {}, h(`span.state.${STATES[view.state] ?? 'quiet'}`, {}, view.state), written('span.quiet', view.domain)),
    written('p.verdict', view.verdict),
    view.notices.map((notice) => h('p.notice.bad', {}, notice)),
    view.sentences.map((sentence) => h('p', {}, sentence)),
    view.rows.length ? rows(page) : null,
    view.race.length ? race(view) : null,
    h('dl.facts', {}, view.facts.map((fact) => h('div', {}, h('dt', {}, fact.name), written('dd', fact.value)))),
    lists(view));
}

function rows({ overview: view, charts }) {
  const interval = (low, high, show) => (low === null ? '' : ` [${show(low)}, ${show(high)}]`);
  const columns = [
    ['row', (row) => row.name],
    ['nDCG@10 [95 %]', (row) => three(row.ndcg) + interval(row.low, row.high, three), true],
    ['Recall@100', (row) => three(row.recall), true],
    ['MRR@10', (row) => three(row.mrr), true],
    ['model minus this [95 %]', (row) => (row.delta === null ? '' : versus(row, interval)), true],
    ['p', (row) => pValue(row.p_value), true],
  ];
  return h('div', {}, table(columns, view.rows, (row) => (row.name === 'merged' ? { class: 'own' } : {})), chart(charts.rows));
}

/** The starts that raced before one was adapted; BM25 is the mark. */
function race(view) {
  const columns = [
    ['start', (row) => row.name],
    ['nDCG@10', (row) => three(row.ndcg), true],
    ['seconds per 1,000 texts', (row) => (row.seconds === null ? '' : row.seconds.toFixed(1)), true],
    ['', (row) => row.role],
  ];
  return h('div', {}, h('h3', {}, 'Race of the starts'),
    table(columns, view.race, (row) => (row.role === 'chosen' ? { class: 'own' } : {})), h('p.quiet', {}, view.race_note));
}

/** The difference is coloured only if its interval excludes 0. */
function versus(row, interval) {
  const clear = row.delta_low > 0 ? 'good' : row.delta_high < 0 ? 'bad' : 'quiet';
  return h(`span.${clear}`, {}, signed(row.delta) + interval(row.delta_low, row.delta_high, signed));
}

function lists(view) {
  const parts = [['Lost levers', view.lost, true], ['Warnings', view.warnings, true], ['Why it ran like this', view.plan],
    ['Remarks', view.remarks]];
  return parts.filter(([, lines]) => lines.length).map(([title, lines, open]) =>
    h('details', { open: Boolean(open) && lines.length < 6 }, h('summary', {}, `${title} (${lines.length})`),
      h('ul', {}, lines.map((line) => written('li', line)))));
}
