// The shell: who is there, where they are, the sheet of keys, light and dark.
import {
  Dialog, Field, Loaded, Sheet, Toasts, api, enc, go, html, loggedIn, onLoggedOut, outbox, render, store, told, useEffect, useKeys,
  useLoad, useRoute, useState,
} from "/static/lib.js";
import { Account } from "/static/account.js";
import { Agreement } from "/static/agreement.js";
import { Connection } from "/static/alive.js";
import { saveEntries, stopEntries } from "/static/entry.js";
import { Documents } from "/static/documents.js";
import { Judge } from "/static/judge.js";
import { People } from "/static/people.js";
import { Projects } from "/static/projects.js";
import { Review } from "/static/review.js";
import { Settings } from "/static/settings.js";
import { Work } from "/static/work.js";

// Part of the address, what it is called, its key after g, the screen, who may see it.
const ALL = ["annotator", "reviewer", "admin"];
const SCREENS = [
  ["documents", "Documents", "d", Documents, ALL],
  ["work", "Annotate", "a", Work, ALL],
  ["judge", "Judge", "j", Judge, ALL],
  ["review", "Negatives", "n", Review, ALL],
  ["agreement", "Agreement", "m", Agreement, ["reviewer", "admin"]],
  ["settings", "Settings", "s", Settings, ["admin"]],
];

const NAME = "stm-agent annotate";
const AGAIN = 1500;

// What the window, its tab and its history are called.
function useTitle(...parts) {
  const title = [...parts, NAME].filter(Boolean).join(" - ");
  useEffect(() => { document.title = title; }, [title]);
}

function LoginForm({ invited, done }) {
  const [form, setForm] = useState({ name: "", password: "" });
  const set = (name) => (event) => setForm({ ...form, [name]: event.target.value });
  const send = (event) => {
    event.preventDefault();
    const asked = invited ? api.post("/session/join", { ...form, token: invited }) : api.post("/session", form);
    asked.then(() => {
      if (invited) history.replaceState(null, "", "/");
      done(form.name.trim());
    }).catch(told);
  };
  return html`<form class="stack" onSubmit=${send}>
    ${invited && html`<p class="quiet">Choose a name and a password of at least ten characters.</p>`}
    <${Field} label="Name"><input autocomplete="username" required value=${form.name} onInput=${set("name")} /><//>
    <${Field} label="Password"><input type="password" required autocomplete=${invited ? "new-password" : "current-password"}
      value=${form.password} onInput=${set("password")} /><//>
    <div><button class="main">${invited ? "Join" : "Log in"}</button></div></form>`;
}

// Who works alone has no password: each start of the tool prints an address that lets them in.
// The address may be opened in any window of this browser: the others go on by themselves.
function Address({ done }) {
  useEffect(() => {
    const timer = setInterval(() => api.get("me", { quiet: true }).then((me) => done(me.name), () => {}), AGAIN);
    return () => clearInterval(timer);
  }, []);
  return html`<p>Open the address that the command printed. Each start prints a new one. This window continues after that.</p>`;
}

function Door({ invited, done }) {
  const mode = useLoad(() => api.get("/session"), []);
  return html`<${Loaded} of=${mode}>${({ alone }) => (alone ? html`<${Address} done=${done} />`
    : html`<${LoginForm} invited=${invited} done=${done} />`)}<//>`;
}

function Login({ done }) {
  const invited = location.pathname === "/join" ? location.hash.slice(1) : null;
  useTitle(invited ? "Join" : "Log in");
  return html`<main id="main" class="login"><div class="card stack">
    <h1>${invited ? "Join the project" : NAME}</h1><${Door} invited=${invited} done=${done} /></div></main>`;
}

function useTheme() {
  const system = () => (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  const [theme, setTheme] = useState(store.get("theme") || system());
  useEffect(() => { document.documentElement.dataset.theme = theme; }, [theme]);
  const turn = () => {
    const next = theme === "dark" ? "light" : "dark";
    store.put("theme", next);
    setTheme(next);
  };
  return [theme, turn];
}

function Top({ me, project, route, leave, sheet, guide }) {
  const [theme, turn] = useTheme();
  const [key, screen = "documents"] = route;
  const shown = SCREENS.filter(([, , , , roles]) => roles.includes(me.role));
  return html`<header class="top">
    <a class="home" href="#/" aria-label="All projects">${NAME}</a>
    ${project && html`<h1 title=${project.name}>${project.name}</h1><nav aria-label="Project">${shown.map(([name, label]) => html`
      <a href=${name === screen ? location.hash : `#/${enc(key)}/${name}`} aria-current=${name === screen ? "page" : null}>${label}</a>`)}</nav>`}
    <div class="push">
      ${project?.guidelines && html`<button class="bare" onClick=${guide}>Guidelines</button>`}
      ${me.role !== "annotator" && html`<a class="button bare" href="#/people" aria-current=${key === "people" ? "page" : null}>People, LLMs</a>`}
      <button class="bare" aria-pressed=${theme === "dark"} onClick=${turn}>Dark</button>
      <button class="bare" onClick=${sheet}>Keys <kbd>?</kbd></button>
      ${leave && html`<a class="button bare" href="#/account" aria-current=${key === "account" ? "page" : null}>Your account</a>`}
      ${leave && html`<button class="bare" onClick=${leave}>Log out ${me.name}</button>`}</div></header>`;
}

function Inside({ me, leave }) {
  const route = useRoute();
  const [key, screen = "documents", ...rest] = route;
  const [sheet, setSheet] = useState(false);
  const [guide, setGuide] = useState(false);
  const inProject = Boolean(key) && !["people", "account"].includes(key);
  const project = useLoad(() => (inProject ? api.get(`projects/${enc(key)}`) : Promise.resolve(false)), [key]);
  const keys = { "?": [() => setSheet(true), "Show these keys"], "g p": [() => go(), "All projects"] };
  if (inProject) {
    for (const [name, label, letter, , roles] of SCREENS) {
      if (roles.includes(me.role)) keys[`g ${letter}`] = [() => name !== screen && go(key, name), label];
    }
  }
  if (me.role !== "annotator") keys["g l"] = [() => go("people"), "People and LLMs"];
  const here = project.data && project.data.key === key ? project.data : null;
  if (here?.guidelines) keys["g g"] = [() => setGuide(true), "Guidelines"];
  useKeys(keys);
  const [, label, , Screen] = SCREENS.find(([name]) => name === screen) || SCREENS[0];
  useTitle(key === "people" ? "People, LLMs" : key === "account" ? "Your account" : inProject ? label : "Projects", here?.name);
  const body = () => {
    if (key === "people") return html`<${People} me=${me} />`;
    if (key === "account" && !me.alone) return html`<${Account} />`;
    if (!inProject) return html`<${Projects} me=${me} />`;
    if (project.data && !here) return null;
    return html`<${Loaded} of=${project}>${(data) => data && html`
      <${Screen} key=${`${key}/${screen}`} project=${data} me=${me} rest=${rest} reload=${project.reload} />`}<//>`;
  };
  return html`<${Top} me=${me} project=${here} route=${route} leave=${leave} sheet=${() => setSheet(true)} guide=${() => setGuide(true)} />
    <${Connection} alone=${me.alone} /><main id="main" tabindex="-1" class=${["work", "judge"].includes(screen) && inProject ? "full" : ""}>${body()}</main>
    ${guide && here && html`<${Dialog} title="Guidelines" close=${() => setGuide(false)}>
      <p dir="auto" style=${{ whiteSpace: "pre-wrap", unicodeBidi: "plaintext" }}>${here.guidelines}</p><//>`}
    ${sheet && html`<${Sheet} close=${() => setSheet(false)} />`}<${Toasts} />`;
}

function App() {
  const [me, setMe] = useState(undefined);
  const [out, setOut] = useState(false);
  const [left, setLeft] = useState(false);
  const enter = (who) => {
    outbox.open(who.name);
    setOut(false);
    setMe(who);
  };
  const look = () => api.get("me", { quiet: true }).then(enter, () => setMe(null));
  const again = (name) => {
    // What one typed is not saved in the name of another.
    if (name !== me.name) {
      outbox.close();
      location.reload();
      return;
    }
    setOut(false);
    loggedIn();
  };
  useEffect(() => {
    if (location.pathname === "/join") setMe(null);
    else look();
    return onLoggedOut(() => setOut(true));
  }, []);
  if (me === undefined) return null;
  if (me === null) return html`<${Login} done=${look} /><${Toasts} />`;
  // What others said in this browser, and the server has not got, is theirs to send.
  const unsaved = () => store.names("unsaved ").filter((name) => (!name.startsWith("unsaved by ") || name.startsWith(outbox.start)));
  const end = async () => {
    try {
      await api.del("/session");
    } catch (error) {
      told(error);
      return;
    }
    stopEntries();
    unsaved().forEach((name) => store.remove(name));
    outbox.close();
    setLeft(false);
    setMe(null);
  };
  const leave = async () => {
    await Promise.all([saveEntries(), outbox.flush()]);
    if (unsaved().length) setLeft(true);
    else await end();
  };
  return html`<${Inside} me=${me} leave=${me.alone ? null : leave} />${left && html`
    <${Dialog} title="Unsaved changes" close=${() => setLeft(false)}><div class="stack">
      <p>Some of what you typed is not saved: a form, a draft, or changes that the server has not received. It is lost if you log out.</p>
      <div class="row"><button class="main" onClick=${() => setLeft(false)}>Stay</button>
        <button class="bad" onClick=${end}>Log out and discard it</button></div></div><//>`}${out && html`
    <${Dialog} title="Your session has expired" close=${() => setOut(false)}>
      <p>What you typed stays on this page and is saved after you log in again.</p>
      <${Door} done=${again} /><//>`}`;
}

// The address says where one is; the link that skips to the content leaves it as it is.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  document.getElementById("main").focus();
});
render(html`<${App} />`, document.getElementById("root"));
