"""Training data of collections that have no other structure than their judgements."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from stm_agent.domain.collection import Collection, Split
from stm_agent.domain.collection_spec import FrozenCollection
from stm_agent.domain.data import DomainData, Pair
from stm_agent.domain.frozen_tasks import read_frozen
from stm_agent.domain.splitting import SplitPlan, complete_splits
from stm_agent.domain.text import normalise
from stm_agent.errors import DataError

logger = logging.getLogger(__name__)


def judged_domain_data(collection: Collection) -> DomainData:
    """Make training pairs of a collection's train split: one for each query and relevant document.

    Splits that are missing are cut first (:mod:`~stm_agent.domain.splitting`). Train queries whose text is also a dev
    or test query are left out and counted.

    Raises:
        DataError: There is neither a dev split nor a train split to take one from.
    """
    collection, plan = complete_splits(collection)
    train = collection.splits.get("train", Split("train", {}, {}))
    held = {
        normalise(query)
        for name, split in collection.splits.items()
        if name != "train"
        for query in split.queries.values()
    }
    return _train_data(collection, train, held, plan)


def train_domain_data(collection: Collection) -> DomainData:
    """Make training pairs of the train split of a collection that nothing is scored on; no split is cut from it.

    Raises:
        DataError: The train split is missing.
    """
    if "train" not in collection.splits:
        raise DataError(f"collection {collection.name} has no train split to learn from; add qrels/train.tsv")
    return _train_data(collection, collection.splits["train"], set(), SplitPlan())


def _train_data(collection: Collection, train: Split, held: set[str], plan: SplitPlan) -> DomainData:
    usable = {key: text for key, text in train.queries.items() if normalise(text) not in held}
    if left_out := len(train.queries) - len(usable):
        logger.warning("%s: %d train queries are also dev or test queries; left out", collection.name, left_out)
    pool = collection.texts
    relevant = {key: sorted(doc for doc, grade in train.qrels[key].items() if grade > 0) for key in usable}
    # Queries with one text are one group: the positives of each are relevant to the others.
    first: dict[str, str] = {}
    group_of = {key: first.setdefault(normalise(text), key) for key, text in usable.items()}
    groups: dict[str, frozenset[str]] = {}
    for key, group in group_of.items():
        itself = {key} if key in train.ignored_ids else set()
        groups[group] = groups.get(group, frozenset()).union(relevant[key], itself)
    pairs = tuple(
        Pair(f"{key}:{doc}", text, pool[doc], "train", group_of[key], related=_related(train.qrels[key], doc, pool))
        for key, text in usable.items()
        for doc in relevant[key]
    )
    return DomainData(collection, {"train": pairs}, pool, groups, plan)


def _related(grades: Mapping[str, int], document: str, pool: Mapping[str, str]) -> tuple[tuple[str, float], ...]:
    """Return the texts judged relevant, but less so than ``document``, with their share of its grade."""
    best = grades[document]
    less = sorted((-grade, other) for other, grade in grades.items() if 0 < grade < best)
    return tuple((pool[other], -grade / best) for grade, other in less)


def frozen_domain_data(spec: FrozenCollection) -> DomainData:
    """Return a task of the package, which has no training pairs but a pool to write queries for."""
    collection = read_frozen(spec)
    return DomainData(collection, {}, collection.texts, {})
