"""Dev is cut by group, the same way everywhere, and no size of it crashes."""

from __future__ import annotations

import pytest

from stm_agent.domain.collection import Split
from stm_agent.errors import DataError
from stm_agent.loop.halves import ACCEPT_SHARE, FEWEST_GROUPS, SMALL, DevHalves, cut_dev


def split(documents: list[str], texts: list[str] | None = None) -> Split:
    """Return one query for each list of space-separated relevant documents."""
    words = texts or [f"text {number}" for number in range(len(documents))]
    queries = {f"q{number}": word for number, word in enumerate(words)}
    qrels = {f"q{number}": dict.fromkeys(row.split(), 1) for number, row in enumerate(documents)}
    return Split("dev", queries, qrels)


def plain(count: int) -> Split:
    return split([f"d{number}" for number in range(count)])


def sides(halves: DevHalves, queries: set[str]) -> set[str]:
    return {"search" if query in halves.search else "accept" for query in queries}


def test_halves_are_all_of_dev_and_share_no_query():
    halves = cut_dev(plain(101))
    assert sorted(halves.search + halves.accept) == sorted(plain(101).queries)
    assert len(halves.accept) == round(ACCEPT_SHARE * 101)


def test_queries_with_a_common_document_stay_together_through_others():
    chained = split([f"d{number}" for number in range(40)] + ["x y", "y z", "z"])
    for seed in range(8):
        halves = cut_dev(chained, seed)
        assert len(sides(halves, {"q40", "q41", "q42"})) == 1
        assert halves.groups["q40"] == halves.groups["q42"] != halves.groups["q0"]


def test_a_document_of_grade_0_makes_no_group():
    dev = plain(20)
    judged = Split("dev", dev.queries, {query: {**row, "shared": 0} for query, row in dev.qrels.items()})
    assert len(set(cut_dev(judged).groups.values())) == 20


def test_queries_of_one_text_stay_together():
    texts = [f"text {number}" for number in range(30)] + ["The  same?", "the same"]
    for seed in range(8):
        assert len(sides(cut_dev(split([f"d{n}" for n in range(32)], texts), seed), {"q30", "q31"})) == 1


def test_texts_without_a_word_are_not_one_text():
    halves = cut_dev(split([f"d{number}" for number in range(20)], ["?" * (number + 1) for number in range(20)]))
    assert len(set(halves.groups.values())) == 20


def test_no_half_is_further_from_its_share_than_the_largest_group():
    documents = [f"big{number // 9}" for number in range(45)] + [f"d{number}" for number in range(30)]
    halves = cut_dev(split(documents))
    assert halves.mode == "halves"
    assert abs(len(halves.accept) - ACCEPT_SHARE * 75) <= 9


def test_the_cut_does_not_depend_on_the_order_of_the_queries():
    dev = plain(50)
    turned = Split("dev", dict(reversed(dev.queries.items())), dict(reversed(dev.qrels.items())))
    assert cut_dev(dev) == cut_dev(turned)
    assert cut_dev(dev, 0).search != cut_dev(dev, 1).search


@pytest.mark.parametrize("count", [1, 2, 3, 4, FEWEST_GROUPS - 1])
def test_a_few_queries_are_not_cut_and_the_user_is_told(count: int):
    halves = cut_dev(plain(count))
    assert halves.mode == "whole"
    assert halves.search == halves.accept == tuple(sorted(plain(count).queries))
    assert "too few to cut" in halves.note


@pytest.mark.parametrize("count", [FEWEST_GROUPS, SMALL - 1, SMALL])
def test_no_half_is_empty_and_a_small_dev_set_is_announced(count: int):
    halves = cut_dev(plain(count))
    assert min(len(halves.search), len(halves.accept)) >= count // 3
    assert halves.small == halves.note.startswith("small") == (count < SMALL)


def test_many_queries_of_one_document_are_not_cut():
    assert cut_dev(split(["d"] * 80)).mode == "whole"


def test_dev_without_queries_is_refused():
    with pytest.raises(DataError, match="has no query"):
        cut_dev(Split("dev", {}, {}))
