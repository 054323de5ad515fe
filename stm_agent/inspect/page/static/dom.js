// @ts-check
// Elements are made here alone: every text becomes a text node, never markup.

/**
 * Make an element.
 * @param {string} name of the element, with classes after dots: `div.row.small`
 * @param {Record<string, any>} [attributes] functions become listeners; null and false are left out
 * @param {...(Node | string | number | null | undefined | (Node | string | null)[])} children
 */
export function h(name, attributes = {}, ...children) {
  const [tag, ...classes] = name.split('.');
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(' ');
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === false || value === undefined) continue;
    if (typeof value === 'function') element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? '' : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== ''));
  return element;
}

/** Text that people or an LLM wrote: any script, any direction. */
export const written = (name, text, attributes = {}) => h(name, { dir: 'auto', ...attributes }, text);

/** Replace the children of an element. */
export const fill = (element, ...children) => element.replaceChildren(...children.flat(Infinity).filter(Boolean));

export const three = (value) => (value === null || value === undefined ? '' : value.toFixed(3));
/** A p-value; the least that resampling can show is not zero. */
export const pValue = (value) => (value !== null && value < 0.001 ? '< 0.001' : three(value));
export const signed = (value) => (value === null ? '' : (value > 0 ? '+' : value < 0 ? '−' : '') + Math.abs(value).toFixed(3));
export const tone = (value) => (value > 0 ? 'good' : value < 0 ? 'bad' : 'quiet');

/** A plain table; columns are [title, cell of a row, is it a number?]. */
export function table(columns, rows, rowAttributes = () => ({})) {
  const head = columns.map(([title, , number]) => h(number ? 'th.number' : 'th', { scope: 'col' }, title));
  const lines = rows.map((row) =>
    h('tr', rowAttributes(row), columns.map(([, cell, number]) => h(number ? 'td.number' : 'td', {}, cell(row)))),
  );
  return h('div.wide', { tabindex: 0, role: 'group', 'aria-label': 'Table' },
    h('table', {}, h('thead', {}, h('tr', {}, head)), h('tbody', {}, lines)));
}

/** A section of the page with its heading and one sentence about it. */
export function section(id, title, lead, ...children) {
  return h('section', { id, 'aria-labelledby': `${id}-title`, tabindex: -1 },
    h('h2', { id: `${id}-title` }, title), lead ? h('p.lead', {}, lead) : null, ...children);
}

/** A button that copies a text and says so. */
export function copyButton(text) {
  const button = h('button', { type: 'button', onclick: async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = 'Copied';
    } catch {
      button.textContent = 'Select the text to copy it';
    }
  } }, 'Copy');
  return button;
}

/** Code with a button to copy it. */
export const code = (text) => h('div.code', {}, h('pre', { tabindex: 0 }, text), copyButton(text));
