"""Cut the splits that a collection lacks, by group, with a seed; and let a small dev split grow from train.

Queries that share a relevant document or a text fall into one split together (:mod:`~stm_agent.domain.groups`), so that
no query is scored whose answer was trained on. What was done is written down in a :class:`SplitPlan`.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from stm_agent.domain.collection import Collection, SameText, Split
from stm_agent.domain.firewall import WAYS_ON
from stm_agent.domain.groups import query_groups, relevant_texts
from stm_agent.domain.text import normalise
from stm_agent.errors import DataError
from stm_agent.files import sha256_text

logger = logging.getLogger(__name__)
ROLES = ("train", "dev", "test")
DEV_QUERIES = 250
"""Queries that dev should have: with fewer, only gains of several hundredths of nDCG@10 can be confirmed."""
MOST_DEV_QUERIES, DEV_SHARE = 500, 0.1
"""Of a large train split a tenth becomes dev, at most 500: more would hardly narrow the intervals."""
MOST_TAKEN = 4
"""Train gives dev at most one query in four."""
SHARED = 0.1
"""Share of dev's own queries that share a relevant document with train, from which queries are taken one by one."""
TEST_SHARE, MOST_TEST_QUERIES, FEWEST_TEST_QUERIES = 0.2, 500, 20
"""A missing test split is a fifth of all queries, at most 500; it is not cut if that is fewer than 20."""


@dataclass(frozen=True, kw_only=True)
class SplitPlan:
    """How the splits of a collection came to be.

    Attributes:
        seed: Seed of the draws.
        moved: New split -> split that queries were taken from -> their ids; empty: the collection's own splits.
        notes: One line for each change.
    """

    seed: int = 0
    moved: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """Return the plan as JSON values, for the record of a run."""
        moved = {to: {name: list(ids) for name, ids in rows.items()} for to, rows in self.moved.items()}
        return {"seed": self.seed, "moved": moved, "notes": list(self.notes)}


def complete_splits(collection: Collection, seed: int = 0) -> tuple[Collection, SplitPlan]:
    """Return a collection with train, dev and test as far as its judgements suffice, and what was done.

    A single split of another name is cut into three. Dev queries that are test queries are left out, since what is
    chosen on them is not held out. A missing test split is cut from train and dev, a missing dev split from train. A
    dev split of fewer than 250 queries, or than a tenth of train up to 500, grows from train, which keeps three queries
    in four.

    Args:
        collection: The collection; its own test split never changes.
        seed: Another seed draws other queries.

    Raises:
        DataError: The collection lacks a dev split and queries to cut one from.
    """
    cutter = _Cutter(collection, seed)
    cutter.rename_single_split()
    cutter.leave_out_test_queries()
    if "test" not in cutter.splits:
        cutter.cut_test()
    if "dev" not in cutter.splits:
        cutter.cut_dev()
    else:
        cutter.grow_dev()
    for note in cutter.notes:
        logger.warning(note)
    plan = SplitPlan(seed=seed, moved=cutter.moved, notes=tuple(cutter.notes))
    changed = cutter.splits != dict(collection.splits)
    return dataclasses.replace(collection, splits=cutter.splits) if changed else collection, plan


class _Cutter:
    """The splits of one collection while they are cut."""

    def __init__(self, collection: Collection, seed: int) -> None:
        self.name, self.seed, self._same_text = collection.name, seed, collection.same_text
        self.splits: dict[str, Split] = dict(collection.splits)
        self.moved: dict[str, dict[str, tuple[str, ...]]] = {}
        self.notes: list[str] = []

    def rename_single_split(self) -> None:
        """Take a single split of another name for train; name splits that are not used."""
        others = sorted(self.splits.keys() - set(ROLES))
        if len(others) == len(self.splits) == 1:
            split = self.splits.pop(others[0])
            self.splits["train"] = dataclasses.replace(split, name="train")
            self.moved["train"] = {others[0]: tuple(split.queries)}
            self.note(f"split '{others[0]}' is cut into train, dev and test")
        elif others:
            self.note(f"splits {', '.join(others)} are not used; a split is named train, dev or test")

    def leave_out_test_queries(self) -> None:
        """Leave queries out of dev that are test queries."""
        dev, test = self.splits.get("dev"), self.splits.get("test")
        if dev is None or test is None:
            return
        held = _texts_of([test])
        kept = {query for query, text in dev.queries.items() if normalise(text) not in held}
        if len(kept) == len(dev.queries):
            return
        self.note(
            f"{len(dev.queries) - len(kept)} of {len(dev.queries)} dev queries are test queries as well; left out"
        )
        if kept:
            self.splits["dev"] = dev.only(kept, "dev")
        else:
            del self.splits["dev"]

    def cut_test(self) -> None:
        """Cut test from train and dev, groups without a dev query first; leave it out if there are too few queries."""
        sources = [self.splits[name] for name in ("train", "dev") if name in self.splits]
        total = sum(len(split.queries) for split in sources)
        target = min(MOST_TEST_QUERIES, int(total * TEST_SHARE))
        if target < FEWEST_TEST_QUERIES:
            needed = round(FEWEST_TEST_QUERIES / TEST_SHARE)
            self.note(f"no test split, and its {total} queries are too few to cut one of ({needed} are needed)")
            return
        dev = self.splits["dev"].queries.keys() if "dev" in self.splits else frozenset[str]()
        groups = sorted(query_groups(_union(sources), self._same_text), key=lambda group: not dev.isdisjoint(group))
        free = [group for group in groups if dev.isdisjoint(group)]
        chosen = self._draw(free, target, "test")
        chosen += self._draw(groups[len(free) :], target - len(chosen), "test")
        if not chosen:
            self.note("no test split, and its queries share their relevant documents, so that none can be cut")
            return
        self._move("test", chosen, [split.name for split in sources])
        self.note(f"no test split: {len(chosen)} of {total} queries became it, by group, seed {self.seed}")

    def cut_dev(self) -> None:
        """Cut dev from train; by query if the groups of train are too large to be cut.

        Raises:
            DataError: The collection lacks a train split, or has one that is too small.
        """
        train = self.splits.get("train")
        if train is None:
            only = "its test split, which is never cut; name it qrels/all.tsv to have it cut into three"
            reason = only if "test" in self.splits else "no judgements"
            raise DataError(
                f"collection {self.name} has no dev split and no train split to take one from, only {reason}, {WAYS_ON}"
            )
        count = len(train.queries)
        target = min(_dev_size(count), count // MOST_TAKEN)
        if not target:
            raise DataError(
                f"collection {self.name} has no dev split and only {count} train queries; add qrels/dev.tsv, {WAYS_ON}"
            )
        chosen, unit = self._draw(self._free_groups(), target, "dev"), "group"
        if not chosen:
            held = self._held_texts()
            free = [(query,) for query in sorted(train.queries) if normalise(train.queries[query]) not in held]
            chosen, unit = self._draw(free, target, "dev"), "query"
        if not chosen:
            raise DataError(
                f"collection {self.name} has no dev split of its own, and its train queries are test queries; add "
                f"qrels/dev.tsv with other queries, {WAYS_ON}"
            )
        self._move("dev", chosen, ["train"])
        text = f"no dev split: {len(chosen)} of {count} train queries became it, by {unit}, seed {self.seed}"
        if unit == "query":
            text += "; they share relevant documents with train, so dev scores are too high"
        self.note(text)

    def grow_dev(self) -> None:
        """Move train queries into a small dev split, as its owner split them: by group, or one by one.

        If the dev queries that are there share relevant documents with train, a part that shares none would measure
        something else than they do.
        """
        train, before = self.splits.get("train"), len(self.splits["dev"].queries)
        if train is None or before >= _dev_size(len(train.queries)):
            return
        if train.synthetic or self.splits["dev"].synthetic:
            # Written queries are split by document, and what people judged is not mixed with them.
            return
        count = len(train.queries)
        shared = _shared_documents(self.splits["dev"], train, self._same_text)
        groups, unit = self._free_groups(), "by group"
        if shared >= SHARED:
            unit = f"one by one, as {shared:.0%} of these share a relevant document with train"
            groups = [(query,) for group in groups for query in group]
        chosen = self._draw(groups, min(_dev_size(count) - before, count // MOST_TAKEN), "dev")
        if chosen:
            self._move("dev", chosen, ["train"])
            self.note(
                f"small dev split: {len(chosen)} of {count} train queries joined its {before}, {unit}, seed "
                f"{self.seed}; the more there are, the smaller the gains that can be confirmed"
            )

    def note(self, text: str) -> None:
        """Write one line down."""
        self.notes.append(f"{self.name}: {text}")

    def _free_groups(self) -> list[tuple[str, ...]]:
        """Return the groups of train of which no text is a query of another split as well."""
        train = self.splits["train"]
        held = self._held_texts()
        return [
            group
            for group in query_groups(train, self._same_text)
            if not any(query in train.queries and normalise(train.queries[query]) in held for query in group)
        ]

    def _held_texts(self) -> set[str]:
        """Return the texts of the queries of all splits but train."""
        return _texts_of(split for name, split in self.splits.items() if name != "train")

    def _draw(self, groups: Sequence[tuple[str, ...]], target: int, role: str) -> list[str]:
        """Return queries of whole groups, in an order by hash, as many as fit ``target``."""
        chosen: list[str] = []
        for group in sorted(groups, key=lambda group: sha256_text(f"{role}:{self.seed}:{group[0]}")):
            if len(chosen) + len(group) <= target:
                chosen += group
        return chosen

    def _move(self, role: str, queries: Iterable[str], sources: Sequence[str]) -> None:
        wanted = frozenset(queries)
        parts = [self.splits[role]] if role in self.splits else []
        for name in sources:
            source = self.splits[name]
            taken = source.only(wanted, role)
            rest = source.only(source.queries.keys() - wanted, name)
            if taken.queries:
                parts.append(taken)
                self.moved.setdefault(role, {})[name] = tuple(taken.queries)
            self.splits[name] = rest
            if not rest.queries:
                del self.splits[name]
        self.splits[role] = dataclasses.replace(_union(parts), name=role)


def _texts_of(splits: Iterable[Split]) -> set[str]:
    return {normalise(text) for split in splits for text in split.queries.values()}


def _dev_size(train: int) -> int:
    """Return how many queries dev should have if there are ``train`` train queries."""
    return max(DEV_QUERIES, min(MOST_DEV_QUERIES, int(train * DEV_SHARE)))


def _shared_documents(split: Split, train: Split, same_text: SameText) -> float:
    """Return the share of a split's queries that have a relevant document of a train query."""
    known = relevant_texts(train, same_text)
    hits = sum(not known.isdisjoint(relevant_texts(split, same_text, [query])) for query in split.queries)
    return hits / max(1, len(split.queries))


def _union(splits: Sequence[Split]) -> Split:
    """Return one split with the queries of several; a query of two has the judgements of both."""
    queries: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    ignored = frozenset(query for split in splits for query in split.ignored_ids)
    for split in splits:
        for query, text in split.queries.items():
            queries.setdefault(query, text)
            qrels[query] = {**split.qrels[query], **qrels.get(query, {})}
    return Split("", queries, qrels, ignored, any(split.synthetic for split in splits))
