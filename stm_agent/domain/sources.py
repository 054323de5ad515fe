"""Training data of collections that have no other structure than their judgements."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping

from stm_agent.domain.collection import Collection, Split
from stm_agent.domain.data import DomainData, Pair
from stm_agent.domain.python_docs import python_docs
from stm_agent.domain.spec import PythonDocsCollection
from stm_agent.domain.text import normalise, share
from stm_agent.errors import DataError

logger = logging.getLogger(__name__)

DEV_SHARE = 0.1
"""Share of the train queries that become dev if a collection has no dev split."""
MAX_DEV_QUERIES = 500
"""Largest number of these; more would cost training data and hardly narrow the intervals."""


def judged_domain_data(collection: Collection) -> DomainData:
    """Make training pairs of a collection's train split: one for each query and relevant document.

    Train queries whose text is also a dev or test query are left out and counted.

    Raises:
        DataError: There is neither a dev split nor a train split to take one from.
    """
    collection = with_dev(collection)
    train = collection.splits.get("train", Split("train", {}, {}))
    held = {
        normalise(query)
        for name, split in collection.splits.items()
        if name != "train"
        for query in split.queries.values()
    }
    usable = {key: text for key, text in train.queries.items() if normalise(text) not in held}
    if left_out := len(train.queries) - len(usable):
        logger.warning("%s: %d train queries are also dev or test queries; left out", collection.name, left_out)
    pool = collection.texts
    groups = {key: frozenset(doc for doc, grade in train.qrels[key].items() if grade > 0) for key in usable}
    pairs = tuple(
        Pair(f"{key}:{doc}", text, pool[doc], "train", key, related=_related(train.qrels[key], doc, pool))
        for key, text in usable.items()
        for doc in sorted(groups[key])
    )
    return DomainData(collection, {"train": pairs}, pool, groups)


def _related(grades: Mapping[str, int], document: str, pool: Mapping[str, str]) -> tuple[tuple[str, float], ...]:
    """Return the texts judged relevant, but less so than ``document``, with their share of its grade."""
    best = grades[document]
    less = sorted((-grade, other) for other, grade in grades.items() if 0 < grade < best)
    return tuple((pool[other], -grade / best) for grade, other in less)


def with_dev(collection: Collection) -> Collection:
    """Return the collection with a dev split: its own, else a fixed tenth of train (by hash, 500 queries at most).

    Raises:
        DataError: There is neither a dev nor a train split, or train is too small to give one.
    """
    if "dev" in collection.splits:
        return collection
    train = collection.splits.get("train")
    if train is None:
        raise DataError(f"collection {collection.name} has no dev split and no train split to take one from; add one")
    order = sorted(train.queries, key=lambda key: (share(f"dev:{key}"), key))
    chosen = order[: min(MAX_DEV_QUERIES, int(len(order) * DEV_SHARE))]
    if not chosen:
        raise DataError(f"collection {collection.name} has no dev split and only {len(order)} train queries; add one")
    logger.info("%s: %d train queries became the dev split", collection.name, len(chosen))
    taken = frozenset(chosen)
    parts = {
        name: Split(
            name,
            {key: text for key, text in train.queries.items() if (key in taken) is wanted},
            {key: grades for key, grades in train.qrels.items() if (key in taken) is wanted},
        )
        for name, wanted in (("train", False), ("dev", True))
    }
    return dataclasses.replace(collection, splits={**collection.splits, **parts})


def python_docs_domain_data(spec: PythonDocsCollection) -> DomainData:
    """Return the standard-library collection, which has no training pairs but a pool to write queries for."""
    collection = python_docs(spec.documents)
    return DomainData(collection, {}, collection.texts, {})
