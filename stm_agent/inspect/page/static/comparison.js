// @ts-check
import { h, pValue, section, signed, table, three, written } from './dom.js';

/** Two or more runs side by side: what differs, scores with paired tests, and cost. */
export function comparison({ comparison: view }) {
  const runs = view.runs.map((run) => run.name);
  const interval = (test) => `${signed(test.delta)} [${signed(test.low)}, ${signed(test.high)}]`;
  return [
    section('verdict', 'Comparison', null, written('p.verdict', view.verdict), view.notices.map((notice) => h('p.notice.bad', {}, notice)),
      table([['run', (run) => run.name], ['state', (run) => run.state], ['best', (run) => (run.value === null ? '' : `${three(run.value)} on ${run.split}${run.synthetic ? ' (synthetic)' : ''}`), true],
        ['minutes', (run) => (run.minutes === null ? '' : run.minutes.toFixed(1)), true], ['USD', (run) => run.usd.toFixed(4), true],
        ['LLM calls', (run) => run.calls, true], ['looks', (run) => run.looks ?? '', true]], view.runs)),
    section('scores', 'Scores', 'Paired tests over the queries that both runs scored; a p-value is two-sided.',
      view.tests.length ? table([['row', (test) => test.row], ['runs', (test) => `${test.first} minus ${test.second}`], ['queries', (test) => `${test.queries}${test.synthetic ? ' (synthetic)' : ''}`, true],
        [`nDCG@10`, (test) => `${three(test.first_score)}, ${three(test.second_score)}`, true],
        ['difference [95 %]', (test) => h(`span.${test.low > 0 ? 'good' : test.high < 0 ? 'bad' : 'quiet'}`, {}, interval(test)), true],
        ['p', (test) => pValue(test.p_value), true], ['changed sides', (test) => `${test.won} won, ${test.lost} lost`, true]], view.tests)
        : h('p.quiet', {}, 'No two of the runs have the same test queries.')),
    section('differences', 'What was configured differently', null,
      view.differences.length ? table([['input', (row) => h('code', {}, row.name)], ...runs.map((run, at) => [run, (row) => written('span', row.values[at])])], view.differences)
        : h('p', {}, 'Nothing: the runs have the same inputs.')),
  ];
}
