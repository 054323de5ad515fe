// The shell: who is there, where they are, the sheet of keys, light and dark.
import { html, render, useState, useEffect, api, Toasts, Dialog, Field, useKeys, shownKeys, useRoute, useLoad, Loaded, told, go, enc } from "/static/lib.js";
import { Projects } from "/static/projects.js";
import { Settings } from "/static/settings.js";
import { Documents } from "/static/documents.js";
import { Work } from "/static/work.js";
import { Judge } from "/static/judge.js";
import { Agreement } from "/static/agreement.js";
import { Review } from "/static/review.js";
import { People } from "/static/people.js";

const SCREENS = [["documents", "Documents", Documents], ["work", "Annotate", Work], ["judge", "Judge", Judge],
  ["review", "Negatives", Review], ["agreement", "Agreement", Agreement], ["settings", "Settings", Settings]];
const HIDDEN = { annotator: ["agreement", "settings"], reviewer: ["settings"], admin: [] };

function Login({ done }) {
  const invited = location.pathname === "/join" ? location.hash.slice(1) : null;
  const [form, setForm] = useState({ name: "", password: "" });
  const set = (name) => (event) => setForm({ ...form, [name]: event.target.value });
  const send = (event) => {
    event.preventDefault();
    api.post(invited ? "/session/join" : "/session", invited ? { ...form, token: invited } : form)
      .then(() => { if (invited) history.replaceState(null, "", "/"); done(); }).catch(told);
  };
  return html`<main id="main" style=${{ maxWidth: "24rem", paddingTop: "12vh" }}><form class="card stack" onSubmit=${send}>
    <h1>${invited ? "Join the project" : "stm-agent annotate"}</h1>
    <p class="quiet">${invited ? "Choose a name and a password of ten characters or more." : "Log in. Working alone? Open the address that the command printed."}</p>
    <${Field} label="Name"><input autocomplete="username" required value=${form.name} onInput=${set("name")} /><//>
    <${Field} label="Password"><input type="password" required autocomplete=${invited ? "new-password" : "current-password"} value=${form.password} onInput=${set("password")} /><//>
    <button class="main">${invited ? "Join" : "Log in"}</button></form></main>`;
}

function Keys({ close }) {
  const rows = Object.entries(shownKeys());
  return html`<${Dialog} title="Keys" close=${close}><table><tbody>${rows.map(([key, [, what]]) => html`<tr><td><kbd>${key === " " ? "Space" : key}</kbd></td><td>${what}</td></tr>`)}</tbody></table>
    <p class="quiet small">In a text: arrows select word by word, Shift with arrows extends, a level's number marks it. Tab reaches every button.</p><//>`;
}

function useTheme() {
  const [theme, setTheme] = useState(localStorage.getItem("theme") || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
  useEffect(() => { document.documentElement.dataset.theme = theme; localStorage.setItem("theme", theme); }, [theme]);
  return [theme, () => setTheme(theme === "dark" ? "light" : "dark")];
}

function Inside({ me, leave }) {
  const [key, screen = "documents", ...rest] = useRoute();
  const [sheet, setSheet] = useState(false);
  const [theme, turn] = useTheme();
  const inProject = key && key !== "people";
  const project = useLoad(() => inProject ? api.get(`projects/${enc(key)}`) : Promise.resolve(false), [key]);
  const shown = SCREENS.filter(([name]) => !HIDDEN[me.role].includes(name));
  const keys = { "?": [() => setSheet(true), "This sheet"], "g": [() => go(), "All projects"] };
  if (inProject) shown.forEach(([name, label], place) => { keys[`Alt+${place + 1}`] = [() => go(key, name), label]; });
  useKeys(keys);
  const Screen = (SCREENS.find(([name]) => name === screen) || SCREENS[0])[2];
  return html`<header class="top"><h1><a href="#/" style=${{ textDecoration: "none", color: "inherit" }}>${project.data ? project.data.name : "stm-agent annotate"}</a></h1>
      ${project.data && html`<nav aria-label="Project">${shown.map(([name, label], place) => html`<a href=${`#/${enc(key)}/${name}`} aria-current=${name === screen ? "page" : null}>${label}</a>`)}</nav>`}
      <div class="push">${me.role !== "annotator" && html`<a class="button" href="#/people">People and LLMs</a>`}
        <button onClick=${turn} aria-pressed=${theme === "dark"}>Dark</button><button onClick=${() => setSheet(true)}>Keys <kbd>?</kbd></button>
        <span class="quiet small">${me.name}</span>${leave && html`<button onClick=${leave}>Log out</button>`}</div></header>
    <main id="main" tabindex="-1">${key === "people" ? html`<${People} me=${me} />` : !inProject ? html`<${Projects} me=${me} />`
      : html`<${Loaded} of=${project}>${(data) => data && html`<${Screen} key=${`${key}/${screen}`} project=${data} me=${me} rest=${rest} reload=${project.reload} />`}<//>`}</main>
    ${sheet && html`<${Keys} close=${() => setSheet(false)} />`}<${Toasts} />`;
}

function App() {
  const [me, setMe] = useState(undefined);
  const look = () => api.get("me").then(setMe, () => setMe(null));
  useEffect(() => { if (location.pathname === "/join") setMe(null); else look(); }, []);
  if (me === undefined) return null;
  if (me === null) return html`<${Login} done=${look} /><${Toasts} />`;
  const leave = me.name === "me" ? null : () => api.del("/session").then(() => setMe(null)).catch(told);
  return html`<${Inside} me=${me} leave=${leave} />`;
}
render(html`<${App} />`, document.getElementById("root"));
