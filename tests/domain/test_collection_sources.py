"""Several collections in one domain: one is scored, the train pairs of the others are sources."""

from __future__ import annotations

import logging
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

STM = Path(__file__).parents[2] / "docs" / "stm.yaml"


def beir(folder: Path, texts: dict[str, str], **splits: dict[str, tuple[str, str]]) -> Path:
    """Write a collection; each split maps query id -> (text, its document)."""
    made = {
        name: Split(name, {key: row[0] for key, row in rows.items()}, {key: {row[1]: 1} for key, row in rows.items()})
        for name, rows in splits.items()
    }
    documents = tuple(Document(key, "", text) for key, text in texts.items())
    return write_beir(Collection(folder.name, documents, made, "", ""), folder)


@pytest.fixture
def scored(tmp_path: Path) -> Path:
    texts = {"a": "red knee", "b": "sore hip", "c": "cold foot"}
    return beir(
        tmp_path / "scored",
        texts,
        train={"1": ("first", "a"), "2": ("second", "b")},
        dev={"3": ("held", "c")},
    )


@pytest.fixture
def other(tmp_path: Path) -> Path:
    return beir(
        tmp_path / "other",
        {"a": "blue sky", "b": "sore hip"},
        train={"1": ("weather", "a"), "2": ("second", "b"), "3": ("held", "a")},
    )


def build(folder: Path, *sources: dict[str, Any]) -> DomainData:
    return build_domain_data(BeirCollection.model_validate({"path": folder, "sources": sources}), folder)


def test_the_train_pairs_of_another_collection_are_a_source(
    scored: Path, other: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        data = build(scored, {"name": "sky", "collection": {"kind": "beir", "path": other}})
    assert [(pair.query, pair.positive) for pair in data.sources["sky"]] == [
        ("weather", "blue sky"),
        ("second", "sore hip"),
    ]
    assert "source sky: 1 pairs have dev or test queries; left out" in caplog.text
    assert set(data.collection.texts) == {"a", "b", "c"}, "nothing is scored on the other corpus"


def test_its_passages_are_mined_but_never_as_negatives_of_their_own_query(scored: Path, other: Path) -> None:
    data = build(scored, {"name": "sky", "collection": {"kind": "beir", "path": other}})
    assert data.pool["sky:a"] == "blue sky"
    weather, second = data.sources["sky"]
    assert "sky:a" in data.groups[weather.group]
    # The same query and the same passage stand in both collections.
    assert second.group == next(pair.group for pair in data.sources["train"] if pair.query == "second")
    assert {"b", "sky:b"} <= data.groups[second.group]


def test_no_split_is_cut_from_a_collection_that_only_teaches(scored: Path, tmp_path: Path) -> None:
    rows = {str(number): (f"query {number}", "a") for number in range(50)}
    many = beir(tmp_path / "many", {"a": "x y"}, train=rows)
    data = build(scored, {"name": "many", "collection": {"kind": "beir", "path": many}})
    assert len(data.sources["many"]) == 50


def test_a_collection_without_train_split_is_refused_with_the_fix(scored: Path, tmp_path: Path) -> None:
    tested = beir(tmp_path / "tested", {"a": "x"}, test={"1": ("query", "a")})
    with pytest.raises(DataError, match="no train split to learn from"):
        build(scored, {"name": "tested", "collection": {"kind": "beir", "path": tested}})


def test_a_change_of_the_other_collection_makes_another_run(scored: Path, other: Path) -> None:
    spec = BeirCollection.model_validate(
        {"path": scored, "sources": [{"name": "sky", "collection": {"kind": "beir", "path": other}}]}
    )
    before = collection_source_hash(spec, scored)
    with (other / "queries.jsonl").open("a") as queries:
        queries.write('{"_id": "9", "text": "one more"}\n')
    assert collection_source_hash(spec, scored) != before


def test_a_set_of_the_hub_is_cut_by_a_column(scored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets
    from datasets import Dataset

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    # The library loads a folder in the same way as a set of the Hub.
    hub = tmp_path / "hub"
    hub.mkdir()
    parts = ["real", "synth", "real"]
    rows = [{"anchor": f"q{number}", "positive": f"p{number}", "part": part} for number, part in enumerate(parts)]
    Dataset.from_list(rows).to_parquet(hub / "train.parquet")
    data = build(scored, {"name": "real", "hub": str(hub), "by": "part"})
    assert [pair.query for pair in data.sources["real"]] == ["q0", "q2"]
    with pytest.raises(DataError, match=r"no row with part none; the commonest values are real, synth"):
        build(scored, {"name": "none", "hub": str(hub), "by": "part"})


def test_a_hub_that_cannot_be_reached_is_one_line(scored: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot fetch data set .*nowhere.* or save it to a folder and give its path"):
        build(scored, {"name": "x", "hub": str(tmp_path / "nowhere")})


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{name: s, path: a.jsonl, hub: b/c}", "needs one of path, hub and collection"),
        ("{name: s}", "needs one of path, hub and collection"),
        ("{name: s, by: x, collection: {kind: beir, path: o}}", "not a collection"),
        ("{name: s, collection: {kind: beir, path: o, sources: [{name: t, by: x}]}}", "sources of its own"),
        ("{name: s, collection: {kind: python-docs}}", "needs a kind|does not match|python-docs"),
    ],
)
def test_a_source_that_cannot_be_is_refused_with_its_line(tmp_path: Path, source: str, message: str) -> None:
    file = tmp_path / "d.yaml"
    head = "name: d\ntask: t\nbackbone: auto\ncollection:\n  kind: beir\n  path: x\n  sources:\n"
    file.write_text(f"{head}    - {source}\n")
    with pytest.raises(ConfigError, match=message):
        load_domain(str(file), tmp_path)


def test_stm_is_written_down_as_it_is_published(tmp_path: Path) -> None:
    spec = load_domain(str(STM), tmp_path)
    four = ["med-synth", "med-real", "search", "nlu"]
    assert [expert.name for expert in spec.experts] == four
    assert [expert.sources for expert in spec.experts] == [(name,) for name in four]
    assert spec.collection.source_names == ("train", *four)
