// @ts-check
import { fill, h, section, signed, table, three, tone, written } from './dom.js';
import { Grid } from './grid.js';

/** (d) Wins and losses of one row against another, query by query. */
export class Queries {
  /**
   * @param {any} data columns over queries
   * @param {string} own the row that is looked at first, and
   * @param {string} other what it is compared with
   */
  constructor(data, own, other) {
    this.data = data;
    this.own = select(data.rows, own, () => this.update());
    this.other = select(data.rows, other, () => this.update());
    this.differs = h('input', { type: 'checkbox', checked: true, onchange: () => this.update() });
    this.words = h('input', { type: 'search', placeholder: 'words of a query', 'aria-label': 'Words of a query', oninput: () => this.update() });
    this.slices = Object.entries(data.slices).map(([name, values]) => ({ name, values, input: h('select', { onchange: () => this.update() },
      h('option', { value: '' }, 'all'), [...new Set(values)].sort().map((value) => h('option', { value }, value))) }));
    this.summary = h('p', { role: 'status' });
    this.detail = h('div.detail', { hidden: true, 'aria-live': 'polite' });
    this.parts = h('div', {});
    this.grid = new Grid('Queries', this.columns(), (row) => this.show(row), 'No query differs like this.');
    this.element = section('queries', 'Queries',
      'Wins and losses on test, the largest difference first. Choose a query to see what both rows found.',
      data.shortened ? h('p.quiet.small', {}, 'Long queries and passages are shortened here.') : null,
      h('div.row', {}, h('label', {}, 'Row', this.own), h('label', {}, 'against', this.other),
        h('label', {}, this.differs, 'only what differs'), this.words),
      h('div.row', {}, this.slices.map((slice) => h('label', {}, slice.name, slice.input))),
      this.summary, this.grid.element, this.detail, h('h3', {}, 'By slice'), this.parts);
    this.update();
  }

  columns() {
    return [
      { title: 'difference', width: '7rem', number: true, sort: (row) => row.difference,
        cell: (row) => h(`span.${tone(row.difference)}`, {}, signed(row.difference)) },
      { title: 'row', width: '5rem', number: true, cell: (row) => three(row.own), sort: (row) => row.own },
      { title: 'against', width: '5rem', number: true, cell: (row) => three(row.other), sort: (row) => row.other },
      { title: 'query', width: 'minmax(12rem, 1fr)', cell: (row) => this.data.texts[row.at].slice(0, 300) },
    ];
  }

  /** All queries with both scores, the largest difference first; made once for each two rows. */
  pairs() {
    const key = JSON.stringify([this.own.value, this.other.value]);
    if (this.key !== key) {
      this.key = key;
      const [own, other] = [this.data.scores[this.own.value], this.data.scores[this.other.value]];
      this.all = own.map((score, at) => ({ at, own: score / 1000, other: other[at] / 1000, difference: (score - other[at]) / 1000 }));
      this.all.sort((one, two) => Math.abs(two.difference) - Math.abs(one.difference));
      fill(this.parts, this.bySlice(this.all));
    }
    return this.all;
  }

  update() {
    const words = this.words.value.toLowerCase();
    const chosen = this.slices.filter((slice) => slice.input.value);
    const all = this.pairs();
    const inside = chosen.length || words
      ? all.filter((row) => chosen.every((slice) => slice.values[row.at] === slice.input.value)
        && (!words || this.data.texts[row.at].toLowerCase().includes(words)))
      : all;
    const shown = this.differs.checked ? inside.filter((row) => row.difference) : inside;
    const won = inside.filter((row) => row.difference > 0).length;
    const lost = inside.filter((row) => row.difference < 0).length;
    fill(this.summary, `${this.own.value} against ${this.other.value}: `, h('strong.good', {}, `${won} won`), ', ',
      h('strong.bad', {}, `${lost} lost`), `, ${inside.length - won - lost} equal of ${inside.length} queries; mean difference `,
      h('strong', {}, signed(mean(inside.map((row) => row.difference)))));
    this.detail.hidden = true;
    this.grid.show(shown);
  }

  bySlice(all) {
    const rows = this.slices.flatMap(({ name, values }) => [...new Set(values)].sort().map((value) => {
      const part = all.filter((row) => values[row.at] === value);
      return { name, value, count: part.length, own: mean(part.map((row) => row.own)), other: mean(part.map((row) => row.other)) };
    }));
    if (!rows.length) return h('p.quiet', {}, 'This run did not record the texts that slices are made of.');
    return table([['slice', (row) => `${row.name}: ${row.value}`], ['queries', (row) => row.count, true],
      [this.own.value, (row) => three(row.own), true], [this.other.value, (row) => three(row.other), true],
      ['difference', (row) => h(`span.${tone(row.own - row.other)}`, {}, signed(row.own - row.other)), true]], rows);
  }

  /** One query: what is relevant, and what both rows found first. */
  show(row) {
    const { data } = this;
    const grades = new Map();
    for (let at = 0; at < data.relevant[row.at].length; at += 2) grades.set(data.relevant[row.at][at], data.relevant[row.at][at + 1]);
    this.detail.hidden = false;
    const sides = [[this.own.value, row.own], [this.other.value, row.other]];
    fill(this.detail, h('h3', {}, 'Query ', h('code', {}, data.ids[row.at])), written('p.text', data.texts[row.at]),
      h('div.pair', {}, sides.map(([name, score]) => h('div', {}, h('h4', {}, `${name}: ${three(score)}`),
        this.found(data.first[name]?.[row.at], grades)))),
      h('details', {}, h('summary', {}, `Relevant passages (${grades.size})`), h('ol.found', {}, [...grades].map(([at, grade]) => this.passage(at, grade)))));
  }

  found(first, grades) {
    if (!first) return h('p.quiet', {}, 'The passages of this row are not on this page.');
    return h('ol.found', {}, first.map((at, rank) => this.passage(at, grades.get(at), rank + 1)));
  }

  passage(at, grade, rank) {
    const { data } = this;
    return h(grade ? 'li.relevant' : 'li', {},
      h('div.row.small', { style: 'margin: 0 0 .15rem' }, rank ? h('span.quiet', {}, `${rank}.`) : null, h('code', {}, data.documents[at]),
        grade ? h('span.tag.good', {}, `relevant, grade ${grade}`) : null),
      written('div.text', data.passages[at] || '(text not recorded)'));
  }
}

const mean = (values) => (values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : 0);

function select(names, value, onchange) {
  return h('select', { onchange }, names.map((name) => h('option', { value: name, selected: name === value }, name)));
}
