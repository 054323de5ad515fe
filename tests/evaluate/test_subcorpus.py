"""Trials are scored on a part of the corpus that holds what decides a ranking."""

from __future__ import annotations

from stm_agent.domain.collection import Split
from stm_agent.evaluate.subcorpus import subcorpus

DOCUMENTS = {f"d{number}": f"passage {number}" for number in range(200)}
SPLIT = Split("dev-search", {"q": "a question"}, {"q": {"d150": 1}})
RUNS = [{"q": {"d7": 2.0, "d8": 1.0}}, {"q": {"d99": 0.5}}]


def test_judged_documents_and_the_best_of_every_run_are_the_part():
    assert list(subcorpus(DOCUMENTS, SPLIT, RUNS, 1)) == ["d7", "d99", "d150"], "in the order of the corpus"


def test_a_part_of_a_size_is_filled_up_and_is_the_same_again():
    part = subcorpus(DOCUMENTS, SPLIT, RUNS, 1, size=30)
    assert {"d150", "d7", "d99"} <= set(part)
    assert len(part) == 30
    assert list(part) == [name for name in DOCUMENTS if name in part]
    assert part == subcorpus(dict(reversed(DOCUMENTS.items())), SPLIT, RUNS, 1, size=30)


def test_a_corpus_that_is_small_enough_is_taken_whole_and_nothing_is_ranked():
    def none():
        raise AssertionError("nothing needs to be ranked")
        yield

    for size in (200, 0):
        assert subcorpus(DOCUMENTS, SPLIT, none(), 1, size=size) == DOCUMENTS


def test_all_judged_documents_stay_if_there_are_more_than_the_size():
    split = Split("dev-search", {"q": "x"}, {"q": dict.fromkeys(list(DOCUMENTS)[:50], 1)})
    assert set(subcorpus(DOCUMENTS, split, RUNS, 1, size=10)) == set(list(DOCUMENTS)[:50])
