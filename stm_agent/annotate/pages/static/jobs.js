// A job of the server, watched until it ends: by the page, so that what ends behind a closed dialog is told all the same.
import { api } from "/static/api.js";
import { html, useEffect, useState } from "/static/vendor/preact.js";
import { toast, told } from "/static/widgets.js";

const LOOK = 700;
// Job -> the screen that shows it, the last that asked; null once it has ended.
const screens = new Map();

function outcome(job) {
  // A model that failed has passed over the rest: there is nothing to count.
  if (job.kind === "encodings" && job.failed) return job.failures[0] ?? `${job.what} failed`;
  const left = job.skipped ? `, ${job.skipped} skipped because they have a draft` : "";
  const made = `${job.what}: ${(job.done - job.failed).toLocaleString()} of ${job.total.toLocaleString()} done${left}`;
  // What went wrong in somebody else's is not told.
  const why = job.failures.length ? `; ${job.failures[0]}` : "";
  return job.failed ? `${made}, ${job.failed} failed${why}` : made;
}

async function look(place, job) {
  await new Promise((done) => setTimeout(done, job.done ? LOOK : LOOK / 3));
  try {
    return await api.get(`${place}/jobs/${job.key}`, { quiet: Boolean(job.away) });
  } catch (error) {
    // A server that is away for a moment goes on with it, and so does what was begun in a login that has ended.
    if (error.away && error.status !== 500) return { ...job, away: error.message };
    throw error;
  }
}

async function watch(place, begun) {
  const screen = () => screens.get(begun.key);
  let job = begun;
  try {
    // A short one is over before it is looked at.
    while (job.state === "running") {
      screen().show(job);
      job = await look(place, job);
    }
    screen().show(null);
    screen().ended(job);
  } catch (error) {
    told(error);
    screen().show(null);
  }
  screens.set(begun.key, null);
}

// Gives what to show while a job of this kind runs (else null), and a function that begins one.
export function useJob(place, kind, ended, report = outcome) {
  const [job, setJob] = useState(null);
  const follow = (now) => {
    const before = screens.get(now.key);
    if (before === null) return;
    const end = (last) => { toast(report(last), { bad: last.failed > 0 }); ended(last); };
    screens.set(now.key, { show: setJob, ended: end });
    if (before) setJob(now);
    else watch(place, now);
  };
  useEffect(() => {
    // One that began before this screen was opened goes on here.
    const join = (jobs) => jobs.filter((one) => one.kind === kind).slice(-1).forEach(follow);
    api.get(`${place}/jobs`).then(join).catch(told);
  }, [place]);
  const stop = () => api.del(`${place}/jobs/${job.key}`).then(() => setJob(null)).catch(told);
  const count = job && `${job.what}: ${job.done.toLocaleString()} of ${job.total.toLocaleString()}${
    job.away ? `; current progress unknown: ${job.away}` : ""}`;
  const shown = job && html`<div class="row" role="status"><progress class="grow" aria-label=${job.what} max=${job.total} value=${job.done}>
    </progress><span class="small quiet">${count}</span>${job.stoppable && html`<button disabled=${Boolean(job.away)} onClick=${stop}>Stop</button>`}</div>`;
  return [shown, (body) => api.post(`${place}/jobs/${kind}`, body).then(follow).catch(told)];
}
