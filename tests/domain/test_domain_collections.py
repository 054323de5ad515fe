from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import pytest

from stm_agent.domain import hub
from stm_agent.domain.beir import read_beir, write_beir
from stm_agent.domain.build import build_domain_data
from stm_agent.domain.collection import Collection, Document, Split
from stm_agent.domain.firewall import Firewall
from stm_agent.domain.official import find_task, narrowed
from stm_agent.domain.sources import judged_domain_data
from stm_agent.domain.spec import BeirCollection, MtebCollection
from stm_agent.errors import DataError, FirewallError
from stm_agent.files import read_jsonl
from stm_agent.testing.tiny import tiny_beir, tiny_collection


def small(**splits: Split) -> Collection:
    documents = (Document("a", "Title", "alpha"), Document("b", "", "beta\u2028gamma"))
    return Collection("small", documents, splits, "CC0", "made here")


def test_beir_round_trip(tmp_path: Path):
    collection = small(
        dev=Split("dev", {"1": "first"}, {"1": {"a": 2, "b": 0}}),
        test=Split("test", {"2": "zweite ä"}, {"2": {"b": 1}}),
    )
    again = read_beir(write_beir(collection, tmp_path / "small"))
    assert again == collection
    assert again.content_hash == collection.content_hash
    assert again.texts == {"a": "Title alpha", "b": "beta\u2028gamma"}


def test_plain_beir_folder_without_our_file_or_header(tmp_path: Path):
    folder = tiny_beir(tmp_path / "tiny")
    (folder / "collection.json").unlink()
    dev = folder / "qrels" / "dev.tsv"
    dev.write_bytes(b"\r\n".join(dev.read_bytes().splitlines()[1:]))
    collection = read_beir(folder)
    assert (collection.name, collection.licence) == ("tiny", "not stated")
    assert collection.content_hash == tiny_collection().content_hash


def test_empty_documents_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    folder = tiny_beir(tmp_path / "tiny")
    with (folder / "corpus.jsonl").open("a", encoding="utf-8") as stream:
        stream.write('{"_id": "void", "text": ""}\n')
    read_beir(folder)
    assert "1 of 61 documents are empty" in caplog.text


def test_hash_sees_every_part():
    one = Split("dev", {"1": "first"}, {"1": {"a": 1}})
    hashes = {
        small(dev=one).content_hash,
        small(dev=Split("dev", {"1": "other"}, one.qrels)).content_hash,
        small(dev=Split("dev", one.queries, {"1": {"a": 2}})).content_hash,
        small(test=Split("test", one.queries, one.qrels)).content_hash,
    }
    assert len(hashes) == 4


def test_train_split_becomes_pairs(tmp_path: Path):
    tiny_beir(tmp_path / "tiny")
    material = build_domain_data(BeirCollection(path=Path("tiny")), tmp_path)
    pairs = material.sources["train"]
    assert len(pairs) == len(material.collection.splits["train"].queries) == 72, "a quarter joined dev"
    assert material.pool == material.collection.texts
    assert all(material.groups[pair.group] == {pair.id.split(":")[1]} for pair in pairs)


def test_train_queries_that_are_test_queries_are_left_out(caplog: pytest.LogCaptureFixture):
    test = Split("test", {"1": "First one"}, {"1": {"a": 1}})
    dev = Split("dev", {"4": "a dev query"}, {"4": {"a": 1}})
    train = Split("train", {"2": "first, ONE!", "3": "other"}, {"2": {"a": 1}, "3": {"a": 1, "b": 0}})
    material = judged_domain_data(small(train=train, dev=dev, test=test))
    assert [(pair.query, pair.positive) for pair in material.sources["train"]] == [("other", "Title alpha")]
    assert "1 train queries are also dev or test queries" in caplog.text
    assert "none is left" not in caplog.text
    judged_domain_data(small(train=dataclasses.replace(test, name="train"), dev=dev, test=test))
    assert "all 1 train queries are also dev or test queries; left out; none is left to learn from" in caplog.text


def test_train_queries_that_nearly_are_test_queries_stay_and_are_told(caplog: pytest.LogCaptureFixture):
    train = Split("train", {"2": "how does one treat a sore knee at home", "3": "x"}, {"2": {"a": 1}, "3": {"b": 1}})
    test = Split("test", {"1": "how does one treat a sore knee at night"}, {"1": {"a": 1}})
    dev = Split("dev", {"4": "a dev query"}, {"4": {"a": 1}})
    assert len(judged_domain_data(small(train=train, dev=dev, test=test)).sources["train"]) == 2
    assert "1 of 2 train queries nearly are dev or test queries; they stay" in caplog.text


def test_dev_is_taken_from_train_where_there_is_none(caplog: pytest.LogCaptureFixture):
    whole = tiny_collection()
    splits = {"train": whole.splits["train"], "test": whole.splits["test"]}
    with caplog.at_level(logging.INFO):
        material = judged_domain_data(Collection("tiny", whole.documents, splits, "", ""))
    dev, train = material.collection.splits["dev"], material.collection.splits["train"]
    assert len(dev.queries) == 24, "a quarter at most"
    assert dev.queries.keys() | train.queries.keys() == whole.splits["train"].queries.keys()
    assert not dev.queries.keys() & train.queries.keys()
    assert "no dev split: 24 of 96 train queries became it, by group, seed 0" in caplog.text


def test_mteb_splits_get_our_names(monkeypatch: pytest.MonkeyPatch):
    rows = {
        "validation": {
            "corpus": [{"id": "a", "title": None, "text": "alpha"}, {"id": "c", "text": "gamma"}],
            "queries": [{"id": "1", "text": "first"}, {"id": "9", "text": "unjudged"}],
            "relevant_docs": {"1": {"a": 1}, "9": {"a": 0}},
        },
        "test": {
            "corpus": [{"id": "a", "title": "T", "text": "alpha"}],
            "queries": [{"id": "2", "text": "second"}],
            "relevant_docs": {"2": {"a": 1}},
        },
    }
    monkeypatch.setattr(hub, "offered_splits", lambda task, subset: tuple(rows))
    monkeypatch.setattr(hub, "_load", lambda task, subset, splits: {name: rows[name] for name in splits})
    collection = hub.read_mteb(MtebCollection(name="SciFact", dev_split="validation"))
    assert collection.texts == {"a": "T alpha", "c": "gamma"}
    assert collection.splits["dev"] == Split("dev", {"1": "first"}, {"1": {"a": 1}})
    assert set(collection.splits) == {"dev", "test"}
    assert "mteb/scifact at d56462" in collection.source


def test_mteb_loads_only_the_split_and_the_subset_asked_for():
    task = narrowed(find_task("CUREv1"), "es", ["dermatology"])
    assert (task.eval_splits, task.hf_subsets) == (["dermatology"], ["es"])
    # Its own loader reads these.
    assert task.metadata.eval_splits == ["dermatology"]
    assert list(task.metadata.eval_langs) == ["es"]


def test_firewall_opens_test_once(tmp_path: Path):
    ledger = tmp_path / "run" / "firewall.jsonl"
    wall = Firewall(tiny_collection(), ledger)
    assert wall.dev == tiny_collection().splits["dev"]
    assert not wall.opened
    assert wall.open_test("final-a") == tiny_collection().splits["test"]
    assert wall.opened
    # The same process again, and a resumed one, with the very same final configuration.
    assert wall.open_test("final-a") == Firewall(tiny_collection(), ledger).open_test("final-a")
    for caller in (wall, Firewall(tiny_collection(), ledger)):
        with pytest.raises(FirewallError, match="for another final model") as caught:
            caller.open_test("final-b")
        assert "\n" not in str(caught.value)
    assert [entry["event"] for entry in read_jsonl(ledger)] == ["sealed", "opened"]


def test_firewall_stops_where_the_evaluation_files_changed(tmp_path: Path):
    folder = tiny_beir(tmp_path / "tiny")
    Firewall(read_beir(folder), tmp_path / "firewall.jsonl")
    corpus = folder / "corpus.jsonl"
    corpus.write_text(corpus.read_text(encoding="utf-8").replace("painful", "sore"), encoding="utf-8")
    with pytest.raises(FirewallError, match="not the one this run began with; restore its files"):
        Firewall(read_beir(folder), tmp_path / "firewall.jsonl")


@pytest.mark.parametrize("name", ["dev", "test"])
def test_firewall_needs_dev_and_test(tmp_path: Path, name: str):
    whole = tiny_collection()
    splits = {key: split for key, split in whole.splits.items() if key != name}
    with pytest.raises(DataError, match=f"has no {name} split; add qrels/{name}.tsv"):
        Firewall(Collection("tiny", whole.documents, splits, "", ""), tmp_path / "firewall.jsonl")
    assert not (tmp_path / "firewall.jsonl").exists()
