// Whether the server answers, asked by the page itself: one that nobody touches says so too.
import { loggedOut } from "/static/api.js";
import { html, useEffect, useState } from "/static/vendor/preact.js";

const EVERY = 5000;
const AGAIN = 2000;

// A person who works alone has a login that ends with the server, so it is asked for as well. A team's is not: a page
// that asks would keep it from ending.
async function answers(alone) {
  try {
    const { status } = await fetch(alone ? "/api/v1/me" : "/session", { cache: "no-store" });
    if (alone && status === 401) loggedOut();
    return status < 500;
  } catch { return false; }
}

// Calls `hear` with whether the server answers, while the page is seen; gives a function that ends it.
function watch(alone, hear) {
  let timer = 0;
  let on = true;
  const look = async () => {
    clearTimeout(timer);
    const well = document.hidden || await answers(alone);
    if (!on) return;
    if (!document.hidden) hear(well);
    timer = setTimeout(look, well ? EVERY : AGAIN);
  };
  timer = setTimeout(look, EVERY);
  document.addEventListener("visibilitychange", look);
  return () => {
    on = false;
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", look);
  };
}

export function Connection({ alone }) {
  const [well, setWell] = useState(true);
  useEffect(() => watch(alone, setWell), [alone]);
  if (well) return null;
  return html`<div class="note bad" role="alert">Connection to the server lost. What you typed stays in this window. ${alone
    ? "If stm-agent annotate has stopped, start it again and open the address that it prints." : "It is saved once the server is back."}</div>`;
}
