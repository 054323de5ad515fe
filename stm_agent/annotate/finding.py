"""Search on the server: BM25, dense, and both fused, with operators.

Operators: ``"a phrase"`` must be in a document, ``-word`` must not, ``field:value`` must be in that field; what is left
ranks.
"""

from __future__ import annotations

import bisect
import contextlib
import logging
import re
import shutil
import threading
from collections import OrderedDict
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from stm_agent.annotate.faults import Invalid
from stm_agent.annotate.spelling import composed, folded, holding, whole_word
from stm_agent.errors import ConfigError, DataError, StorageError
from stm_agent.evaluate.unspaced import UNSPACED
from stm_agent.files import content_hash

if TYPE_CHECKING:
    from stm_agent.evaluate.bm25 import Bm25Index
    from stm_agent.evaluate.cache import Vectors

logger = logging.getLogger(__name__)
TOKEN = re.compile(r'(?P<no>-)?(?:(?P<field>[\w.]+):)?(?:"(?P<phrase>[^"]*)"|(?P<word>\S+))')
LONGEST_SEARCH = 2000
"""Largest number of characters of a search: each of its words may be looked for in every document."""
WIDE = 16
"""Hits that operators are applied to first for each one wanted; where too few pass, as many times more."""
NAMED = 5
"""Documents that stand first because their ids begin with what was typed, at most."""
FUSED = 60
"""The constant of reciprocal rank fusion (Cormack et al. 2009)."""
KEPT = 8
"""Corpora whose index stays in memory."""
Load = Callable[[], tuple[Mapping[str, str], Mapping[str, Mapping[str, object]]]]
MODELS = 2
"""Models whose vectors of a corpus stay in memory with it."""
SMALL = 2000
"""Documents from which on an index is worth keeping on the disk."""


@dataclass(frozen=True)
class Asked:
    """A query as it was typed, read.

    Attributes:
        words: What ranks.
        phrases: What must be in the text, as it is typed.
        without: Words that must not be in it.
        fields: (field, value) that must be.
        ended: Whether the last word is whole: something stands behind it.
    """

    words: str
    phrases: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    fields: tuple[tuple[str, str], ...] = ()
    ended: bool = True

    @property
    def plain(self) -> bool:
        """Whether it contains no operator."""
        return not (self.phrases or self.without or self.fields)


def read_query(text: str, names: Container[str] | None = None) -> Asked:
    """Read what was typed; an operator that is not finished yet is a plain word.

    Args:
        text: What was typed.
        names: Fields there are, None for any; ``3:1`` asks for no field.

    Raises:
        Invalid: The text is too long.
    """
    if len(text) > LONGEST_SEARCH:
        raise Invalid(f"a search has at most {LONGEST_SEARCH:,} characters; this one has {len(text):,}")
    words: list[str] = []
    phrases: list[str] = []
    without: list[str] = []
    fields: list[tuple[str, str]] = []
    text = composed(text)
    for found in TOKEN.finditer(text):
        value = (found["phrase"] or found["word"] or "").strip('"')
        if not value:
            continue
        if found["no"]:
            without.append(folded(value))
        elif found["field"] and names is not None and found["field"] not in names:
            words += [found["field"], value]
        elif found["field"]:
            fields.append((found["field"], value.lower()))
        else:
            words.append(value)
            if found["phrase"]:
                phrases.append(folded(value))
    ended = not text[-1:].isalnum()
    return Asked(" ".join(words), tuple(phrases), tuple(without), tuple(fields), ended)


@dataclass
class Corpus:
    """One project's documents, ready to be searched.

    Attributes:
        texts: Key -> text.
        fields: Key -> all fields.
        index: BM25 over the texts.
        name: Whose they are.
        vectors: Model -> its vectors of the texts, of the last models that were asked for.
    """

    texts: Mapping[str, str]
    fields: Mapping[str, Mapping[str, object]]
    index: Bm25Index = field(repr=False)
    name: str = ""
    vectors: dict[str, Vectors] = field(default_factory=dict, repr=False)

    @cached_property
    def names(self) -> frozenset[str]:
        """Fields that some document has."""
        return frozenset(name for fields in self.fields.values() for name in fields)

    @cached_property
    def folded(self) -> Mapping[str, str]:
        """Key -> text without differences of case and of how accents are written."""
        return {key: folded(text) for key, text in self.texts.items()}

    @cached_property
    def ids(self) -> Sequence[tuple[str, str]]:
        """Folded key and key of each document, sorted."""
        return sorted((folded(key), key) for key in self.texts)

    def called(self, typed: str) -> list[str]:
        """Return the document whose id was typed, and the first few whose ids begin so."""
        name = folded(typed.strip())
        begin = bisect.bisect_left(self.ids, (name, ""))
        return [key for one, key in self.ids[begin : begin + NAMED] if name and one.startswith(name)]

    def worded(self, asked: Asked, k: int) -> list[tuple[str, float]]:
        """Return the best ``k`` by BM25; behind them, where it knows no word, those that hold each one as it is typed.

        Where words are written together BM25 knows two letters of them at a time: all texts are looked through as well.
        """
        found = self.bm25(asked, k)
        if len(found) == k or not asked.words or (found and not UNSPACED.search(asked.words)):
            return found
        ranked = {key for key, _ in found}
        others = (key for key in holding(self.folded, asked.words) if key not in ranked and self.allowed(key, asked))
        return [*found, *((key, 0.0) for key in islice(others, k - len(found)))]

    def bm25(self, asked: Asked, k: int) -> list[tuple[str, float]]:
        """Return the best ``k`` (key, score) that the operators allow."""
        if not asked.words:
            return [] if asked.plain else self._unranked(asked, k)

        def ranked(wide: int) -> list[tuple[str, float]]:
            return self.index.search([asked.words], wide, unfinished=not asked.ended)[0]

        found = self._best(asked, k, ranked)
        # A phrase of nothing but words that rank nothing: to be or not to be.
        return found or (self._unranked(asked, k) if asked.phrases else [])

    def _unranked(self, asked: Asked, k: int) -> list[tuple[str, float]]:
        return list(islice(((key, 0.0) for key in self.texts if self.allowed(key, asked)), k))

    def _best(self, asked: Asked, k: int, ranked: Callable[[int], list[tuple[str, float]]]) -> list[tuple[str, float]]:
        """Return the best ``k`` that the operators allow, of a ranking that is read until it has them or ends."""
        wide = k if asked.plain else k * WIDE
        while True:
            found = ranked(wide)
            passed = list(islice((hit for hit in found if self.allowed(hit[0], asked)), k))
            if len(passed) == k or len(found) < wide:
                return passed
            wide *= WIDE

    def allowed(self, key: str, asked: Asked) -> bool:
        """Return whether a document has what the operators demand."""
        # Loops, not all() and any(): a rare phrase is looked for in every document.
        for name, value in asked.fields:
            if value not in composed(str(self.fields[key].get(name, ""))).lower():
                return False
        if not (asked.phrases or asked.without):
            return True
        text = self.folded[key]
        for phrase in asked.phrases:
            if phrase not in text:
                return False
        return not any(word in text and _has_word(text, word) for word in asked.without)

    def keep(self, model: str, vectors: Vectors) -> None:
        """Keep a model's vectors of the texts, in place of those of the model that came first."""
        self.vectors = dict(list({**self.vectors, model: vectors}.items())[-MODELS:])

    def dense(self, asked: Asked, k: int, passages: Vectors, query: Vectors) -> list[tuple[str, float]]:
        """Return the best ``k`` by a model's vectors of all texts and of the query, ``[1, dimension]``."""
        from stm_agent.evaluate.ranking import rank

        keys = list(self.texts)

        def ranked(wide: int) -> list[tuple[str, float]]:
            return sorted(rank(["q"], query, keys, passages, k=wide)["q"].items(), key=lambda hit: -hit[1])

        return self._best(asked, k, ranked)


def _has_word(text: str, word: str) -> bool:
    return bool(UNSPACED.search(word) or whole_word(word).search(text))


def fuse(rankings: Sequence[Sequence[tuple[str, float]]], k: int) -> list[tuple[str, float]]:
    """Return reciprocal rank fusion of several rankings."""
    scores: dict[str, float] = {}
    for ranking in rankings:
        for place, (key, _) in enumerate(ranking, 1):
            scores[key] = scores.get(key, 0.0) + 1 / (FUSED + place)
    return sorted(scores.items(), key=lambda hit: (-hit[1], hit[0]))[:k]


class Finder:
    """Corpora in memory, built on first use and again when the documents have changed."""

    def __init__(self, folder: Path | None = None) -> None:
        """Begin with none in memory; the indexes themselves are kept in ``folder``, for the next start."""
        self.folder = folder
        self._corpora: OrderedDict[str, Corpus] = OrderedDict()
        self._making: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def corpus(self, name: str, version: object, load: Load) -> Corpus:
        """Return a corpus.

        Args:
            name: Whose it is.
            version: Changes when its documents do.
            load: Returns (texts, fields) by key.

        Raises:
            ConfigError: It has no documents.
        """
        key = content_hash([name, version])
        if kept := self._kept(key):
            return kept
        with self._lock:
            making = self._making.setdefault(name, threading.Lock())
        # Who asks for the same project waits, as its index is made once; all others search on.
        with making:
            if kept := self._kept(key):
                return kept
            texts, fields = load()
            if not texts:
                raise ConfigError("this project has no documents yet; import some")
            words = {key: composed(text) for key, text in texts.items()}
            made = Corpus(texts, fields, self._index(name, words), name)
            with self._lock:
                # What the project had before its documents changed is never asked for again.
                for old in [one for one, corpus in self._corpora.items() if corpus.name == name]:
                    del self._corpora[old]
                self._corpora[key] = made
                while len(self._corpora) > KEPT:
                    self._corpora.popitem(last=False)
            return made

    def _index(self, name: str, texts: Mapping[str, str]) -> Bm25Index:
        from stm_agent.evaluate.bm25 import Bm25Index, written_by

        if self.folder is None or len(texts) < SMALL:
            return Bm25Index(texts)
        # Named by what it is made of: no index is ever taken for that of other documents.
        own = self.folder / content_hash(name)[:16]
        path = own / content_hash([written_by(), *texts.items()])
        with contextlib.suppress(DataError):
            return Bm25Index.load(path, list(texts))
        made = Bm25Index(texts)
        shutil.rmtree(own, ignore_errors=True)
        try:
            made.save(path)
        except StorageError as error:
            logger.warning("the search index could not be stored for the next start: %s", error)
        return made

    def _kept(self, key: str) -> Corpus | None:
        with self._lock:
            found = self._corpora.get(key)
            if found is not None:
                self._corpora.move_to_end(key)
            return found
