from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from stm_agent.domain.build import build_collection
from stm_agent.domain.hpo import hpo_material
from stm_agent.domain.obo import Ontology, Term
from stm_agent.domain.spec import HpoCollection
from stm_agent.domain.text import normalise

SPEC = HpoCollection(documents=30, test_share=0.3, dev_share=0.2)


def test_parser_reads_what_retrieval_needs(obo: Callable[..., Ontology]):
    ontology = obo()
    assert (ontology.version, ontology.licence) == ("hp/releases/2025-01-16", "https://hpo.jax.org/app/license")
    assert len(ontology.terms) == 80, "obsolete terms and terms without a definition are left out"
    assert ontology.terms[10] == Term(
        id="P:11",
        definition='A "finding" that is number 11.',
        lay=("Plain words 11", "plain, WORDS 11"),
        clinical=("Clinical name 11", "Other name 11 (layperson)"),
        parents=("P:1",),
    )


def test_a_definition_may_hold_a_line_separator(obo: Callable[..., Ontology]):
    terms = obo('\n[Term]\nid: X:1\nname: X\ndef: "One line\u2028and another." []\n').terms
    assert terms[-1].definition == "One line and another."


def test_no_concept_of_dev_or_test_is_trained_on(obo: Callable[..., Ontology]):
    # A term in training that carries a held term's words, and one that carries its definition.
    plain = hpo_material(obo(), SPEC)
    held = {doc for name in ("dev", "test") for row in plain.collection.splits[name].qrels.values() for doc in row}
    number = sorted(held)[0].removeprefix("P:")
    extra = (
        f'\n[Term]\nid: X:1\nname: Plain Words {number}!\ndef: "Something else." []\n'
        f'\n[Term]\nid: X:2\nname: Unseen\ndef: "A finding that is number {number}" []\n'
    )
    material = hpo_material(obo(extra), SPEC)
    queries = {normalise(text) for split in material.collection.splits.values() for text in split.queries.values()}
    definitions = {material.collection.texts[doc] for doc in held}
    pairs = [pair for pairs in material.sources.values() for pair in pairs]
    assert len(pairs) > 80
    assert len({pair.id for pair in pairs}) == len(pairs)
    assert not {pair.group for pair in pairs} & held
    assert not {normalise(pair.query) for pair in pairs} & queries
    for texts in ({pair.positive for pair in pairs}, set(material.pool.values())):
        assert not texts & definitions
    assert not {text for pair in pairs for text in pair.structural} & definitions
    assert "X:2" not in material.pool


def test_corpus_and_splits(obo: Callable[..., Ontology]):
    collection = hpo_material(obo(), SPEC).collection
    assert len(collection.documents) == 30
    assert "2025-01-16" in collection.source
    assert {name: len(split.queries) for name, split in collection.splits.items()} == {"test": 9, "dev": 11}
    dev, test = (set(collection.splits[name].qrels) for name in ("dev", "test"))
    assert not dev & test
    # Every term here has one synonym in two spellings: one query, one document.
    asked = [doc for split in collection.splits.values() for row in split.qrels.values() for doc in row]
    assert len(asked) == len(set(asked)) == 20


def test_same_words_of_two_terms_are_one_query_with_two_documents(obo: Callable[..., Ontology]):
    before = hpo_material(obo(), SPEC).collection
    key, text = next(iter(before.splits["test"].queries.items()))
    extra = f'\n[Term]\nid: Y:1\nname: Other\ndef: "Quite another." []\nsynonym: "{text.upper()}" EXACT layperson []\n'
    after = hpo_material(obo(extra), SPEC.model_copy(update={"documents": 80})).collection
    assert after.splits["test"].qrels[key] == {key.split("/")[0]: 1, "Y:1": 1}
    assert sum(normalise(text) == normalise(query) for s in after.splits.values() for query in s.queries.values()) == 1


def test_parents_can_be_relevant(obo: Callable[..., Ontology]):
    graded = hpo_material(obo(), SPEC.model_copy(update={"parent_grade": 1})).collection
    grades = [grade for split in graded.splits.values() for row in split.qrels.values() for grade in row.values()]
    assert set(grades) == {1, 2}
    for split in graded.splits.values():
        assert all(row[key.split("/")[0]] == 2 for key, row in split.qrels.items())


def test_negatives_are_siblings_and_never_near(obo: Callable[..., Ontology]):
    material = hpo_material(obo(), SPEC)
    by_text = {text: key for key, text in material.pool.items()}
    for pair in material.sources["clinical"]:
        near = material.groups[pair.group]
        assert pair.group in near
        for text in pair.structural:
            assert by_text[text] not in near
            assert int(by_text[text][2:]) // 10 == int(pair.group[2:]) // 10
    child = next(pair.group for pair in material.sources["clinical"] if int(pair.group[2:]) > 19)
    parent = f"P:{int(child[2:]) // 10}"
    if parent in material.pool:
        assert parent in material.groups[child]
        assert child in material.groups[parent]


def test_material_is_the_same_every_time(obo: Callable[..., Ontology]):
    assert hpo_material(obo(), SPEC).content_hash == hpo_material(obo(), SPEC).content_hash
    other = SPEC.model_copy(update={"documents": 29})
    assert hpo_material(obo(), SPEC).content_hash != hpo_material(obo(), other).content_hash


@pytest.mark.assets
def test_the_shipped_ontology_has_the_numbers_of_the_docs(tmp_path: Path):
    collection = build_collection(HpoCollection(), tmp_path)
    assert len(collection.documents) == 2000
    assert {name: len(split.queries) for name, split in collection.splits.items()} == {"test": 1003, "dev": 450}
