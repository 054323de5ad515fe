// Spellings of one word that a search takes for the same.
// What single letters fold to that is longer than they are: Straße is also strasse, and a PDF's ﬁ is fi.
const WIDE = { ffi: "ﬃ", ffl: "ﬄ", ff: "ﬀ", fi: "ﬁ", fl: "ﬂ", ss: "ßẞ" };
const FOLD = Object.fromEntries(Object.entries(WIDE).flatMap(([folded, letters]) => [...letters].map((letter) => [letter, folded])));

// The pattern of some words, in any case, whatever space is between them. The text itself is searched: in small
// letters it may be longer.
export function patternOf(words) {
  const plain = words.trim().normalize("NFC").replace(/[ßẞ\ufb00-\ufb04]/g, (letter) => FOLD[letter]).replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
  const spelled = plain.replace(/ff[il]|f[fil]|ss/gi, (part) => `(?:${part}|[${WIDE[part.toLowerCase()]}])`);
  // A text may have its accents behind their letters (NFD), where a keyboard writes one character.
  const either = spelled.replace(/[^\x00-\x7f]/gu, (letter) => {
    const parts = letter.normalize("NFD");
    return parts === letter ? letter : `(?:${letter}|${parts})`;
  });
  return new RegExp(either.replace(/\s+/g, "\\s+"), "giu");
}
