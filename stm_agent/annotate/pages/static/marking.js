// The words of a search, marked where a text has them.
import { html } from "/static/vendor/preact.js";
import { patternOf } from "/static/spelling.js";

const MOST = 2000;
// Scripts that set no space between words: a word of theirs may stand anywhere.
const UNSPACED = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]/u;

// What is searched for: phrases whole, without what is excluded and without the names of fields.
function termsOf(words) {
  const found = words.matchAll(/(-?)(?:[\p{L}\p{N}_.]{1,200}:)?("[^"]*"|\S+)/gu);
  return [...found].filter(([, without]) => !without).map(([, , term]) => term.replaceAll('"', "").trim()).filter(Boolean);
}

// A term is found where a word begins with it; one of a letter or two where it is the whole word.
function sourceOf(term) {
  const { source } = patternOf(term);
  if (UNSPACED.test(term)) return source;
  return `(?<![\\p{L}\\p{N}\\p{M}])${source}${term.length < 3 ? "(?![\\p{L}\\p{N}\\p{M}])" : ""}`;
}

// Where a text has the words of a search, as { from, to } in code units.
export function searchedIn(text, words) {
  const terms = termsOf(words || "");
  if (!terms.length) return [];
  const hits = [];
  for (const hit of text.matchAll(new RegExp(terms.map(sourceOf).join("|"), "giu"))) {
    if (hit[0]) hits.push({ from: hit.index, to: hit.index + hit[0].length });
    if (hits.length === MOST) break;
  }
  return hits;
}

export function Marked({ text, words }) {
  const hits = searchedIn(text, words);
  if (!hits.length) return text;
  const parts = hits.map(({ from, to }, place) => html`${text.slice(hits[place - 1]?.to ?? 0, from)}<mark class="hit">${text.slice(from, to)}</mark>`);
  return html`${parts}${text.slice(hits.at(-1).to)}`;
}
