"""The profile of a collection: what a run's defaults are chosen from."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stm_agent.cli.domains import app
from stm_agent.domain import measures
from stm_agent.domain.collection import Collection, Document, Split
from stm_agent.domain.duplicates import near_duplicates, near_matches
from stm_agent.domain.profile import LENGTHS, Profile, max_length_for, profile
from stm_agent.domain.profile_text import profile_lines
from stm_agent.domain.sources import judged_domain_data
from stm_agent.domain.text import is_near_duplicate, words_of
from stm_agent.machine import Machine
from stm_agent.testing.tiny import tiny_beir, tiny_collection

CPU = Machine(cores=2, memory_gib=8.0, gpu=None)


@pytest.fixture(autouse=True)
def counted_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count words, so that the lengths do not depend on the assets of the machine."""
    monkeypatch.setattr(measures, "TOKENIZER_ASSET", "hpo")


def of_lengths(*words: int, machine: Machine = CPU) -> Profile:
    texts = [" ".join(f"w{number}x{position}" for position in range(count)) for number, count in enumerate(words)]
    documents = tuple(Document(str(number), "", text) for number, text in enumerate(texts))
    return profile(Collection("made", documents, {}, "", ""), machine)


def test_sizes_of_splits_and_pairs() -> None:
    facts = profile(judged_domain_data(tiny_collection()), CPU)
    assert (facts.documents, facts.has_titles) == (60, 0.0)
    assert {name: split.queries for name, split in facts.splits.items()}["test"] == 12
    assert facts.train_pairs == facts.splits["train"].queries
    assert facts.dev_queries == facts.splits["dev"].queries
    assert facts.query_tokens_p95 == 8, "four words times 1.4, and two special tokens"
    assert facts.keyword_share is not None
    assert 0.1 < facts.keyword_share < 0.6, "the place is in the positive, the sign is not"


@pytest.mark.parametrize(
    ("words", "length", "reason"),
    [
        (10, 64, "max_length 64: 95 % of passages fit"),
        (130, 192, "max_length 192: 95 % of passages fit"),
        (400, 256, "max_length 256: 0% of passages fit, the others are cut"),
    ],
)
def test_the_smallest_length_that_fits_is_chosen(words: int, length: int, reason: str) -> None:
    assert max_length_for(of_lengths(*[words] * 20)) == (length, reason)


def test_one_passage_in_twenty_may_be_longer() -> None:
    assert max_length_for(of_lengths(*[10] * 19, 1000))[0] == 64
    assert max_length_for(of_lengths(*[10] * 18, 1000, 1000))[0] == 256


def test_a_gpu_reads_longer_passages() -> None:
    gpu = dataclasses.replace(CPU, gpu="some GPU")
    assert max_length_for(of_lengths(*[300] * 20, machine=gpu))[0] == 512


def test_a_passage_of_100_000_words_is_counted_without_tokenising_it_whole() -> None:
    facts = of_lengths(*[10] * 20, 100_000)
    assert 100_000 < facts.passage_tokens_max < 200_000
    assert facts.passage_tokens_p95 == 16


def test_near_duplicates_are_those_of_the_exact_rule() -> None:
    texts = [" ".join(f"t{topic}w{word}" for word in range(20 + extra)) for topic in range(60) for extra in (0, 2, 9)]
    expected = {
        later
        for later in range(len(texts))
        if any(is_near_duplicate(words_of(texts[later]), words_of(texts[early])) for early in range(later))
    }
    found = near_duplicates(texts)
    assert len(expected) == 60, "two more words of 22 are nearly the same, nine more are not"
    assert found.keys() <= expected
    assert len(found) >= 57
    assert all(is_near_duplicate(words_of(texts[later]), words_of(texts[early])) for later, early in found.items())
    assert near_matches(["knee pain at night!"], ["elbow", "Knee pain, at night"]) == {0: 1}
    assert near_duplicates(["?", "!"]) == {}


def test_leakage_of_train_into_test_is_counted() -> None:
    documents = tuple(Document(key, "", key) for key in "ab")
    train = Split("train", {"1": "red knee", "2": "a b c d e f", "3": "else"}, {key: {"a": 1} for key in "123"})
    test = Split("test", {"4": "Red knee!", "5": "a b c d e g f"}, {"4": {"a": 1}, "5": {"b": 1}})
    facts = profile(Collection("c", documents, {"train": train, "test": test}, "", ""), CPU)
    leak = facts.leakage["train-test"]
    assert (leak.exact, leak.near, leak.shared_documents) == (1, 1, 1)


def test_train_that_is_test_is_shown() -> None:
    whole = tiny_collection()
    same = {name: dataclasses.replace(whole.splits["test"], name=name) for name in ("train", "test")}
    facts = profile(dataclasses.replace(whole, splits=same), CPU)
    assert facts.leakage["train-test"].exact == 12
    assert "12 train queries are test queries" in "\n".join(profile_lines(facts))


def test_dev_that_is_test_is_shown() -> None:
    whole = tiny_collection()
    same = {name: dataclasses.replace(whole.splits["test"], name=name) for name in ("dev", "test")}
    facts = profile(dataclasses.replace(whole, splits=same), CPU)
    assert facts.leakage["dev-test"].exact == 12
    assert "12 dev queries are test queries, 0 nearly; 12 documents are relevant in both" in "\n".join(
        profile_lines(facts)
    )


def test_a_document_that_repeats_another_one_is_shared_with_it() -> None:
    documents = (Document("a", "", "one text"), Document("b", "", "one  text"), Document("c", "", "else"))
    train, test = Split("train", {"1": "x"}, {"1": {"a": 1}}), Split("test", {"2": "y"}, {"2": {"b": 1, "c": 1}})
    facts = profile(Collection("c", documents, {"train": train, "test": test}, "", ""), CPU)
    assert facts.leakage["train-test"].shared_documents == 1


@pytest.mark.parametrize(
    ("passages", "queries", "length", "reason"),
    [
        (50, 20, 96, "max_length 96: 95 % of passages fit"),
        (50, 150, 192, "max_length 192: 95 % of passages and of queries fit"),
        (400, 20, 256, "max_length 256: 0% of passages fit, the others are cut"),
        (50, 2300, 256, "max_length 256: 100% of passages and 0% of queries fit, the others are cut"),
    ],
)
def test_queries_must_fit_the_length_too(passages: int, queries: int, length: int, reason: str) -> None:
    facts = of_lengths(*[passages] * 20)
    cut = {limit: float(queries <= limit) for limit in LENGTHS}
    assert max_length_for(dataclasses.replace(facts, query_tokens_p95=queries, query_fitting=cut)) == (length, reason)


def test_cost_of_a_large_corpus_is_shown_before_anything_is_encoded() -> None:
    facts = dataclasses.replace(of_lengths(*[100] * 20), documents=300_000)
    assert 60 < facts.encoding_minutes < 600
    assert 0.4 < facts.vectors_gib < 0.5
    lines = "\n".join(profile_lines(facts))
    assert "hours with the embedded encoder, 0.43 GiB" in lines
    small = dataclasses.replace(facts, machine=dataclasses.replace(CPU, memory_gib=0.5))
    assert "too much for the free memory" in "\n".join(profile_lines(small))


def test_scripts_and_languages_are_named() -> None:
    texts = ["Das Knie ist rot und die Hand ist es nicht", "घुटने में दर्द और सूजन"]
    documents = tuple(Document(str(number), "", text) for number, text in enumerate(texts))
    facts = profile(Collection("c", documents, {}, "", ""), CPU)
    assert set(facts.scripts) == {"LATIN", "DEVANAGARI"}
    assert facts.languages == ("German",)


def test_models_are_listed_without_asking_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert measures.models_at_hand()["Hub"] == "offline, HF_HUB_OFFLINE is set"
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    assert measures.models_at_hand()["Hub"] == "not checked"


def test_check_prints_the_profile_of_a_folder(tmp_path: Path) -> None:
    folder = tiny_beir(tmp_path / "tiny")
    result = CliRunner().invoke(app, ["check", str(folder), "--json"], catch_exceptions=False)
    facts = json.loads(result.output)
    assert (facts["documents"], facts["max_length"], facts["missing"]) == (60, 64, "")
    shown = CliRunner().invoke(app, ["check", str(folder)], catch_exceptions=False).output
    assert "max_length 64: 95 % of passages fit" in shown


def test_check_of_a_folder_that_lacks_judgements_says_what_is_missing(tmp_path: Path) -> None:
    folder = tiny_beir(tmp_path / "tiny")
    for name in ("train", "dev"):
        (folder / "qrels" / f"{name}.tsv").unlink()
    shown = CliRunner().invoke(app, ["check", str(folder)], catch_exceptions=False).output
    assert "has no dev split" in shown
    assert "documents                    60" in shown
