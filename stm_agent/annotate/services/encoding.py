"""The workspace's models: what they make of texts, kept on the disk for good and in memory where it is searched."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from stm_agent.annotate.faults import NotFound, Unencoded
from stm_agent.annotate.finding import Corpus
from stm_agent.annotate.services.turns import InSlices, Turn
from stm_agent.errors import ConfigError

if TYPE_CHECKING:
    from stm_agent.backbone.encoder import TextEncoder
    from stm_agent.evaluate.cache import EmbeddingCache, Vectors

Kind = Literal["query", "document"]
"""What a text is; a model may have a prompt for each."""
PART = 256
"""Texts that are kept at a time, in one file."""
EMBEDDED = "embedded:"
WAITED_FOR = 200
"""Texts that a search encodes itself; who types waits for no more."""


def models(runs: Path) -> list[str]:
    """Return the workspace's runs that have a model."""
    return sorted(path.parent.parent.name for path in runs.glob("*/model/modules.json"))


def parts(texts: Sequence[str]) -> list[Sequence[str]]:
    """Cut texts into parts to be encoded one after another."""
    return [texts[begin : begin + PART] for begin in range(0, len(texts), PART)]


@dataclass(frozen=True)
class Model:
    """A loaded model; it serves one after another, searches that somebody waits for before background work.

    Attributes:
        name: A run's, or an embedded model's.
        encoder: Makes the vectors.
        cache: Keeps them.
    """

    name: str
    encoder: TextEncoder
    cache: EmbeddingCache
    _turn: Turn = field(default_factory=Turn, init=False, repr=False)
    _searches: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _jobs: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def encode(self, texts: Sequence[str], kind: Kind = "document", *, first: bool = False) -> Vectors:
        """Return the vectors of texts; those that are kept already are not made again.

        Args:
            texts: The texts.
            kind: What they are.
            first: Somebody waits for them.
        """
        # Two who want the same texts encoded: the second finds what the first has kept. A search waits for searches
        # alone, which are short.
        with self._searches if first else self._jobs:
            return self.cache.encode(InSlices(self.encoder, self._turn, first), texts, prefix=self._prompt(kind))

    def typed(self, words: str) -> Vectors:
        """Return the vector of what somebody types, ``[1, dimension]``; it is not kept."""
        return InSlices(self.encoder, self._turn, first=True).encode([words], prefix=self._prompt("query"))

    def passages(self, corpus: Corpus, *, most: int | None = None) -> Vectors:
        """Return the vectors of all texts of a corpus, in their order; they stay in memory with it.

        Args:
            corpus: The texts.
            most: Texts that are encoded for somebody who waits; None: nobody does, and all are.

        Raises:
            Unencoded: More than ``most`` texts would have to be encoded first.
        """
        if (kept := corpus.vectors.get(self.name)) is not None:
            return kept
        texts = list(corpus.texts.values())
        missing = self.cache.missing(self.encoder, texts, prefix=self._prompt("document"))
        if most is not None and len(missing) > most:
            raise self._unencoded(texts, set(missing))
        for part in parts(missing):
            self.encode(part, first=most is not None)
        vectors = self.encode(texts, first=most is not None)
        corpus.keep(self.name, vectors)
        return vectors

    def _prompt(self, kind: Kind) -> str:
        return self.encoder.model.prompts.get(kind) or ""

    def _unencoded(self, texts: Sequence[str], missing: set[str]) -> Unencoded:
        known = sum(text not in missing for text in texts)
        return Unencoded(
            f"{self.name} has encoded {known:,} of {len(texts):,} documents; "
            "let a reviewer or an administrator have the others encoded, or search by words (bm25)",
            {"model": self.name, "encoded": known, "documents": len(texts)},
        )


class Models:
    """Models of the workspace's runs, loaded when first asked for."""

    def __init__(self, runs: Path) -> None:
        """Look in ``runs/``."""
        from stm_agent.evaluate.cache import EmbeddingCache

        self.runs = runs
        self.cache = EmbeddingCache(runs / ".cache" / "vectors")
        self._loaded: dict[str, Model] = {}
        self._loading = threading.Lock()

    def source(self, name: str) -> str:
        """Return where a model is loaded from: a run's folder, or an embedded model's own name.

        Raises:
            NotFound: No run and no embedded model has this name.
        """
        if name in models(self.runs):
            return str(self.runs / name / "model")
        if name.startswith(EMBEDDED):
            return _embedded(name)
        raise NotFound(f"there is no run '{name}' with a model; there are {', '.join(models(self.runs)) or 'none'}")

    def get(self, name: str) -> Model:
        """Return a run's model, or any by name (``embedded:all-minilm-l6-v2``).

        Raises:
            NotFound: There is none of this name.
        """
        if name not in self._loaded:
            from stm_agent.backbone.encoder import TextEncoder
            from stm_agent.backbone.load import load_model

            source = self.source(name)
            with self._loading:
                if name not in self._loaded:
                    self._loaded[name] = Model(name, TextEncoder(load_model(source)), self.cache)
        return self._loaded[name]


def _embedded(name: str) -> str:
    from stm_agent.assets.pull import find_asset

    try:
        kind = find_asset(name.removeprefix(EMBEDDED)).kind
    except ConfigError as error:
        raise NotFound(str(error)) from error
    if kind == "data":
        raise NotFound(f"{name} is data, not a model; use embedded:all-minilm-l6-v2")
    return name
