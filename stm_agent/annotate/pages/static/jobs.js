// A job of the server, watched until it ends.
import { api } from "/static/api.js";
import { html, useEffect, useState } from "/static/vendor/preact.js";
import { toast, told } from "/static/widgets.js";

const LOOK = 700;

function outcome(job) {
  const left = job.skipped ? `, ${job.skipped} left out: drafted before` : "";
  const made = `${job.what}: ${job.done - job.failed} of ${job.total} done${left}`;
  return job.failed ? `${made}, ${job.failed} failed; ${job.failures[0]}` : made;
}

// Gives what to show while it runs (else null), and a function that begins one.
export function useJob(place, ended) {
  const [job, setJob] = useState(null);
  const running = job?.state === "running";
  const follow = (now) => {
    setJob(now);
    // A short one is over before it is looked at.
    if (now.state === "running") return;
    toast(outcome(now), { bad: now.failed > 0 });
    ended(now);
  };
  useEffect(() => {
    // One that began before this screen was opened goes on here.
    api.get(`${place}/jobs`).then((jobs) => jobs.length && setJob((now) => now || jobs[jobs.length - 1])).catch(told);
  }, [place]);
  useEffect(() => {
    if (!running) return undefined;
    const look = async () => {
      try {
        const now = await api.get(`${place}/jobs/${job.key}`);
        follow(now);
      } catch (error) { told(error); setJob(null); }
    };
    const timer = setTimeout(look, job.done ? LOOK : LOOK / 3);
    return () => clearTimeout(timer);
  }, [job]);
  const stop = () => api.del(`${place}/jobs/${job.key}`).then(follow).catch(told);
  const shown = running ? html`<div class="row" role="status"><progress class="grow" aria-label=${job.what} max=${job.total} value=${job.done}>
    </progress>
    <span class="small quiet">${job.what}: ${job.done} of ${job.total}</span>${job.stoppable && html`<button onClick=${stop}>Stop</button>`}</div>` : null;
  return [shown, (kind, body) => api.post(`${place}/jobs/${kind}`, body).then(follow).catch(told)];
}
