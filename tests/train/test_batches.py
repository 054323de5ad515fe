"""Batches hold no false negatives, and rows say what they lack."""

from __future__ import annotations

import pytest

from stm_agent.domain.data import Pair
from stm_agent.domain.spec import ExpertSpec, NegativeSpec
from stm_agent.errors import DataError
from stm_agent.mine.negatives import Negative
from stm_agent.train.batches import GroupedBatches
from stm_agent.train.data import training_rows

GROUPS = [f"g{row // 3}" for row in range(30)]
TEXTS = [(f"q{row}", f"p{row // 3}") for row in range(30)]


def pairs_of(count):
    return [Pair(f"id{n}", f"question {n}", f"answer {n}", "train", f"g{n}", (f"near {n}",)) for n in range(count)]


def expert(**negatives):
    return ExpertSpec(name="plain", sources=("train",), steps=1, negatives=NegativeSpec(**negatives))


def test_no_two_rows_share_a_group():
    for batch in GroupedBatches(GROUPS, TEXTS, 6, 40, seed=0):
        assert len({GROUPS[row] for row in batch}) == len(batch) == 6


def test_no_two_rows_share_a_text():
    texts = [(f"q{row}", "One  Answer" if row < 3 else "one answer" if row < 6 else f"p{row}") for row in range(30)]
    for batch in GroupedBatches([str(row) for row in range(30)], texts, 8, 20, seed=0):
        assert sum(row < 6 for row in batch) <= 1


def test_a_pass_uses_every_row():
    seen = [row for batch in GroupedBatches(GROUPS, TEXTS, 5, 60, seed=0) for row in batch]
    counts = [seen.count(row) for row in range(30)]
    assert min(counts) >= 9
    assert max(counts) <= 11


def test_the_seed_decides_the_order():
    plans = [list(GroupedBatches(GROUPS, TEXTS, 6, 10, seed)) for seed in (1, 1, 2)]
    assert plans[0] == plans[1] != plans[2]


def test_a_batch_is_no_larger_than_there_are_groups():
    assert [len(batch) for batch in GroupedBatches(["a", "a", "b"], [("x",), ("y",), ("z",)], 32, 2, seed=0)] == [2, 2]


def test_neighbours_follow_a_row_into_its_batch_and_share_no_group_with_it():
    pairs = [(row, row + 1 if row % 2 == 0 else row - 1) for row in range(30)]
    neighbours = [[other] for _, other in pairs]
    groups = [str(row) for row in range(30)]
    texts = [(f"q{row}",) for row in range(30)]
    plan = list(GroupedBatches(groups, texts, 6, 20, 0, neighbours=neighbours, joining=1))
    assert all(len(set(batch)) == 6 for batch in plan)
    assert all({row ^ 1 for row in batch} == set(batch) for batch in plan)
    alone = list(GroupedBatches(groups, texts, 6, 20, 0))
    assert sum((row ^ 1) in batch for batch in alone for row in batch) < 60
    same_group = GroupedBatches([str(row // 2) for row in range(30)], texts, 6, 20, 0, neighbours=neighbours, joining=1)
    assert not any((row ^ 1) in batch for batch in same_group for row in batch)


def test_every_visit_of_a_row_takes_its_next_copy():
    seen = [row for batch in GroupedBatches(["a", "b"], [("x",), ("y",)], 2, 5, 0, copies=3) for row in batch]
    assert [row for row in seen if row % 2 == 0] == [0, 2, 4, 0, 2]
    assert [row for row in seen if row % 2 == 1] == [1, 3, 5, 1, 3]


def test_every_query_has_one_prompt_of_the_pool_by_a_draw_that_stays():
    pool = ["a: ", "b: ", "c: "]
    drawn = [training_rows(pairs_of(60), {}, expert(), query_prefix="q: ", prompts=pool) for _ in range(2)]
    assert drawn[0].columns == drawn[1].columns
    counts = [sum(text.startswith(prompt) for text in drawn[0].columns["query"]) for prompt in pool]
    assert sum(counts) == 60
    assert min(counts) > 8
    assert drawn[0].columns["positive"][0] == "answer 0"


def test_prefixes_are_written_into_the_texts():
    rows = training_rows(pairs_of(2), {}, expert(), query_prefix="Find\nQuery: ", passage_prefix="P: ")
    assert rows.columns == {
        "query": ["Find\nQuery: question 0", "Find\nQuery: question 1"],
        "positive": ["P: answer 0", "P: answer 1"],
    }
    assert rows.skipped == {}


def test_missing_negatives_are_filled_and_counted():
    found = {"id0": (Negative("mined 0", "bm25"), Negative("written 0", "synthetic"))}
    rows = training_rows(pairs_of(5), found, expert(mined=1, synthetic=1), passage_prefix="P: ")
    assert [rows.columns[f"negative_{n}"][0] for n in (1, 2)] == ["P: mined 0", "P: written 0"]
    assert rows.columns["negative_1"][1] == "P: near 1"
    assert rows.columns["negative_2"][1] in {"P: answer 0", "P: answer 2", "P: answer 3", "P: answer 4"}
    assert rows.skipped == {"hard negative missing, a random one taken": 4}


def test_useless_pairs_are_left_out_and_counted():
    pairs = [*pairs_of(2), Pair("e", " ", "answer", "train", "e"), Pair("s", "same", "same ", "train", "s")]
    rows = training_rows(pairs, {}, expert())
    assert len(rows) == 2
    assert rows.skipped == {"empty text, left out": 1, "query is its own positive, left out": 1}
    with pytest.raises(DataError, match="expert plain has no usable training pair"):
        training_rows(pairs[2:], {}, expert())


def test_another_copy_shows_the_next_structural_negative():
    pairs = [Pair("a", "q", "p", "train", "g", ("n0", "n1", "n2")), Pair("b", "r", "s", "train", "h", ("m0",))]
    rows = training_rows(pairs, {}, expert(structural=1))
    assert (rows.copies, len(rows)) == (3, 2)
    assert rows.columns["query"] == ["q", "r"] * 3
    assert rows.columns["negative_1"] == ["n0", "m0", "n1", "m0", "n2", "m0"]
    assert rows.texts()[0] == ["q", "p", "n0", "q", "p", "n1", "q", "p", "n2"]


def test_aliases_take_turns_and_are_asked_like_queries():
    pairs = [Pair("a", "q", "p", "train", "g", (), ("one", "two")), Pair("b", "r", "s", "train", "h")]
    spec = expert().model_copy(update={"alias_weight": 0.3})
    rows = training_rows(pairs, {}, spec, query_prefix="Q: ")
    assert rows.columns["alias"] == ["Q: one", "Q: r", "Q: two", "Q: r"]
    assert rows.skipped == {"no other name, the query stands for it": 1}
    assert "alias" not in training_rows(pairs, {}, expert()).columns


def test_neighbours_are_rows_whose_positive_is_a_structural_neighbour():
    pairs = [
        Pair("a", "q", "p", "t", "g", ("s", "elsewhere")),
        Pair("b", "r", "s", "t", "h"),
        Pair("c", "u", "s", "t", "h"),
    ]
    assert training_rows(pairs, {}, expert().model_copy(update={"neighbours": 1})).neighbours == [[1, 2], [], []]
    assert training_rows(pairs, {}, expert()).neighbours == []
