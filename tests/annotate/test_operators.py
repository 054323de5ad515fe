"""Operators find what they ask for however deep it ranks, and texts of a book's length are shown at once."""

from __future__ import annotations

import time

import numpy as np
import pytest

from stm_agent.annotate import finding, spelling
from stm_agent.annotate.schema import ProjectSchema
from stm_agent.annotate.services import documents
from stm_agent.annotate.tables import Document
from stm_agent.evaluate.bm25 import Bm25Index

COUNT = 6000
TEXTS = {f"d{number}": f"fever of case {number} {'rash' if number == COUNT - 2 else 'ache'}" for number in range(COUNT)}
CORPUS = finding.Corpus(TEXTS, {key: {"year": key[1:]} for key in TEXTS}, Bm25Index(TEXTS))
BOOK = "fever " * 5_000_000
ALIKE = np.ones((COUNT, 2), dtype=np.float32)
"""Vectors of a model to which all texts are the same: the order is that of the documents."""


@pytest.mark.parametrize(
    ("typed", "keys"),
    [
        (f"fever year:{COUNT - 1}", [f"d{COUNT - 1}"]),
        ("fever year:none", []),
        ('fever "2 rash"', []),
        ('fever "8 rash"', [f"d{COUNT - 2}"]),
        ("fever -ache", [f"d{COUNT - 2}"]),
        (f"year:{COUNT - 1}", [f"d{COUNT - 1}"]),
    ],
)
def test_an_operator_looks_at_every_document_that_ranks(typed, keys):
    asked = finding.read_query(typed, CORPUS.names)
    assert [key for key, _ in CORPUS.bm25(asked, 5)] == keys
    if asked.words:
        assert [key for key, _ in CORPUS.dense(asked, 5, ALIKE, ALIKE[:1])] == keys


def test_as_many_are_found_as_were_asked_for():
    asked = finding.read_query("fever -rash ", CORPUS.names)
    assert len(CORPUS.bm25(asked, 50)) == 50
    assert len(CORPUS.bm25(asked, COUNT)) == COUNT - 1


def test_a_phrase_that_ranks_nothing_is_found_beside_a_word_that_does():
    asked = finding.read_query('of "ever of case 17 "', CORPUS.names)
    assert [key for key, _ in CORPUS.bm25(asked, 5)] == ["d17"]


def test_a_snippet_shows_the_hits_that_are_in_it():
    text = "x " * 200 + "Fever, fevers and red redness " + "y " * 200 + "fever"
    shown = spelling.snippet(text, "fever red")
    assert [shown["text"][start:end] for start, end in shown["hits"]] == ["Fever", "fevers", "red"]
    assert shown["cut"] == (True, True)
    assert spelling.snippet("nothing", "fever")["hits"] == []
    whole = "fever " * 100
    cut = spelling.SNIPPET + 1
    assert all(end <= spelling.SNIPPET for _, end in spelling.snippet(whole[:cut], "fever")["hits"])


def test_a_book_is_shown_in_a_list_and_found_at_once():
    schema = ProjectSchema.model_validate({"fields": [{"id": "text", "name": "text", "content": True}]})
    row = Document(key="book", fields={"text": " \n" * 500 + BOOK}, tags=[])
    began = time.perf_counter()
    assert documents.brief(schema, row)["snippet"].startswith("fever fever")
    assert spelling.snippet(BOOK, "fever")["hits"][0] == (0, 5)
    assert time.perf_counter() - began < 0.5
