"""Levers search on a part of the corpus that holds what decides a ranking."""

from __future__ import annotations

from stm_agent.domain.collection import Split
from stm_agent.loop.subcorpus import searched_documents

DOCUMENTS = {f"d{number}": f"passage {number} about subject{number}" for number in range(200)}
SPLIT = Split("dev-search", {"q": "what is subject7"}, {"q": {"d150": 1}})


def test_judged_and_hard_documents_are_always_in_the_part():
    part = searched_documents(DOCUMENTS, SPLIT, 30, lambda _split, _depth: {"d99"})
    assert {"d150", "d7", "d99"} <= set(part)
    assert len(part) == 30


def test_the_part_keeps_the_order_of_the_corpus_and_is_the_same_again():
    part = searched_documents(DOCUMENTS, SPLIT, 30)
    assert list(part) == [name for name in DOCUMENTS if name in part]
    assert part == searched_documents(dict(reversed(DOCUMENTS.items())), SPLIT, 30)


def test_a_corpus_that_is_small_enough_is_searched_whole():
    assert searched_documents(DOCUMENTS, SPLIT, 200) == DOCUMENTS
    assert searched_documents(DOCUMENTS, SPLIT, 0) == DOCUMENTS


def test_all_judged_documents_stay_if_there_are_more_than_the_limit():
    split = Split("dev-search", {"q": "x"}, {"q": dict.fromkeys(list(DOCUMENTS)[:50], 1)})
    assert set(searched_documents(DOCUMENTS, split, 10)) == set(list(DOCUMENTS)[:50])
