"""Scripts and languages of a corpus, and the units that texts are compared by."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, islice

UNSPACED = frozenset(
    {"THAI", "LAO", "MYANMAR", "KHMER", "HIRAGANA", "KATAKANA", "CJK", "HANGUL", "BOPOMOFO", "TIBETAN", "JAVANESE"}
)
"""Scripts whose words are written together, and Hangul, whose endings are written to the word."""
KANA = frozenset({"HIRAGANA", "KATAKANA"})
SAMPLE = 400
"""Texts a profile is made of: enough for shares of a few percent."""
RARE_SHARE = 0.02
"""A script with a smaller share of the corpus's letters is foreign to it."""
FUNCTION_WORDS = {
    "English": "the of and to in is that for with as are was be this by from which not an or have what how can it",
    "German": "der die das und ist nicht ein eine zu den von mit dem für auf im sich des auch wird bei einer wie",
    "French": "le la les des est une un et dans pour que qui sur pas avec au ce du par plus sont aux cette comme",
    "Spanish": "el la los las de que y en es una por con para del se no su lo como más al son este entre",
    "Italian": "il la di che e è un una per non in con del della sono le gli dei si da nel come anche al",
    "Portuguese": "o a os as de que e em é um uma para com não do da por mais dos na no como são ao",
    "Dutch": "de het een en van is dat op te in niet voor met zijn aan er ook als bij door wordt om naar",
    "Polish": "i w na z jest się nie do to że o jak po od za przez oraz są dla ale co może który",
    "Swedish": "och att det som en på är av för med den till inte om ett har de kan från vid eller var",
    "Turkish": "ve bir bu için ile da de olarak daha çok olan gibi sonra kadar her ne en veya ise değil",
    "Indonesian": "yang dan di untuk dengan pada dari ini adalah dalam tidak itu ke oleh atau sebagai akan juga dapat",
    "Vietnamese": "là của và các một có được trong cho không này với những để người khi đã từ về như",
}
CODES = {
    "English": "eng-Latn",
    "German": "deu-Latn",
    "French": "fra-Latn",
    "Spanish": "spa-Latn",
    "Italian": "ita-Latn",
    "Portuguese": "por-Latn",
    "Dutch": "nld-Latn",
    "Polish": "pol-Latn",
    "Swedish": "swe-Latn",
    "Turkish": "tur-Latn",
    "Indonesian": "ind-Latn",
    "Vietnamese": "vie-Latn",
}
"""Codes of languages and their script, as mteb writes them."""
UNKNOWN_CODE = "und-Zyyy"
"""Code of a language that is not known."""
_WORDS = {language: frozenset(words.split()) for language, words in FUNCTION_WORDS.items()}
_SPACED_WORD = re.compile(r"[^\W\d_]+")


@lru_cache(maxsize=65536)
def script_of(letter: str) -> str:
    """Return the first word of a letter's Unicode name, which is its script: ``LATIN``, ``CJK``, ``THAI`` ..."""
    return unicodedata.name(letter, "UNKNOWN").split(maxsplit=1)[0]


def units(text: str) -> list[str]:
    """Return the words of a text in lower case; of scripts without spaces every two neighbouring letters.

    No dictionary says where a word ends, and two letters are mostly enough to identify it (Nie et al. 2000, "On the use
    of words and n-grams for Chinese information retrieval").
    """
    parts: list[str] = []
    for kind, run in groupby(unicodedata.normalize("NFKC", text).casefold(), key=_kind):
        letters = "".join(run)
        if kind == "word":
            parts.append(letters)
        elif kind == "unspaced":
            parts.extend(letters[start : start + 2] for start in range(max(len(letters) - 1, 1)))
    return parts


def _kind(character: str) -> str:
    if character.isascii():
        return "word" if character.isalnum() else "other"
    # Combining marks belong to their word: Devanagari and Thai vowels are marks.
    if unicodedata.category(character)[0] not in "LMN":
        return "other"
    return "unspaced" if script_of(character) in UNSPACED else "word"


def has_unspaced(text: str) -> bool:
    """Return whether a text has letters of a script without spaces."""
    return not text.isascii() and any(_kind(character) == "unspaced" for character in text)


def scripts_of(text: str) -> Counter[str]:
    """Count the letters of a text by script."""
    letters = unicodedata.normalize("NFKC", text)
    return Counter("LATIN" if letter.isascii() else script_of(letter) for letter in letters if letter.isalpha())


def language_of(text: str) -> tuple[str | None, int]:
    """Return the language with the most function words in a text and how many it has; None if another has as many.

    It knows twelve languages of Latin script: those in which generators answer although the corpus is in another.
    """
    words = Counter(_SPACED_WORD.findall(text.casefold()))
    counts = Counter(
        {
            language: sum(count for word, count in words.items() if word in function_words)
            for language, function_words in _WORDS.items()
        }
    )
    (first, most), (_, second) = counts.most_common(2)
    return (first, most) if most > second else (None, most)


@dataclass(frozen=True)
class LanguageProfile:
    """Scripts and languages that occur in a corpus.

    Attributes:
        scripts: Share of all letters by script.
        languages: Languages of Latin script in at least 2 % of the texts whose language is clear.
    """

    scripts: dict[str, float]
    languages: frozenset[str]

    @classmethod
    def of(cls, texts: Iterable[str]) -> LanguageProfile:
        """Return the profile of the first 400 texts."""
        letters: Counter[str] = Counter()
        languages: Counter[str] = Counter()
        for text in islice(texts, SAMPLE):
            letters.update(scripts_of(text))
            language, hits = language_of(text)
            if language and hits >= 2:
                languages[language] += 1
        total, clear = letters.total() or 1, languages.total()
        return cls(
            {script: count / total for script, count in letters.items()},
            frozenset(language for language, count in languages.items() if count >= RARE_SHARE * clear),
        )

    def __or__(self, other: LanguageProfile) -> LanguageProfile:
        """Return the profile to which nothing is foreign that one of the two has."""
        names = self.scripts.keys() | other.scripts.keys()
        shares = {name: max(self.scripts.get(name, 0.0), other.scripts.get(name, 0.0)) for name in sorted(names)}
        return LanguageProfile(shares, self.languages | other.languages)

    @property
    def codes(self) -> tuple[str, ...]:
        """Languages as mteb writes them; empty if not known, as of a corpus that also has another script."""
        others = [name for name, share in self.scripts.items() if name != "LATIN" and share >= RARE_SHARE]
        return () if others else tuple(sorted(CODES[name] for name in self.languages))

    def is_foreign(self, text: str) -> bool:
        """Return whether a text is in a script or a language that the corpus does not have.

        A text of few letters, and languages that share a script without a sign to tell them apart, pass.
        """
        letters = scripts_of(text)
        total = letters.total()
        if not total or not self.scripts:
            return False
        foreign = sum(count for script, count in letters.items() if self.scripts.get(script, 0.0) < RARE_SHARE)
        if foreign > total / 2:
            return True
        # Japanese without a single kana in a whole sentence is Chinese.
        kana = sum(self.scripts.get(script, 0.0) for script in KANA)
        if kana > 0.2 and letters["CJK"] > 15 and not any(letters[script] for script in KANA):
            return True
        return self._foreign_language(text)

    def _foreign_language(self, text: str) -> bool:
        if not self.languages:
            return False
        language, hits = language_of(text)
        if language is None or hits < 3 or language in self.languages:
            return False
        own = max(_hits(text, own_language) for own_language in self.languages)
        return hits >= 2 * own


def _hits(text: str, language: str) -> int:
    return sum(word in _WORDS[language] for word in _SPACED_WORD.findall(text.casefold()))
