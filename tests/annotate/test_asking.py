"""Queries and judgements of a BEIR folder: all of them come in, or the report says why not."""

from __future__ import annotations

import json
import shutil

import pytest
from typer.testing import CliRunner

from stm_agent.annotate.bringing import bring
from stm_agent.annotate.services import queries
from stm_agent.annotate.services.projects import called
from stm_agent.cli.annotate import app
from stm_agent.errors import DataError
from stm_agent.testing.annotate import client

QUERIES = {"q1": "what is fever", "q2": "what is a cough", "q3": "what is a rash"}


def jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def beir(folder, asked=QUERIES, **grades):
    """A folder of three documents; ``grades`` maps a split to lines "query document grade"."""
    folder.mkdir()
    jsonl(folder / "corpus.jsonl", [{"_id": f"d{one}", "title": "", "text": f"text {one}"} for one in (1, 2, 3)])
    jsonl(folder / "queries.jsonl", [{"_id": key, "text": text} for key, text in asked.items()])
    for split, lines in grades.items():
        (folder / "qrels").mkdir(exist_ok=True)
        rows = ["query-id corpus-id score", *lines]
        (folder / "qrels" / f"{split}.tsv").write_text("".join("\t".join(row.split()) + "\n" for row in rows))
    return folder


def asked_in(tool, name):
    with tool.database.reading() as session:
        return {row["key"]: row for row in queries.listed(session, called(session, name))}


def grades_in(tool, name):
    from stm_agent.annotate.services.outcome import graded

    with tool.database.reading() as session:
        return graded(session, called(session, name)).grades


def test_a_folder_without_judgements_brings_its_queries_to_be_judged(small, tmp_path):
    told = bring(small, "New", beir(tmp_path / "new"))
    assert (told["added"], told["queries"], told["judgements"], told["skipped"]) == (3, 3, 0, {})
    assert {key: row["text"] for key, row in asked_in(small, "New").items()} == QUERIES
    assert {row["split"] for row in asked_in(small, "New").values()} == {"dev", "test"}


def test_a_folder_without_judgements_opens_as_a_project_with_its_queries(small, tmp_path, monkeypatch):
    monkeypatch.setattr("stm_agent.annotate.serve.serve", lambda *_, **__: None)
    folder = beir(tmp_path / "new")
    (tmp_path / "programs").mkdir()
    done = CliRunner().invoke(app, ["--collection", str(folder), "--workspace", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert asked_in(small, "new").keys() == QUERIES.keys()


def test_queries_that_nobody_judged_come_in_beside_judged_ones(tool, tmp_path):
    told = bring(tool, "New", beir(tmp_path / "new", test=["q1 d1 1", "q1 d2 0"]))
    assert (told["queries"], told["judgements"], told["skipped"]) == (3, 2, {})
    splits = {key: row["split"] for key, row in asked_in(tool, "New").items()}
    assert splits["q1"] == "test"
    assert sorted(splits.values()) in (["dev", "dev", "test"], ["dev", "test", "test"]), "dev is filled first"
    assert [change["after"]["key"] for change in created(tool)] == ["q1", "q2", "q3"]


def created(tool):
    from sqlalchemy import select

    from stm_agent.annotate.tables import Change

    with tool.database.reading() as session:
        rows = session.scalars(select(Change).where(Change.kind == "query.create").order_by(Change.id))
        return [{"after": row.after} for row in rows]


def test_a_query_whose_passages_are_all_judged_irrelevant_comes_in_judged(small, tmp_path):
    told = bring(small, "New", beir(tmp_path / "new", dev=["q1 d1 0", "q1 d2 0"]))
    assert told["judgements"] == 2
    assert grades_in(small, "New")["q1"] == {"d1": 0, "d2": 0}


def test_judgements_of_queries_that_are_there_are_taken(small, tmp_path):
    bring(small, "New", beir(tmp_path / "first", dev=["q1 d1 1", "q2 d1 0"]))
    second = beir(tmp_path / "second", {**QUERIES, "q2": "another"}, test=["q1 d1 2", "q2 d3 1", "q9 d1 1", "q2 d9 1"])
    told = bring(small, "New", second)
    assert (told["queries"], told["judgements"]) == (0, 1)
    assert told["skipped"] == {
        "has an id that already exists": 3,
        "the query exists with another text, which is kept": 1,
        "the query is already in split 'dev' and stays there": 2,
        "you have already judged it": 1,
        "the judged query is not in the project": 1,
        "the judged document is not in the project": 1,
    }
    assert grades_in(small, "New") == {"q1": {"d1": 1}, "q2": {"d1": 0, "d3": 1}, "q3": {}}
    assert asked_in(small, "New")["q2"]["text"] == QUERIES["q2"]


def test_what_two_splits_say_of_one_query_is_taken_once_and_told(small, tmp_path):
    told = bring(small, "New", beir(tmp_path / "new", test=["q1 d1 1", "q1 d2 2"], train=["q1 d1 2", "q1 d3 1"]))
    assert told["judgements"] == 3
    assert told["skipped"] == {
        "the query is already in split 'test'; 'train' is ignored": 1,
        "you have already judged it": 1,
    }
    assert grades_in(small, "New")["q1"] == {"d1": 1, "d2": 2, "d3": 1}


@pytest.mark.parametrize(
    ("key", "text", "reason"),
    [
        ("x" * 201, "long", "the query has an id over 200 characters"),
        ("a\tb", "tab", "the query has an id with a tab or another control character"),
        ("nul", "a\x00b", "the query holds a NUL character"),
    ],
)
def test_a_query_that_cannot_be_kept_is_told_and_the_others_come_in(tool, tmp_path, key, text, reason):
    told = bring(tool, "New", beir(tmp_path / "new", {**QUERIES, key: text}))
    assert (told["queries"], told["skipped"]) == (3, {reason: 1})


def test_what_is_wrong_in_a_zip_is_told_without_where_it_was_unpacked(small, tmp_path):
    folder = beir(tmp_path / "new", dev=["q1 d1 1", "q1 d1 2"])
    shutil.make_archive(str(tmp_path / "sent"), "zip", folder)
    with pytest.raises(DataError, match=r"^sent.zip/qrels/dev.tsv:3 judges 'q1' and 'd1' a second time") as fault:
        bring(small, "New", tmp_path / "sent.zip")
    assert str(tmp_path) not in str(fault.value) and "unpacked" not in str(fault.value)
    (folder / "qrels" / "dev.tsv").unlink()
    with pytest.raises(DataError, match=r"has no judgements; add dev.tsv or test.tsv, or remove it"):
        bring(small, "New", folder)


def test_the_page_is_told_how_many_queries_came_in(small, tmp_path):
    from stm_agent.testing.annotate import fill

    fill(small)
    shutil.make_archive(str(tmp_path / "sent"), "zip", beir(tmp_path / "new", {"q7": "seven"}))
    with (tmp_path / "sent.zip").open("rb") as stream:
        told = client(small, "Ada").post("/projects/signs/import", files={"file": ("sent.zip", stream)}).json()
    assert (told["queries"], told["judgements"]) == (1, 0)
