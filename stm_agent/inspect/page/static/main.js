// @ts-check
import { comparison } from './comparison.js';
import { content } from './content.js';
import { fill, h, section } from './dom.js';
import { overview } from './overview.js';
import { data, lineage, merge, usage } from './parts.js';
import { Queries } from './queries.js';
import { trials } from './trials.js';

const NAMES = { verdict: 'Verdict', search: 'Search', queries: 'Queries', lineage: 'Lineage', data: 'Data', merge: 'Merge',
  use: 'Use', scores: 'Scores', differences: 'Differences' };
const dark = matchMedia('(prefers-color-scheme: dark)');
const root = document.documentElement;

/** The theme of the system, until a person chooses one for this page. */
function theme() {
  const apply = (name) => { root.dataset.theme = name; };
  apply(dark.matches ? 'dark' : 'light');
  dark.addEventListener('change', () => apply(dark.matches ? 'dark' : 'light'));
  let before = 'light';
  addEventListener('beforeprint', () => { before = root.dataset.theme ?? 'light'; apply('light'); });
  addEventListener('afterprint', () => apply(before));
  return h('button.push', { type: 'button', onclick: () => apply(root.dataset.theme === 'dark' ? 'light' : 'dark') }, 'Light or dark');
}

function queriesOf(page) {
  if (page.queries) return new Queries(page.queries, page.first, page.second).element;
  if (page.kind === 'comparison') {
    return section('queries', 'Queries', null, h('p.quiet', {}, 'No two of the runs have the same test queries, so there is nothing to compare query by query.'));
  }
  return section('queries', 'Queries', null, h('p.quiet', {},
    'Test is closed, so there are no scores of its queries. What single trials won and lost on dev is in the details of each trial.'));
}

function sectionsOf(page) {
  if (page.kind === 'comparison') return { parts: [...comparison(page), queriesOf(page)], open: () => undefined };
  const search = trials(page);
  return { parts: [overview(page), search.element, queriesOf(page), lineage(page), data(page), merge(page), usage(page)], open: search.open };
}

/** Open what the address names: `#trial=i0003`. */
function follow(open) {
  const [, trial] = /^#trial=(.+)$/.exec(location.hash) ?? [];
  if (trial) open(decodeURIComponent(trial));
}

async function start() {
  if (!('DecompressionStream' in globalThis)) throw new Error('this browser is too old for the report; use one from 2023 or later');
  const page = await content();
  const { parts, open } = sectionsOf(page);
  const links = parts.map((part) => h('a', { href: `#${part.id}` }, NAMES[part.id]));
  const main = h('main', { id: 'main', tabindex: -1 }, parts,
    h('p.quiet.small', {}, `Made by stm-agent ${page.version} on ${page.made}. This file loads nothing from the network.`));
  fill(document.getElementById('root'), h('header.top', {}, h('h1', { title: page.title, dir: 'auto' }, page.title),
    h('nav', { 'aria-label': 'Parts of the report' }, links), theme()), main);
  addEventListener('hashchange', () => follow(open));
  follow(open);
  root.dataset.ready = 'yes';
}

start().catch((error) => fill(document.getElementById('main'), h('p.wait', {}, `The report cannot be shown: ${error.message}`)));
