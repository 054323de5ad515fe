"""Queries ranked for the pools, in parts small enough to be watched and stopped: first the vectors, then the runs."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.database import Database
from stm_agent.annotate.faults import Invalid
from stm_agent.annotate.finding import Corpus, Finder
from stm_agent.annotate.services import encoding, projects, queries, runs, searching
from stm_agent.errors import StmAgentError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """Texts for a model to encode; without any, queries, by their keys, for a retriever to rank."""

    retriever: str
    texts: Sequence[str] = ()
    kind: encoding.Kind = "document"
    queries: Sequence[str] = ()

    @property
    def size(self) -> int:
        """For how much of the work it counts."""
        return len(self.texts) or len(self.queries) or 1


Store = Callable[[Part], dict[str, int]]
"""Ranks the queries of a part and stores their rankings; returns how many."""


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

    def parts(self, retrievers: Sequence[str]) -> list[Part]:
        """Return the parts of some retrievers' work: ``bm25``'s, or models'; each is encoded first, then ranks.

        Raises:
            Invalid: No retriever is named.
            NotFound: The model does not exist.
        """
        if not retrievers:
            raise Invalid("name what should rank the queries: bm25, a run with a model, or embedded:all-minilm-l6-v2")
        return [part for name in dict.fromkeys(retrievers) for part in self._parts(name)]

    def _parts(self, retriever: str) -> list[Part]:
        keys, some = list(self.queries), runs.queries_at_once(self.depth)
        ranked = [Part(retriever, queries=keys[begin : begin + some]) for begin in range(0, len(keys) or 1, some)]
        if retriever == "bm25":
            return ranked
        self.stock.source(retriever)
        passages = to_encode(retriever, self.corpus.texts.values())
        return [*passages, *to_encode(retriever, self.queries.values(), "query"), *ranked]

    def store(self, part: Part) -> dict[str, int]:
        """Rank the queries of a part and store their rankings; return how many, as :func:`runs.put_part` counts."""
        return runs.put_part(self.database, self.actor, self.project, part.retriever, self._ranked(part))

    def _ranked(self, part: Part) -> dict[str, dict[str, float]]:
        texts = [self.queries[key] for key in part.queries]
        if part.retriever == "bm25":
            hits = self.corpus.index.search(texts, self.depth)
            return {query: dict(found) for query, found in zip(part.queries, hits, strict=True)}
        from stm_agent.evaluate.ranking import rank

        model = self.stock.get(part.retriever)
        vectors = model.encode(texts, "query")
        return rank(part.queries, vectors, list(self.corpus.texts), model.passages(self.corpus), k=self.depth)


def ranker(
    database: Database, finder: Finder, stock: encoding.Models, actor: Actor, project: str, *, depth: int
) -> Ranker:
    """Return what ranks the queries of a project as it is now.

    Raises:
        Forbidden: The actor is not an administrator, or the project is archived.
        NotFound: The project does not exist.
        ConfigError: It has no documents.
    """
    actor.needs("admin")
    with database.writing() as session:
        # Nothing is ranked that could not be stored.
        projects.find(session, actor, project)
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
    _stored: dict[str, Counter[str]] = field(default_factory=dict, init=False)

    def do(self, part: Part, _stopped: Callable[[], bool] = lambda: False) -> dict[str, dict[str, int]]:
        """Do a part; return what of a run is stored so far, by its retriever.

        Raises:
            Invalid: The retriever cannot do its work.
        """
        if part.retriever in self._failed:
            return {}
        try:
            if part.texts:
                self.stock.get(part.retriever).encode(part.texts, part.kind)
                return {}
            stored = self._stored.setdefault(part.retriever, Counter())
            stored.update(self.store(part))
        except Exception as error:
            self._failed.add(part.retriever)
            raise Invalid(f"{part.retriever}: {_told(error)}") from error
        return {part.retriever: dict(stored)}


def _told(error: Exception) -> str:
    if isinstance(error, StmAgentError):
        return str(error)
    # A model of somebody's own may fail in any way; the other retrievers continue.
    logger.error("a retriever failed", exc_info=error)
    reason = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {reason}; the server's log has more"
