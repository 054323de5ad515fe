"""Splits of a project: dealt by group, changed with a count of what moves, and enough for stm-agent optimize."""

from __future__ import annotations

import json
import zipfile
from io import BytesIO

import pytest
from typer.testing import CliRunner

from stm_agent.annotate.faults import Invalid
from stm_agent.annotate.splits import SplitShares, deal_groups, read_shares
from stm_agent.cli.main import build
from stm_agent.testing.annotate import client, fill

PLACE = "/projects/signs"
HALVES = {"train": 0, "dev": 50, "test": 50}


def write(ada, text, **more):
    return ada.post(f"{PLACE}/queries", json={"text": text, **more}).json()


def grade(ada, query, document, value=1):
    assert ada.put(f"{PLACE}/queries/{query}/judgements/{document}", json={"grade": value}).is_success


@pytest.fixture
def ada(small):
    fill(small)
    return client(small, "Ada")


def test_new_queries_fill_the_splits_by_the_project_s_shares(ada):
    for number in range(18):
        write(ada, f"question {number}")
    assert ada.get(f"{PLACE}/splits").json()["queries"] == {"train": 0, "dev": 10, "test": 10}


def test_queries_with_one_text_or_one_relevant_passage_share_a_split(small, ada):
    first = write(ada, "why do I shiver")
    assert {write(ada, "why do I shiver")["split"] for _ in range(3)} == {first["split"]}
    bo = client(small, "Bo")
    # Projects of the judging template have no blocks: a query block is added.
    project = ada.get(PLACE).json()
    schema = {**project["schema"], "blocks": [{"id": "q", "name": "Question", "role": "query"}]}
    ada.patch(PLACE, json={"version": project["version"], "changes": {"schema": schema}})
    splits = set()
    for number in range(4):
        entry = bo.post(f"{PLACE}/entries", json={}).json()
        level = max(schema["levels"], key=lambda row: row["score"])["id"]
        mark = {"key": f"k{number}", "document": "d3", "field": "text", "start": 0, "end": 8, "level": level}
        changes = {"values": {"q": f"what of rash {number}"}, "evidence": [mark], "state": "done"}
        assert bo.patch(f"{PLACE}/entries/{entry['key']}", json={"version": 1, "changes": changes}).is_success
        splits.add(bo.post(f"{PLACE}/entries/{entry['key']}/query", json={}).json()["split"])
    assert len(splits) == 1


def test_changed_shares_tell_what_moves_before_and_move_just_that(ada):
    for number in range(8):
        write(ada, f"question {number}")
    shares = {"train": 60, "dev": 20, "test": 20, "seed": 3}
    planned = ada.post(f"{PLACE}/splits/plan", json=shares).json()
    assert planned["moves"] == [{"from": split, "to": "train", "queries": 3} for split in ("dev", "test")]
    assert ada.get(f"{PLACE}/splits").json()["queries"] == {"train": 0, "dev": 5, "test": 5}
    version = ada.get(PLACE).json()["version"]
    moved = ada.put(f"{PLACE}/splits", json={"version": version, "shares": shares}).json()
    assert moved["moves"] == planned["moves"]
    assert ada.get(f"{PLACE}/splits").json()["queries"] == {"train": 6, "dev": 2, "test": 2}
    assert ada.post(f"{PLACE}/splits/plan", json=shares).json()["moves"] == []
    again = ada.put(f"{PLACE}/splits", json={"version": version, "shares": shares})
    assert again.status_code == 409, "somebody who saw the project as it was is told"


def test_judged_queries_have_the_shares_by_themselves(ada):
    made = [write(ada, f"question {number}", split="dev")["key"] for number in range(8)]
    for place, query in enumerate(made[:4]):
        grade(ada, query, ("d1", "d2", "d3", "d1")[place])
    assert ada.get(f"{PLACE}/splits").json()["missing"] == ["test"]
    planned = ada.post(f"{PLACE}/splits/plan", json=HALVES).json()
    assert planned["judged"] == {"train": 0, "dev": 2, "test": 2}, "two of them share d1"
    assert planned["queries"] == {"train": 0, "dev": 5, "test": 5}


@pytest.mark.parametrize("count", [2, 3, 5, 40])
def test_each_split_with_a_share_gets_a_group(count):
    groups = [(f"q{number}",) for number in range(count)]
    shares = SplitShares(train=80, dev=10, test=10) if count > 2 else SplitShares()
    dealt = deal_groups(groups, {query: "dev" for (query,) in groups}, shares)
    assert set(dealt.values()) == {split for split in ("train", "dev", "test") if shares.of(split)}


def test_another_seed_deals_others_and_the_same_seed_the_same():
    groups = [(f"q{number}",) for number in range(40)]
    all_dev = {query: "dev" for (query,) in groups}
    first, again, other = (deal_groups(groups, all_dev, SplitShares(seed=seed)) for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        ({**HALVES, "dev": 40}, "90 %"),
        ({**HALVES, "train": -1}, "train"),
        ({**HALVES, "dev": "50"}, "dev"),
        ([], "splits"),
    ],
)
def test_shares_that_do_not_add_up_are_refused_in_words(shares, words):
    with pytest.raises(Invalid, match=words):
        read_shares(shares)


def test_an_annotator_changes_no_split(small, ada):
    bo = client(small, "Bo")
    assert bo.get(f"{PLACE}/splits").status_code == 403
    assert bo.post(f"{PLACE}/splits/plan", json=HALVES).status_code == 403
    assert bo.put(f"{PLACE}/splits", json={"version": 1, "shares": HALVES}).status_code == 403


def unpack(answer, folder):
    zipfile.ZipFile(BytesIO(answer.content)).extractall(folder)
    return folder


def dry_run(folder):
    return CliRunner().invoke(build(), ["optimize", "--collection", str(folder), "--dry-run", "--json"])


def test_the_tool_s_own_export_is_optimised_on(ada, tmp_path):
    for query, document in (("q1", "d1"), ("q2", "d3")):
        grade(ada, query, document)
    ada.put(f"{PLACE}/splits", json={"version": 1, "shares": HALVES})
    answer = ada.get(f"{PLACE}/export/beir")
    assert "x-missing" not in answer.headers
    told = dry_run(unpack(answer, tmp_path / "judged"))
    assert told.exit_code == 0, told.output
    assert "test" in [step["stage"] for step in json.loads(told.stdout)]


def test_an_export_without_test_says_so_and_so_does_a_dry_run(ada, tmp_path):
    grade(ada, "q1", "d1")
    answer = ada.get(f"{PLACE}/export/beir")
    assert answer.headers["x-missing"].startswith("no test split")
    told = dry_run(unpack(answer, tmp_path / "judged"))
    assert told.exit_code != 0
    assert "has no test split" in str(told.exception)


def test_a_copy_and_an_archive_keep_the_shares(ada, tmp_path):
    shares = {"train": 60, "dev": 20, "test": 20, "seed": 3}
    ada.put(f"{PLACE}/splits", json={"version": 1, "shares": shares})
    copy = ada.post(f"{PLACE}/duplicate", json={"name": "Copy"}).json()
    assert copy["splits"] == shares
    packed = ada.get(f"{PLACE}/export/archive").content
    ada.delete(PLACE, params={"confirm": "Signs"})
    back = ada.post("/projects/import", files={"file": ("signs.zip", packed)}).json()
    assert ada.get(f"/projects/{back['key']}").json()["splits"] == shares
