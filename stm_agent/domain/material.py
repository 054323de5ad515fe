"""What a domain gives to the loop: training pairs by source, a pool to mine from, and what to score on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from stm_agent.domain.collection import Collection
from stm_agent.domain.spec import BeirCollection, CollectionSpec, HpoCollection, PythonDocsCollection
from stm_agent.files import content_hash


@dataclass(frozen=True, slots=True)
class Pair:
    """One training pair.

    Attributes:
        id: Unique in the material.
        query: What is asked.
        positive: The passage that answers it.
        source: Name of the training source.
        group: Concept or query id; pairs of one group are never each other's negatives.
        structural: Passages near by the data's own structure, ready as hard negatives.
        aliases: Other short names of what the positive describes, such as its clinical names.
        related: Passages that answer the query less well, each with its grade as a share of the positive's.
    """

    id: str
    query: str
    positive: str
    source: str
    group: str
    structural: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    related: tuple[tuple[str, float], ...] = ()

    def content(self) -> list[object]:
        """Return what training can see of the pair, as JSON values."""
        texts = [self.query, self.positive, self.structural, self.aliases, self.related]
        return [self.id, self.source, self.group, *texts]


@dataclass(frozen=True)
class Material:
    """Everything a domain gives to the loop.

    Attributes:
        collection: What is scored: corpus, dev and test.
        sources: Training pairs by source name; none shares its query's text with dev or test.
        pool: Passage id -> text that negatives may be mined from and queries written for.
        groups: Group -> ids in the pool that are relevant, or too near, to its queries: never a negative.
    """

    collection: Collection
    sources: Mapping[str, tuple[Pair, ...]]
    pool: Mapping[str, str]
    groups: Mapping[str, frozenset[str]]

    @cached_property
    def content_hash(self) -> str:
        """Hash over the collection and all training data."""
        pairs = {name: [pair.content() for pair in pairs] for name, pairs in self.sources.items()}
        groups = {group: sorted(ids) for group, ids in self.groups.items()}
        collection = self.collection.content_hash
        return content_hash({"collection": collection, "pairs": pairs, "pool": dict(self.pool), "groups": groups})


def build_material(spec: CollectionSpec, workspace: Path) -> Material:
    """Build a collection with its training data.

    Args:
        spec: Which collection.
        workspace: What a relative path in ``spec`` is relative to.

    Raises:
        DataError: The collection is missing, broken or cannot be split as asked.
        AssetError: An embedded asset cannot be fetched.
        ConfigError: A name or number in ``spec`` does not fit the data.
    """
    # Imported late: the builders are made of the types above.
    from stm_agent.domain.sources import judged_material, python_docs_material

    if isinstance(spec, HpoCollection):
        from stm_agent.domain.hpo import build_hpo

        return build_hpo(spec)
    if isinstance(spec, PythonDocsCollection):
        return python_docs_material(spec)
    if isinstance(spec, BeirCollection):
        from stm_agent.domain.collection import read_beir

        return judged_material(read_beir(workspace / spec.path, spec.name))
    from stm_agent.domain.hub import read_mteb

    return judged_material(read_mteb(spec))


def build_collection(spec: CollectionSpec, workspace: Path) -> Collection:
    """Build the collection alone, as general (guard) tasks need it; errors as :func:`build_material`."""
    return build_material(spec, workspace).collection
