// @ts-check
import { chart } from './charts.js';
import { code, h, section, table, three, written } from './dom.js';

/** (e) From the exported model back to what it was made of. */
export function lineage({ lineage: reason }) {
  const branch = (part, depth) => h('li', {}, part.parts.length && depth > 0
    ? h('details', { open: depth < 3 }, h('summary', { style: 'color: inherit' }, written('span', part.text)), list(part.parts, depth))
    : [written('span', part.text), part.parts.length ? list(part.parts, depth) : null]);
  const list = (parts, depth) => h('ul', {}, parts.map((part) => branch(part, depth + 1)));
  return section('lineage', 'Lineage', 'From the exported model back over looks, merge, experts, sources, programs and prompts.',
    typeof reason === 'string' ? h('p.quiet', {}, reason) : h('ul.tree', {}, branch(reason, 0)));
}

/** (f) What was written, mined, relabelled and left out. */
export function data({ written: view }) {
  return section('data', 'Training data', 'What was written and mined, what an audit changed, and samples of each kind.',
    view.missing ? h('p.quiet', {}, view.missing) : null,
    view.rates.length ? [h('h3', {}, 'False negatives: estimated share of negatives that are relevant'),
      table([['negatives', (row) => row.kind], ['before the audit', (row) => row.before ?? ''], ['after it', (row) => row.after ?? '']], view.rates)]
      : view.missing ? null : h('p.quiet', {}, 'No audit of negatives ran, so no false-negative rate was measured.'),
    view.groups.map(group), view.notes.length ? h('details', {}, h('summary', {}, `What stages reported (${view.notes.length})`),
      h('ul', {}, view.notes.map((note) => written('li', note)))) : null);
}

/** What the stages are called on the page. */
const GROUPS = { queries: 'Written queries', negatives: 'Written hard negatives', graded: 'Written graded passages', mined: 'Mined hard negatives' };

function group({ name, counts, samples }) {
  return [h('h3', {}, GROUPS[name] ?? name), h('p', {}, counts.map(([what, number]) => `${number.toLocaleString('en')} ${what}`).join(', ')),
    h('details', {}, h('summary', {}, `Samples (${samples.length})`),
      h('div.long', { tabindex: 0, role: 'group', 'aria-label': `Samples of ${name}` }, samples.map(sample)))];
}

const sample = (row) => h('div.message', {},
  h('div.row.small', { style: 'margin: 0' }, h('code', {}, row.id), h(`span.tag.${row.verdict === 'accepted' ? 'good' : 'bad'}`, {}, row.verdict),
    h('span.quiet', {}, row.by), row.reason ? written('span', row.reason) : null),
  h('div', {}, h('span.quiet.small', {}, 'query: '), written('strong', row.query || '(withheld)')),
  row.positives.map((text) => h('div', {}, h('span.quiet.small', {}, 'positive: '), written('span', text))),
  row.negatives.map((negative) => h('div', {}, h('span.quiet.small', {}, `negative, ${negative.kind}${negative.verdict ? `, ${negative.verdict}` : ''}: `),
    written('span', negative.text))));

/** (g) The Pareto front, the weights, and the surrogate against real encodes. */
export function merge({ merge: view, charts }) {
  const weights = Object.entries(view.weights);
  if (!view.points.length && !view.encoded.length) {
    return section('merge', 'Merge', null, h('p.quiet', {}, 'This run merged no experts.'));
  }
  const named = (point) => Object.entries(point.weights).filter(([, weight]) => weight).map(([name, weight]) => `${name} ${weight.toFixed(2)}`).join(', ');
  return section('merge', 'Merge', 'What the merges trade between the domain and general tasks. The exported point has a ring.',
    view.earlier ? h('p', {}, `The run searched merge weights ${view.earlier + 1} times. This is the last search; the merges of the others are among the trials.`) : null,
    h('p', {}, weights.length ? `Exported weights: ${named(view)}.` : 'The exported model has no merge weights: it is the start.'),
    h('div.pair', {}, h('div', {}, h('h4', {}, 'Domain against general'), chart(charts.front)),
      h('div', {}, h('h4', {}, 'Surrogate against real encodes'), charts.surrogate ? chart(charts.surrogate)
        : h('p.quiet', {}, 'The surrogate guessed no encoded merge.'),
      view.correlation === null ? null : h('p.small', {}, `Spearman correlation ${view.correlation.toFixed(2)}.`))),
    h('details', { open: view.points.length < 9 }, h('summary', {}, `Points of the front (${view.points.length})`),
      table([['point', (row) => `${row.number}${row.exported ? ' (exported)' : ''}`, true], ['domain', (row) => three(row.domain), true],
        ['general', (row) => three(row.general), true], ['scored by', (row) => row.source], ['method', (row) => row.method], ['weights', named]], view.points)),
    h('h3', {}, 'Write another point as a model'), code(view.pick));
}

/** (h) How to use the model, licences, and the commands that make the run again. */
export function usage({ usage: view }) {
  return section('use', 'Use and reproduce', null,
    view.code ? [h('h3', {}, 'Use the model'), h('p', {}, `It lies in ${view.model}. Instruction: ${view.instruction || 'none'}.`), code(view.code), code(view.search)]
      : h('p.quiet', {}, 'This run has no model yet.'),
    h('h3', {}, 'Make the run again'), view.commands.map(code),
    h('h3', {}, 'Data and licences'), view.licences.length ? h('ul', {}, view.licences.map((line) => written('li', line))) : h('p.quiet', {}, 'Not recorded.'),
    Object.keys(view.versions).length ? h('details', {}, h('summary', {}, 'Versions'),
      table([['package', ([name]) => name], ['version', ([, version]) => version]], Object.entries(view.versions))) : null,
    view.card ? h('details', {}, h('summary', {}, 'Model card'), written('pre', view.card, { tabindex: 0 })) : null);
}
