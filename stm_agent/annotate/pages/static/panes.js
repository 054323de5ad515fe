// The edge of a pane: moved by the mouse or by arrows, put back by a double click, and found where it was left.
import { html, store, useLayoutEffect, useRef, useState } from "/static/lib.js";

const LEAST = 180;
const MOST = 640;
const STEP = 24;

const narrow = matchMedia("(max-width: 1000px)");

// In a narrow window panes stand one below the other: shows the section that something was opened in.
export function bringIntoView(section) {
  if (!narrow.matches || !section) return;
  scrollTo({ top: section.getBoundingClientRect().top + scrollY });
}

// `side` is "left" or "right": where the pane is; `width` is what it has unless somebody changed it.
export function Edge({ screen, side, label, width: usual }) {
  const name = `width ${screen} ${side}`;
  const [width, setWidth] = useState(Number(store.get(name)) || usual);
  const ref = useRef();
  useLayoutEffect(() => { ref.current.closest(".panes").style.setProperty(`--${side}`, `${width}px`); }, [width]);
  const put = (wanted) => {
    const fitting = Math.round(Math.min(Math.max(wanted, LEAST), MOST));
    store.put(name, fitting);
    setWidth(fitting);
  };
  const hold = (event) => {
    event.preventDefault();
    ref.current.setPointerCapture(event.pointerId);
  };
  const drag = (event) => {
    if (!ref.current.hasPointerCapture(event.pointerId)) return;
    const pane = ref.current.parentElement.getBoundingClientRect();
    put(side === "left" ? event.clientX - pane.left : pane.right - event.clientX);
  };
  const press = (event) => {
    const by = { ArrowLeft: -STEP, ArrowRight: STEP }[event.key];
    if (!by) return;
    event.preventDefault();
    put(width + (side === "left" ? by : -by));
  };
  return html`<div ref=${ref} class=${`edge ${side}`} role="separator" tabindex="0" aria-orientation="vertical" aria-label=${label}
    aria-valuenow=${width} aria-valuemin=${LEAST} aria-valuemax=${MOST} onPointerDown=${hold} onPointerMove=${drag} onKeyDown=${press}
    onDblClick=${() => put(usual)}></div>`;
}
