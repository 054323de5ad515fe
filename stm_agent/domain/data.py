"""The data of a domain: training pairs by source, a pool to mine from, and the collection to score on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from stm_agent.domain.collection import Collection
from stm_agent.domain.held import HeldQueries
from stm_agent.domain.splitting import SplitPlan
from stm_agent.files import content_hash


@dataclass(frozen=True, slots=True)
class Pair:
    """One training pair.

    Attributes:
        id: Unique in the domain.
        query: What is asked.
        positive: The passage that answers it.
        source: Name of the training source.
        group: Concept or query id; pairs of one group are never each other's negatives.
        structural: Passages that are similar by the data's own structure, or that the data names as negatives; they
            serve as hard negatives.
        aliases: Other short names of what the positive describes, such as its clinical names.
        related: Passages that answer the query less well, each with its grade as a share of the positive's.
        scores: A teacher's scores of the positive and of each of ``structural``, in this order; empty: none.
    """

    id: str
    query: str
    positive: str
    source: str
    group: str
    structural: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    related: tuple[tuple[str, float], ...] = ()
    scores: tuple[float, ...] = ()

    def content(self) -> list[object]:
        """Return everything of the pair that training depends on, as JSON values."""
        texts = [self.query, self.positive, self.structural, self.aliases, self.related]
        # Only if there are any, so that the stages of data without scores keep their keys.
        return [self.id, self.source, self.group, *texts, *([self.scores] if self.scores else [])]


@dataclass(frozen=True)
class DomainData:
    """All data of a domain.

    Attributes:
        collection: Corpus, dev and test.
        sources: Training pairs by source name; none shares its query's text with dev or test.
        pool: Passage id -> text that negatives may be mined from and queries written for.
        groups: Group -> ids in the pool that are relevant, or too near, to its queries: never a negative.
        splits: How dev and test came to be, where the collection lacked them; a run records it.
        held: What resembles a query of dev or test, set where test is taken out of the collection; None: the collection
            has both.
    """

    collection: Collection
    sources: Mapping[str, tuple[Pair, ...]]
    pool: Mapping[str, str]
    groups: Mapping[str, frozenset[str]]
    splits: SplitPlan = field(default_factory=SplitPlan)
    held: HeldQueries | None = None

    @cached_property
    def content_hash(self) -> str:
        """Hash over the collection and all training data."""
        pairs = {name: [pair.content() for pair in pairs] for name, pairs in self.sources.items()}
        groups = {group: sorted(ids) for group, ids in self.groups.items()}
        collection = self.collection.content_hash
        return content_hash({"collection": collection, "pairs": pairs, "pool": dict(self.pool), "groups": groups})
