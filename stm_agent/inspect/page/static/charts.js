// @ts-check
// Charts are Vega-Lite specifications that Python wrote. The library is unpacked once, after the page has answered.
import { fill, h } from './dom.js';
import { unpack } from './content.js';

let library = null;
const tip = h('div.tip', { role: 'status', hidden: true });

/** Return vega-embed, unpacked once. */
function embedder() {
  library ??= unpack('library').then((text) => {
    // The text is part of this file, and the page's policy lets nothing else in.
    (0, eval)(text);
    return /** @type {any} */ (globalThis).vegaEmbed;
  });
  return library;
}

/** Show what a point is; texts are set as text, never as markup. */
function showTip(handler, event, item, value) {
  tip.hidden = !value;
  if (!value) return;
  const { label, outcome, reason, value: score, kind, weights, number } = value;
  const named = weights ? Object.entries(weights).filter(([, weight]) => weight) : [];
  const lines = [
    label ?? (number ? `point ${number}: ${kind}` : kind),
    score === undefined ? null : `${outcome}${score === null ? '' : `, ${score.toFixed(4)}`}`,
    named.map(([name, weight]) => `${name} ${weight.toFixed(2)}`).join(', '),
    reason && reason.length > 180 ? `${reason.slice(0, 180)}…` : reason,
  ].filter(Boolean);
  fill(tip, lines.map((line) => h('div', {}, line)));
  tip.style.left = `${Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 12)}px`;
  tip.style.top = `${Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 12)}px`;
}

/**
 * A chart, drawn as soon as the browser has nothing else to do.
 * @param {object} spec Vega-Lite
 * @param {(values: any) => void} [open] called with the values of a point that is clicked
 */
export function chart(spec, open) {
  const place = h('div.chart', { role: 'img', 'aria-label': spec.description, style: `min-height: ${spec.height}px` });
  const draw = async () => {
    const embed = await embedder();
    const options = { actions: false, renderer: 'svg', tooltip: showTip };
    const { view } = await embed(place, spec, options);
    if (open) view.addEventListener('click', (event, item) => item?.datum?.id && open(item.datum));
    place.dataset.drawn = 'yes';
  };
  if (!tip.isConnected) document.body.append(tip);
  // When nothing else is to do: the page answers first, and a print of it has every chart.
  requestIdleCallback(draw, { timeout: 2000 });
  return place;
}
