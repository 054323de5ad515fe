// @ts-check
// A table whose rows exist only while they are seen, so that 100,000 of them scroll as 10 do.
import { fill, h } from './dom.js';

const HEIGHT = 32;
/** Rows beyond the visible ones, so that fast scrolling shows no gap. */
const SPARE = 8;
/** Rows that are printed: a page of paper does not scroll. */
const PRINTED = 200;

export class Grid {
  /**
   * @param {string} label what the table holds, for screen readers
   * @param {{title: string, width: string, number?: boolean, cell: (row: any) => any, sort?: (row: any) => any}[]} columns
   * @param {(row: any) => void} open called with the row that is chosen
   * @param {string} none what is shown without rows
   */
  constructor(label, columns, open, none) {
    this.columns = columns;
    this.open = open;
    this.none = none;
    this.rows = [];
    this.chosen = -1;
    this.key = `grid-${Math.random().toString(36).slice(2, 8)}`;
    this.order = { column: -1, down: true };
    const template = columns.map((column) => column.width).join(' ');
    this.template = `grid-template-columns: ${template}`;
    this.head = h('div.head', { role: 'group', 'aria-label': `Columns of: ${label}`, style: this.template });
    this.space = h('div.space', { role: 'presentation' });
    this.body = h('div.body', { role: 'grid', tabindex: 0, 'aria-label': label, 'aria-colcount': columns.length,
      onscroll: () => this.draw(), onkeydown: (event) => this.onKey(event) }, this.space);
    this.element = h('div.grid', {}, this.head, this.body);
    this.drawHead();
    addEventListener('beforeprint', () => this.draw(PRINTED));
    addEventListener('afterprint', () => this.draw());
    new ResizeObserver(() => this.draw()).observe(this.body);
  }

  /** Show rows; the order that a person chose stays. */
  show(rows) {
    this.rows = rows;
    this.sort();
    this.chosen = -1;
    this.body.setAttribute('aria-rowcount', String(Math.max(1, rows.length)));
    this.body.scrollTop = 0;
    this.body.style.height = `${Math.min(11, Math.max(2, rows.length)) * HEIGHT}px`;
    this.draw();
  }

  sort() {
    const { column, down } = this.order;
    const by = this.columns[column]?.sort;
    if (!by) return;
    const keys = new Map(this.rows.map((row) => [row, by(row)]));
    const compare = (one, other) => (one < other ? -1 : one > other ? 1 : 0);
    this.rows = [...this.rows].sort((one, other) => (down ? -1 : 1) * compare(keys.get(one), keys.get(other)));
  }

  drawHead() {
    fill(this.head, this.columns.map((column, index) => {
      const own = this.order.column === index;
      const mark = own ? (this.order.down ? ' ↓' : ' ↑') : '';
      const title = column.sort
        ? h('button', { type: 'button', onclick: () => this.sortBy(index) }, column.title + mark)
        : h('span', {}, column.title);
      return h(column.number ? 'div.number' : 'div', {}, title);
    }));
  }

  sortBy(index) {
    this.order = { column: index, down: this.order.column === index ? !this.order.down : true };
    this.sort();
    this.drawHead();
    this.draw();
    /** @type {HTMLElement} */ (this.head.children[index].firstElementChild).focus();
  }

  /** Draw the rows that are seen; to print, the first ones. */
  draw(printed = 0) {
    this.space.style.height = `${this.rows.length * HEIGHT}px`;
    const first = printed ? 0 : Math.max(0, Math.floor(this.body.scrollTop / HEIGHT) - SPARE);
    const seen = printed || Math.ceil(this.body.clientHeight / HEIGHT) + 2 * SPARE;
    const lines = this.rows.slice(first, first + seen).map((row, index) => this.line(row, first + index));
    fill(this.space, lines.length ? lines : h('div.none', { role: 'row' }, h('div', { role: 'gridcell' }, this.none)));
    if (this.chosen >= 0) this.body.setAttribute('aria-activedescendant', `${this.key}-${this.chosen}`);
    else this.body.removeAttribute('aria-activedescendant');
  }

  line(row, index) {
    return h('div.line', { role: 'row', id: `${this.key}-${index}`, 'aria-rowindex': index + 1,
      'aria-selected': String(index === this.chosen), style: `${this.template}; top: ${index * HEIGHT}px`,
      onclick: () => this.choose(index) },
    this.columns.map((column) =>
      h(column.number ? 'div.number' : 'div', { role: 'gridcell', dir: column.number ? null : 'auto' }, column.cell(row))));
  }

  /** Choose a row, bring it into view and open it. */
  choose(index) {
    if (index < 0 || index >= this.rows.length) return;
    this.chosen = index;
    const top = index * HEIGHT;
    if (top < this.body.scrollTop) this.body.scrollTop = top;
    const bottom = top + HEIGHT - this.body.clientHeight;
    if (bottom > this.body.scrollTop) this.body.scrollTop = bottom;
    this.draw();
    this.open(this.rows[index]);
  }

  onKey(event) {
    const page = Math.floor(this.body.clientHeight / HEIGHT);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -this.rows.length, End: this.rows.length };
    if (!(event.key in steps)) return;
    event.preventDefault();
    this.choose(Math.max(0, Math.min(this.rows.length - 1, this.chosen + steps[event.key])));
  }
}
