"""Pairs made of a corpus alone."""

from __future__ import annotations

import pytest

from stm_agent.domain.collection import Collection, Document, Split
from stm_agent.domain.data import DomainData
from stm_agent.domain.unlabelled import pairs_of_source, unlabelled, with_unlabelled

THREE = "The knee is swollen and red. It hurts after long runs. Ice helps for a while."


def data_of(*documents, dev=(), groups=None):
    queries = {str(number): text for number, text in enumerate(dev)}
    splits = {"dev": Split("dev", queries, {key: {documents[0].id: 1} for key in queries})}
    collection = Collection("c", documents, splits, "CC0-1.0", "made up")
    return DomainData(collection, {}, collection.texts, groups or {})


def test_a_title_is_the_query_of_its_text():
    made = unlabelled(
        data_of(
            Document("a", "Swollen knee", "It hurts."),
            Document("b", "", "No title."),
            Document("c", "Only this", "only THIS!"),
            Document("d", "Empty", " "),
        ),
        "titles",
    )
    assert [(pair.query, pair.positive, pair.source) for pair in made.pairs] == [
        ("Swollen knee", "It hurts.", "titles")
    ]
    assert made.left_out == {"no title": 1, "the title is the text": 1, "no text": 1}


def test_a_sentence_is_the_query_of_the_passage_without_it():
    made = unlabelled(
        data_of(Document("a", "Knees", THREE), Document("b", "", "Too short. Two only here now.")), "sentences"
    )
    (pair,) = made.pairs
    assert pair.query in THREE
    assert pair.query not in pair.positive
    assert pair.positive.startswith("Knees ")
    assert sum(part in pair.positive for part in ("swollen", "hurts", "Ice")) == 2
    assert made.left_out == {"too few sentences": 1}


def test_sentences_of_scripts_without_spaces_are_long_enough():
    text = "膝が赤く腫れている状態です。長く走ると痛みます。冷やすと楽になります。"
    (pair,) = unlabelled(data_of(Document("a", "", text)), "sentences").pairs
    assert pair.query.endswith("。")
    assert len(pair.positive) < len(text)


@pytest.mark.parametrize("query", ["swollen KNEE after long runs", "after long runs: swollen knee"])
def test_queries_of_dev_are_left_out_and_counted(query):
    made = unlabelled(
        data_of(
            Document("a", "Swollen knee after long runs", "It hurts."), Document("b", "Other", "Text."), dev=[query]
        ),
        "titles",
    )
    assert [pair.id for pair in made.pairs] == ["titles:b"]
    assert made.left_out == {"nearly a dev or test query": 1}


def test_a_near_duplicate_is_found_among_many_queries():
    words = [f"word{number}" for number in range(30)]
    dev = [" ".join(words[start : start + 10]) for start in range(20)]
    documents = [
        Document("near", " ".join([*words[5:14], "extra"]), "Text one."),
        Document("far", " ".join([*words[5:12], "three", "other", "words"]), "Text two."),
    ]
    assert [pair.id for pair in unlabelled(data_of(*documents, dev=dev), "titles").pairs] == ["titles:far"]


def test_duplicates_and_judged_documents_are_never_each_others_negatives():
    data = data_of(
        Document("a", "Knee", "It hurts."),
        Document("b", "knee!", "It is swollen."),
        Document("c", "Hand", "It hurts."),
        Document("d", "Foot", "It itches."),
        groups={"query": frozenset({"d", "near"})},
    )
    made = unlabelled(data, "titles")
    groups = {pair.id: pair.group for pair in made.pairs}
    assert len({groups[f"titles:{key}"] for key in "abc"}) == 1
    assert groups["titles:d"] == "query"
    together = with_unlabelled(data, ["titles", "written"])
    assert together.groups[groups["titles:a"]] == {"a", "b", "c"}
    assert together.groups["query"] == {"d", "near"}
    assert together.sources["titles"] == pairs_of_source(data, "titles") == made.pairs
    assert pairs_of_source(data, "unknown") == ()
    assert with_unlabelled(data, ["train"]) is data
