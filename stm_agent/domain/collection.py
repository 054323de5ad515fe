"""A collection in memory: a corpus, queries and graded judgements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from stm_agent.files import content_hash


@dataclass(frozen=True, slots=True)
class Document:
    """One passage of a corpus; ``title`` may be empty."""

    id: str
    title: str
    text: str

    @property
    def full(self) -> str:
        """Title and text in one: what BM25 and encoders see."""
        return f"{self.title} {self.text}".strip()


@dataclass(frozen=True)
class Split:
    """The judged queries of one split.

    Attributes:
        name: ``train``, ``dev`` or ``test`` (other names are kept as they are).
        queries: Query id -> text; each has at least one document with a score above 0.
        qrels: Query id -> document id -> integer grade.
        ignored_ids: Queries that are documents of the corpus themselves (as in ArguAna): the document of a query's own
            id is not ranked.
        synthetic: Whether an LLM wrote queries of it, so that nobody judged which documents are relevant.
    """

    name: str
    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]
    ignored_ids: frozenset[str] = frozenset()
    synthetic: bool = False

    def only(self, queries: Iterable[str], name: str) -> Split:
        """Return a part of the split, with its queries in their order here."""
        wanted = frozenset(queries)
        chosen = {query: text for query, text in self.queries.items() if query in wanted}
        qrels, ignored = {query: self.qrels[query] for query in chosen}, self.ignored_ids & chosen.keys()
        return Split(name, chosen, qrels, ignored, self.synthetic)


SameText = Mapping[str, tuple[str, ...]]
"""Document id -> ids of all documents with its text, in corpus order, for each text that several have."""
NO_COPIES: SameText = {}
"""Every document has a text of its own, or nothing is known of the others."""


@dataclass(frozen=True)
class Collection:
    """A corpus with its judged splits.

    Attributes:
        name: Short name, for reports.
        documents: The corpus, in a fixed order, ids unique.
        splits: Judged queries by split name.
        licence: Licence of the data, as its authors name it.
        source: Where the data comes from, with its version.
        notes: What the reader left out, one line each; decides no result.
    """

    name: str
    documents: tuple[Document, ...]
    splits: Mapping[str, Split]
    licence: str
    source: str
    notes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def texts(self) -> dict[str, str]:
        """Document id -> full text, in corpus order."""
        return {document.id: document.full for document in self.documents}

    @cached_property
    def same_text(self) -> SameText:
        """Document id -> ids of all documents with its text, for each text that several have; spaces do not count."""
        found: dict[str, list[str]] = {}
        for document in self.documents:
            found.setdefault(" ".join(document.full.split()), []).append(document.id)
        return {name: tuple(names) for names in found.values() if len(names) > 1 for name in names}

    @property
    def synthetic(self) -> tuple[str, ...]:
        """Names of the splits whose queries an LLM wrote."""
        return tuple(name for name, split in self.splits.items() if split.synthetic)

    @cached_property
    def content_hash(self) -> str:
        """Hash over documents and splits; name, licence and source do not count."""
        documents = [(document.id, document.title, document.text) for document in self.documents]
        splits = {name: (dict(split.queries), dict(split.qrels)) for name, split in self.splits.items()}
        ignored = {name: sorted(split.ignored_ids) for name, split in self.splits.items() if split.ignored_ids}
        return content_hash({"documents": documents, "splits": splits} | ({"ignored": ignored} if ignored else {}))
