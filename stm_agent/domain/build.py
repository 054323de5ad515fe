"""Build what a collection spec names: the corpus, its judged splits and its training pairs."""

from __future__ import annotations

from pathlib import Path

from stm_agent.domain.collection import Collection
from stm_agent.domain.collection_spec import FrozenCollection, MtebCollection, TrainingCollection
from stm_agent.domain.data import DomainData
from stm_agent.domain.own_sources import add_sources
from stm_agent.domain.sources import frozen_domain_data, judged_domain_data, train_domain_data
from stm_agent.domain.spec import BeirCollection, CollectionSpec, HpoCollection


def build_domain_data(spec: CollectionSpec, workspace: Path) -> DomainData:
    """Build a collection with its training data.

    Args:
        spec: Which collection.
        workspace: What a relative path in ``spec`` is relative to.

    Raises:
        DataError: The collection is missing, broken or cannot be split as asked.
        AssetError: An embedded asset cannot be fetched.
        ConfigError: A name or number in ``spec`` does not fit the data.
    """
    if isinstance(spec, HpoCollection):
        from stm_agent.domain.hpo import build_hpo

        return build_hpo(spec)
    if isinstance(spec, FrozenCollection):
        return frozen_domain_data(spec)
    data = judged_domain_data(_read(spec, workspace))
    return add_sources(data, spec, workspace, lambda other: _training_data(other, workspace))


def _read(spec: BeirCollection | MtebCollection, workspace: Path) -> Collection:
    if isinstance(spec, BeirCollection):
        from stm_agent.domain.beir import read_beir

        return read_beir(workspace / spec.path, spec.name)
    from stm_agent.domain.hub import read_mteb

    return read_mteb(spec)


def _training_data(spec: TrainingCollection, workspace: Path) -> DomainData:
    """Build the training pairs of a collection that is a source of another one."""
    if isinstance(spec, HpoCollection):
        return build_domain_data(spec, workspace)
    return train_domain_data(_read(spec, workspace))


def build_collection(spec: CollectionSpec, workspace: Path) -> Collection:
    """Build the collection alone, as general (guard) tasks need it; errors as :func:`build_domain_data`."""
    return build_domain_data(spec, workspace).collection
