"""Named training sources beside a folder's train split."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from stm_agent.domain.beir import write_beir
from stm_agent.domain.build import build_domain_data
from stm_agent.domain.collection import Collection, Document, Split
from stm_agent.domain.data import DomainData
from stm_agent.domain.load import load_domain
from stm_agent.domain.source_hash import collection_source_hash
from stm_agent.domain.spec import BeirCollection
from stm_agent.errors import ConfigError, DataError

TEXTS = {"a": "red knee", "b": "sore hip", "c": "cold foot"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A collection of three documents: train asks for a and b, dev for c."""
    documents = tuple(Document(key, "", text) for key, text in TEXTS.items())
    train = Split("train", {"1": "first", "2": "second"}, {"1": {"a": 1}, "2": {"b": 1}})
    dev = Split("dev", {"3": "held"}, {"3": {"c": 1}})
    path = write_beir(Collection("c", documents, {"train": train, "dev": dev}, "", ""), tmp_path / "beir")
    rows = [{"_id": key, "text": text, "metadata": {"part": ["leg", key]}} for key, text in TEXTS.items()]
    (path / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return path


def build(folder: Path, *sources: dict[str, Any]) -> DomainData:
    return build_domain_data(BeirCollection.model_validate({"path": folder, "sources": sources}), folder)


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_triplets_keep_their_negatives_and_scores(folder: Path, tmp_path: Path) -> None:
    rows = [
        {"anchor": "one", "positive": "p", "negative_2": "m", "negative_1": "n", "score": [9, 2, 1]},
        {"anchor": "two", "positive": "p", "negative_1": "n", "negative_2": "m", "score": [3.5, 4]},
    ]
    data = build(folder, {"name": "own", "path": write(tmp_path / "own.jsonl", *rows)})
    assert list(data.sources) == ["train", "own"]
    first, second = data.sources["own"]
    assert (first.query, first.positive, first.structural) == ("one", "p", ("n", "m"))
    assert first.scores == (9.0, 2.0, 1.0)
    assert second.scores == (0.0, -3.5, -4.0), "one number less than passages: margins"
    assert first.content() != data.sources["train"][0].content()


@pytest.mark.parametrize(
    ("query", "passage"), [("query", "answer"), ("question", "passage"), ("sentence1", "sentence2")]
)
def test_columns_have_the_names_of_sentence_transformers(
    folder: Path, tmp_path: Path, query: str, passage: str
) -> None:
    path = write(tmp_path / "own.jsonl", {query: "one", passage: "p"})
    assert [pair.query for pair in build(folder, {"name": "own", "path": path}).sources["own"]] == ["one"]


def test_every_kind_of_file_gives_the_same_pairs(folder: Path, tmp_path: Path) -> None:
    from datasets import Dataset, DatasetDict

    rows = [{"anchor": f"query {number}", "positive": f"p{number}", "negative": "n"} for number in range(3)]
    plain = write(tmp_path / "own.jsonl", *rows)
    packed = tmp_path / "own.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    table = Dataset.from_list(rows)
    table.to_parquet(tmp_path / "own.parquet")
    (tmp_path / "repository" / "data").mkdir(parents=True)
    table.to_parquet(tmp_path / "repository" / "data" / "train-0.parquet")
    table.save_to_disk(tmp_path / "saved")
    DatasetDict({"train": table, "test": table.select([0])}).save_to_disk(tmp_path / "splits")
    paths = [plain, packed, *(tmp_path / name for name in ("own.parquet", "repository", "saved", "splits"))]
    found = [build(folder, {"name": "own", "path": path}).sources["own"] for path in paths]
    assert len(found[0]) == 3
    assert all(pairs == found[0] for pairs in found)


def test_graded_pairs_become_positives_related_passages_and_negatives(folder: Path, tmp_path: Path) -> None:
    grades = {"best": 4, "good": 2, "poor": 1, "wrong": 0}
    rows = [{"query": "one", "passage": text, "score": grade} for text, grade in grades.items()]
    path = write(tmp_path / "own.jsonl", *rows)
    best, good = build(folder, {"name": "own", "path": path, "min_score": 1}).sources["own"]
    assert (best.positive, best.related, best.structural) == ("best", (("good", 0.5),), ("poor", "wrong"))
    assert (good.positive, good.related) == ("good", ())
    assert best.group == good.group


def test_queries_that_are_dev_queries_and_empty_rows_are_left_out_and_counted(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [{"anchor": "Held!", "positive": "p"}, {"anchor": " ", "positive": "p"}, {"anchor": "new", "positive": "p"}]
    data = build(folder, {"name": "own", "path": write(tmp_path / "own.jsonl", *rows)})
    assert [pair.query for pair in data.sources["own"]] == ["new"]
    assert "1 rows are dev or test queries" in caplog.text
    assert "1 rows have no query or no passage" in caplog.text


def test_a_query_of_train_keeps_its_group_and_positives_of_the_corpus_are_protected(
    folder: Path, tmp_path: Path
) -> None:
    rows = [{"anchor": "First", "positive": "Red knee."}, {"anchor": "other", "positive": "sore hip"}]
    data = build(folder, {"name": "own", "path": write(tmp_path / "own.jsonl", *rows)})
    same, other = data.sources["own"]
    assert same.group == "1"
    assert data.groups["1"] == {"a"}
    assert data.groups[other.group] == {"b"}


def test_train_is_cut_by_a_field_of_the_documents(folder: Path) -> None:
    data = build(folder, {"name": "leg", "by": "part"}, {"name": "knee", "by": "part", "values": ["a", "z"]})
    assert [pair.query for pair in data.sources["leg"]] == ["first", "second"]
    assert [(pair.query, pair.source, pair.id) for pair in data.sources["knee"]] == [("first", "knee", "knee:1:a")]
    assert len({pair.id for pairs in data.sources.values() for pair in pairs}) == 5
    with pytest.raises(DataError, match="no train pair has a document with part x; the commonest values are leg"):
        build(folder, {"name": "x", "by": "part"})


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"text1": "a"}], "own.jsonl:1 has columns text1; a training set needs anchor"),
        ([{"anchor": "a", "positive": "b", "score": "high"}], "has score 'high'; a score is a number"),
        (
            [{"anchor": "a", "positive": "b", "negative": "n", "score": [1, 2, 3]}],
            "has 3 scores, 1 positives and 1 negat",
        ),
        ([{"anchor": "", "positive": "b"}], "source 'own' has no usable training pair"),
        ([], "source 'own' has no usable training pair"),
    ],
)
def test_a_training_set_that_cannot_be_used_is_one_line(
    folder: Path, tmp_path: Path, rows: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        build(folder, {"name": "own", "path": write(tmp_path / "own.jsonl", *rows)})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("own.csv", b"a,b", "is none of JSONL"),
        ("own.parquet", b"PAR", "cannot read"),
        ("gone.jsonl", None, "not exist"),
    ],
)
def test_a_file_of_another_kind_is_one_line(
    folder: Path, tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        build(folder, {"name": "own", "path": tmp_path / name})
    assert "\n" not in str(caught.value)


DOMAIN = """\
name: mine
task: Find it.
collection:
  kind: beir
  path: beir
  sources:
    - {name: own, path: own.jsonl}
backbone: {model: "embedded:smollm2-135m"}
experts:
  - {name: first, sources: [train, own], steps: 10}
"""


def test_sources_of_a_domain_file_are_checked_and_are_part_of_the_run(folder: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "own.jsonl", {"anchor": "one", "positive": "p"})
    (tmp_path / "mine.yaml").write_text(DOMAIN)
    spec = load_domain("mine", tmp_path).collection
    assert isinstance(spec, BeirCollection)
    assert spec.sources[0].path == path, "relative to the domain file"
    before = collection_source_hash(spec, tmp_path)
    write(path, {"anchor": "one", "positive": "q"})
    assert collection_source_hash(spec, tmp_path) != before
    for wrong, message in (
        (
            DOMAIN.replace("[train, own]", "[owm]"),
            "asks for source 'owm'; collection kind beir offers train, own, written",
        ),
        (DOMAIN.replace("name: own", "name: train"), "source 'train' is there twice"),
        (DOMAIN.replace("path: own.jsonl", "min_score: 1"), "source 'own' needs one of path, hub and collection"),
    ):
        (tmp_path / "mine.yaml").write_text(wrong)
        with pytest.raises(ConfigError, match=message):
            load_domain("mine", tmp_path)
