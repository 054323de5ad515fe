"""Splits that are missing are cut by group, with a seed, and written down."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

import pytest

from stm_agent.domain.collection import Collection, Document, Split
from stm_agent.domain.firewall import require_judged
from stm_agent.domain.groups import query_groups
from stm_agent.domain.sources import judged_domain_data
from stm_agent.domain.splitting import complete_splits
from stm_agent.errors import DataError
from stm_agent.loop.halves import cut_dev


def judged(name: str, first: int, queries: int, per_document: int = 2, text: str = "question") -> Split:
    """Return a split of which every ``per_document`` queries in a row share their relevant document."""
    names = [f"q{number}" for number in range(first, first + queries)]
    grades = {key: {f"d{int(key[1:]) // per_document}": 1} for key in names}
    return Split(name, {key: f"{text} number {key}" for key in names}, grades)


def collection(*splits: Split) -> Collection:
    ids = {document for split in splits for row in split.qrels.values() for document in row}
    documents = tuple(Document(key, "", f"passage {key}") for key in sorted(ids))
    return Collection("made", documents, {split.name: split for split in splits}, "", "")


def sizes(splits: Mapping[str, Split]) -> dict[str, int]:
    return {name: len(split.queries) for name, split in splits.items()}


def relevant(split: Split) -> set[str]:
    return {document for row in split.qrels.values() for document in row}


def test_one_big_file_becomes_three_splits_that_share_no_document() -> None:
    whole = collection(judged("all", 0, 2000))
    cut, plan = complete_splits(whole)
    assert sizes(cut.splits) == {"train": 1350, "test": 400, "dev": 250}
    documents = [relevant(split) for split in cut.splits.values()]
    assert sum(map(len, documents)) == len(set().union(*documents))
    assert plan.moved["train"]["all"] == tuple(whole.splits["all"].queries)
    assert set(plan.moved["test"]["train"]) == set(cut.splits["test"].queries)
    assert json.loads(json.dumps(plan.to_json()))["seed"] == 0
    assert len(plan.notes) == 3
    assert judged_domain_data(whole).splits == plan


def test_the_same_seed_cuts_the_same_and_another_one_does_not() -> None:
    whole = collection(judged("train", 0, 2000))
    first, again, other = (complete_splits(whole, seed)[0] for seed in (0, 0, 1))
    assert first.content_hash == again.content_hash
    assert first.content_hash != other.content_hash


def test_dev_is_cut_by_document_not_by_query() -> None:
    cut, plan = complete_splits(collection(judged("train", 0, 1000, per_document=5), judged("test", 5000, 50)))
    assert sizes(cut.splits) == {"train": 750, "test": 50, "dev": 250}
    assert not relevant(cut.splits["train"]) & relevant(cut.splits["dev"])
    assert plan.notes == ("made: no dev split: 250 of 1000 train queries became it, by group, seed 0",)


def test_a_large_train_split_gives_a_tenth_and_500_at_most() -> None:
    test = judged("test", 50_000, 50)
    assert sizes(complete_splits(collection(judged("train", 0, 4000), test))[0].splits)["dev"] == 400
    assert sizes(complete_splits(collection(judged("train", 0, 8000), test))[0].splits)["dev"] == 500


def test_a_small_dev_split_grows_from_train() -> None:
    splits = judged("train", 0, 716), judged("dev", 2000, 93), judged("test", 5000, 50)
    cut, plan = complete_splits(collection(*splits))
    assert sizes(cut.splits) == {"train": 560, "dev": 249, "test": 50}, "whole groups of two"
    assert set(splits[1].queries) < set(cut.splits["dev"].queries)
    assert not relevant(cut.splits["train"]) & relevant(cut.splits["dev"])
    assert "156 of 716 train queries joined its 93, by group" in plan.notes[0]


def test_a_small_dev_split_that_shares_documents_with_train_grows_by_queries_that_do_too() -> None:
    # Of every three queries of a document two are train's and one is dev's, as whoever split them drew them.
    whole = judged("all", 0, 900, 3)
    own = [key for key in whole.queries if int(key[1:]) % 9 == 0]
    train = whole.only(whole.queries.keys() - set(own), "train")
    cut, plan = complete_splits(collection(train, whole.only(own, "dev"), judged("test", 5000, 50)))
    added = cut.splits["dev"].only(cut.splits["dev"].queries.keys() - set(own), "dev")
    assert len(added.queries) == 150
    known = relevant(cut.splits["train"])
    shared = sum(not known.isdisjoint(row) for row in added.qrels.values()) / len(added.queries)
    assert shared > 0.7
    assert "one by one, as 100% of these share a relevant document with train" in plan.notes[0]


@pytest.mark.parametrize(
    ("train", "dev", "grown"), [(40, 20, 30), (3, 20, 20), (2000, 250, 250), (2000, 1, 249), (4000, 250, 400)]
)
def test_dev_grows_to_a_tenth_and_by_a_quarter_of_train_at_most(train: int, dev: int, grown: int) -> None:
    splits = judged("train", 0, train), judged("dev", 5000, dev), judged("test", 8000, 50)
    assert sizes(complete_splits(collection(*splits))[0].splits)["dev"] == grown


def test_a_train_query_that_is_a_test_query_never_joins_dev() -> None:
    train, test = judged("train", 0, 400, 1), judged("test", 5000, 400, 1)
    test = dataclasses.replace(test, queries=dict(zip(test.queries, train.queries.values(), strict=True)))
    cut, plan = complete_splits(collection(train, judged("dev", 2000, 10), test))
    assert sizes(cut.splits)["dev"] == 10
    assert plan.moved == {}


def test_dev_queries_that_are_test_queries_are_left_out() -> None:
    train, dev, test = judged("train", 0, 100, 1), judged("dev", 2000, 300), judged("test", 5000, 100)
    texts = dict(zip(list(dev.queries)[:100], test.queries.values(), strict=True))
    shared = dataclasses.replace(dev, queries={**dev.queries, **texts})
    cut, plan = complete_splits(collection(train, shared, test))
    assert sizes(cut.splits) == {"train": 75, "dev": 225, "test": 100}
    assert not set(cut.splits["dev"].queries.values()) & set(test.queries.values())
    assert plan.notes[0] == "made: 100 of 300 dev queries are test queries as well; left out"
    one, plan = complete_splits(collection(train, dataclasses.replace(test, name="dev"), test))
    assert sizes(one.splits) == {"train": 75, "dev": 25, "test": 100}
    assert plan.notes[0] == "made: 100 of 100 dev queries are test queries as well; left out"
    assert plan.notes[1].startswith("made: no dev split: 25 of 100 train queries became it")


def test_one_set_of_queries_cannot_be_train_dev_and_test() -> None:
    test = judged("test", 0, 100)
    same = [dataclasses.replace(test, name=name) for name in ("train", "dev", "test")]
    with pytest.raises(DataError, match=r"its train queries are test queries; add qrels/dev\.tsv with other queries"):
        complete_splits(collection(*same))


def test_queries_whose_documents_have_one_text_are_one_group() -> None:
    split = Split("s", {"1": "x", "2": "y", "3": "z"}, {"1": {"a": 1}, "2": {"b": 1}, "3": {"c": 1}})
    documents = tuple(Document(key, "", text) for key, text in {"a": "same", "b": "same ", "c": "else"}.items())
    same_text = Collection("c", documents, {}, "", "").same_text
    assert same_text == {"a": ("a", "b"), "b": ("a", "b")}
    assert query_groups(split, same_text) == [("1", "2"), ("3",)]
    halves = cut_dev(split, same_text=same_text)
    assert halves.groups["1"] == halves.groups["2"]


def test_whole_splits_stay_as_they_are() -> None:
    whole = collection(judged("train", 0, 900), judged("dev", 2000, 300), judged("test", 5000, 50))
    cut, plan = complete_splits(whole)
    assert cut is whole
    assert not plan.notes


def test_test_is_cut_from_train_and_leaves_a_large_dev_alone() -> None:
    cut, plan = complete_splits(collection(judged("train", 0, 1000), judged("dev", 5000, 300)))
    assert sizes(cut.splits) == {"train": 740, "dev": 300, "test": 260}
    assert plan.moved["test"].keys() == {"train"}
    assert not relevant(cut.splits["train"]) & relevant(cut.splits["test"])


def test_dev_alone_gives_a_test_split() -> None:
    assert sizes(complete_splits(collection(judged("dev", 0, 300)))[0].splits) == {"dev": 240, "test": 60}


def test_too_few_queries_for_a_test_split_say_the_two_ways_on() -> None:
    data = judged_domain_data(collection(judged("train", 0, 40), judged("dev", 5000, 20)))
    assert "its 60 queries are too few to cut one of (100 are needed)" in data.splits.notes[0]
    with pytest.raises(DataError, match=r"has no test split; add qrels/test.tsv, or .*stm-agent annotate"):
        require_judged(data.collection)


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ([judged("test", 0, 300)], r"only its test split, which is never cut; name it qrels/all\.tsv"),
        ([judged("train", 0, 3), judged("test", 5000, 50)], "has no dev split and only 3 train queries"),
        ([judged("a", 0, 300), judged("b", 5000, 300)], "no dev split and no train split to take one from"),
    ],
)
def test_what_cannot_be_cut_is_one_line_with_the_ways_on(splits: list[Split], message: str) -> None:
    with pytest.raises(DataError, match=rf"{message}.*stm-agent annotate") as caught:
        complete_splits(collection(*splits))
    assert "\n" not in str(caught.value)


def test_queries_that_all_share_a_document_are_cut_one_by_one_and_it_is_said() -> None:
    cut, plan = complete_splits(collection(judged("train", 0, 200, per_document=1000), judged("test", 5000, 50)))
    assert sizes(cut.splits) == {"train": 150, "test": 50, "dev": 50}
    assert "by query, seed 0; they share relevant documents with train" in plan.notes[0]


def test_splits_of_other_names_are_named() -> None:
    whole = collection(
        judged("train", 0, 900), judged("dev", 2000, 300), judged("test", 5000, 50), judged("x", 9000, 4)
    )
    assert complete_splits(whole)[1].notes == ("made: splits x are not used; a split is named train, dev or test",)


def test_groups_share_a_document_or_a_text() -> None:
    texts = {"1": "red knee", "2": "Red knee!", "3": "elbow", "4": "hip", "5": "🩺", "6": "🦷"}
    qrels = {"1": {"a": 1}, "2": {"b": 1}, "3": {"b": 2, "c": 0}, "4": {"c": 1}, "5": {"e": 1}, "6": {"f": 1}}
    assert query_groups(Split("s", texts, qrels)) == [("1", "2", "3"), ("4",), ("5",), ("6",)]
