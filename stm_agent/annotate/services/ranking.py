"""Queries ranked for the pools, in parts small enough to be watched and stopped: first the vectors, then the runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.database import Database
from stm_agent.annotate.faults import Invalid
from stm_agent.annotate.finding import Corpus, Finder
from stm_agent.annotate.services import encoding, projects, queries, searching
from stm_agent.errors import StmAgentError

logger = logging.getLogger(__name__)
Store = Callable[[Sequence[str]], dict[str, dict[str, int]]]
"""Ranks by some retrievers and stores their runs; tells what of each is stored."""


@dataclass(frozen=True)
class Part:
    """Texts for a model to encode; without any, the ranking of all queries by a retriever."""

    retriever: str
    texts: Sequence[str] = ()
    kind: encoding.Kind = "document"

    @property
    def size(self) -> int:
        """For how much of the work it counts."""
        return len(self.texts) or 1


def to_encode(model: str, texts: Iterable[str], kind: encoding.Kind = "document") -> list[Part]:
    """Return the parts in which a model encodes texts; what it has encoded before takes no time."""
    return [Part(model, some, kind) for some in encoding.parts(list(texts))]


@dataclass(frozen=True)
class Ranker:
    """Ranks all queries of a project.

    Attributes:
        database: Where the runs are stored.
        actor: Who asks for them.
        project: Key of the project.
        corpus: Its documents as they are now.
        queries: Key -> text.
        depth: Passages of a run for each query.
        stock: The models.
    """

    database: Database
    actor: Actor
    project: str
    corpus: Corpus
    queries: Mapping[str, str]
    depth: int
    stock: encoding.Models

    def parts(self, retriever: str) -> list[Part]:
        """Return the parts of a retriever's work: ``bm25``'s, or a model's.

        Raises:
            NotFound: There is no such model.
        """
        if retriever == "bm25":
            return [Part(retriever)]
        self.stock.source(retriever)
        passages = to_encode(retriever, self.corpus.texts.values())
        return [*passages, *to_encode(retriever, self.queries.values(), "query"), Part(retriever)]

    def store(self, retrievers: Sequence[str]) -> dict[str, dict[str, int]]:
        """Rank by some retrievers and store their runs, all or none; return what of each is stored."""
        runs = {name: self._run(name) for name in retrievers}
        with self.database.writing() as session:
            row = projects.find(session, self.actor, self.project)
            return {name: searching.put_run(session, self.actor, row, name, run) for name, run in runs.items()}

    def _run(self, retriever: str) -> dict[str, dict[str, float]]:
        texts = list(self.queries.values())
        if retriever == "bm25":
            hits = self.corpus.index.search(texts, self.depth)
            return {query: dict(found) for query, found in zip(self.queries, hits, strict=True)}
        from stm_agent.evaluate.ranking import rank

        model = self.stock.get(retriever)
        vectors = model.encode(texts, "query")
        return rank(list(self.queries), vectors, list(self.corpus.texts), model.passages(self.corpus), k=self.depth)


def ranker(
    database: Database, finder: Finder, stock: encoding.Models, actor: Actor, project: str, *, depth: int
) -> Ranker:
    """Return what ranks the queries of a project as it is now.

    Raises:
        Forbidden: The actor is no administrator.
        NotFound: There is no such project.
        ConfigError: It has no documents.
    """
    actor.needs("admin")
    with database.reading() as session:
        row = projects.find(session, actor, project)
        corpus = searching.corpus_of(session, finder, row)
        texts = {query["key"]: query["text"] for query in queries.listed(session, row)}
    return Ranker(database, actor, project, corpus, texts, depth, stock)


@dataclass
class Worker:
    """Does one part after another; what is left of a retriever that failed is passed over.

    Attributes:
        stock: The models.
        store: Ranks and stores; not asked for where texts are only encoded.
    """

    stock: encoding.Models
    store: Store = lambda _: {}
    _failed: set[str] = field(default_factory=set, init=False)

    def do(self, part: Part, _stopped: Callable[[], bool]) -> dict[str, Any]:
        """Do a part; return what of a run is stored, by its retriever.

        Raises:
            Invalid: The retriever cannot do its work.
        """
        if part.retriever in self._failed:
            return {}
        try:
            if not part.texts:
                return self.store([part.retriever])
            self.stock.get(part.retriever).encode(part.texts, part.kind)
        except Exception as error:
            self._failed.add(part.retriever)
            raise Invalid(f"{part.retriever}: {_told(error)}") from error
        return {}


def _told(error: Exception) -> str:
    if isinstance(error, StmAgentError):
        return str(error)
    # A model of somebody's own may fail in any way; the other retrievers go on.
    logger.error("a retriever failed", exc_info=error)
    reason = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {reason}; the server's log has more"
