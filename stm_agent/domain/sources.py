"""Training data of collections that have no other structure than their judgements."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from stm_agent.domain.collection import Collection, Split
from stm_agent.domain.collection_spec import FrozenCollection
from stm_agent.domain.data import DomainData, Pair
from stm_agent.domain.firewall import WAYS_ON
from stm_agent.domain.frozen_tasks import read_frozen
from stm_agent.domain.held import HeldQueries
from stm_agent.domain.splitting import SplitPlan, complete_splits
from stm_agent.domain.text import normalise
from stm_agent.errors import DataError

logger = logging.getLogger(__name__)


def judged_domain_data(collection: Collection) -> DomainData:
    """Make training pairs of a collection's train split: one for each query and relevant document.

    Splits that are missing are cut first (:mod:`~stm_agent.domain.splitting`). Train queries whose text is also a dev
    or test query are left out and counted; those that nearly are one stay, and are counted in a warning.

    Raises:
        DataError: There is neither a dev split nor a train split to take one from.
    """
    collection, plan = complete_splits(collection)
    train = collection.splits.get("train", Split("train", {}, {}))
    held = HeldQueries.of(collection)
    data = _train_data(collection, train, held.texts, plan)
    asked = list(dict.fromkeys(pair.query for pair in data.sources["train"]))
    if near := sum(map(held.has, asked)):
        logger.warning(
            "%s: %d of %d train queries nearly are dev or test queries; they stay, so scores may be too high where "
            "they ask the same",
            collection.name,
            near,
            len(asked),
        )
    return data


def train_domain_data(collection: Collection) -> DomainData:
    """Make training pairs of the train split of a collection that nothing is scored on; no split is cut from it.

    Raises:
        DataError: The train split is missing.
    """
    if "train" not in collection.splits:
        raise DataError(f"collection {collection.name} has no train split to learn from; add qrels/train.tsv")
    return _train_data(collection, collection.splits["train"], frozenset(), SplitPlan())


def _train_data(collection: Collection, train: Split, held: frozenset[str], plan: SplitPlan) -> DomainData:
    usable, pool = _not_held(collection.name, train.queries, held), collection.texts
    relevant = {key: sorted(doc for doc, grade in train.qrels[key].items() if grade > 0) for key in usable}
    # Queries with one text are one group: the positives of each are relevant to the others.
    first: dict[str, str] = {}
    group_of = {key: first.setdefault(normalise(text), key) for key, text in usable.items()}
    groups: dict[str, frozenset[str]] = {}
    for key, group in group_of.items():
        itself = {key} if key in train.ignored_ids else set()
        never = itself.union(*(collection.same_text.get(document, (document,)) for document in relevant[key]))
        groups[group] = groups.get(group, frozenset()) | never
    pairs = tuple(
        Pair(f"{key}:{doc}", text, pool[doc], "train", group_of[key], related=_related(train.qrels[key], doc, pool))
        for key, text in usable.items()
        for doc in relevant[key]
    )
    return DomainData(collection, {"train": pairs}, pool, groups, plan)


def _not_held(name: str, queries: Mapping[str, str], held: frozenset[str]) -> dict[str, str]:
    """Return the train queries whose text is not that of a dev or test query."""
    usable = {key: text for key, text in queries.items() if normalise(text) not in held}
    if left_out := len(queries) - len(usable):
        rest = "" if usable else f"; none is left to learn from: add others to qrels/train.tsv, {WAYS_ON}"
        count = f"{left_out} train queries" if usable else f"all {left_out} train queries"
        logger.warning("%s: %s are also dev or test queries; left out%s", name, count, rest)
    return usable


def _related(grades: Mapping[str, int], document: str, pool: Mapping[str, str]) -> tuple[tuple[str, float], ...]:
    """Return the texts judged relevant, but less so than ``document``, with their share of its grade."""
    best = grades[document]
    less = sorted((-grade, other) for other, grade in grades.items() if 0 < grade < best)
    return tuple((pool[other], -grade / best) for grade, other in less)


def frozen_domain_data(spec: FrozenCollection) -> DomainData:
    """Return a task of the package, which has no training pairs but a pool to write queries for."""
    collection = read_frozen(spec)
    return DomainData(collection, {}, collection.texts, {})
