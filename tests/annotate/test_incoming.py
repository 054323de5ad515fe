"""What comes in as files, and what is kept of it for the next start."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from pathlib import Path

import pytest

from stm_agent.annotate import finding
from stm_agent.annotate.api.app import PREFIX
from stm_agent.annotate.bringing import bring
from stm_agent.annotate.faults import NotFound
from stm_agent.annotate.incoming import read_incoming
from stm_agent.annotate.services import searching
from stm_agent.errors import ConfigError, DataError
from stm_agent.evaluate.bm25 import Bm25Index
from stm_agent.testing.annotate import client, fill, page_client
from stm_agent.testing.tiny import tiny_beir

QRELS = "q1 0 d1 3\nq1 0 d2 0\nq2 0 d9 1\nq9 0 d1 1\nq2 0 d3 7\n"


def zipped(folder, path):
    return Path(shutil.make_archive(str(path.with_suffix("")), "zip", folder.parent, folder.name))


def test_a_collection_comes_in_as_a_zip_by_the_page(small, tmp_path):
    fill(small)
    ada = client(small, "Ada")
    with zipped(tiny_beir(tmp_path / "tiny"), tmp_path / "tiny.zip").open("rb") as stream:
        told = ada.post("/projects/signs/import", files={"file": ("tiny.zip", stream)}).json()
    assert (told["added"], told["judgements"], told["skipped"]) == (60, 120, {})
    again = ada.post("/projects/signs/import", files={"file": ("x.zip", b"PK no zip")})
    assert "cannot be unpacked" in again.json()["title"]
    assert client(small, "Bo").post("/projects/signs/import", files={"file": ("x.zip", b"")}).status_code == 403


@pytest.mark.parametrize("names", [("../out.jsonl",), ("readme.txt",)])
def test_a_zip_that_is_no_collection_says_so_and_writes_nowhere_else(tmp_path, names):
    inside = tmp_path / "deep"
    inside.mkdir()
    with zipfile.ZipFile(inside / "x.zip", "w") as packed:
        for name in names:
            packed.writestr(name, "{}")
    with pytest.raises(DataError, match="contains no BEIR folder"):
        read_incoming(inside / "x.zip")
    assert not (tmp_path / "out.jsonl").exists()


def test_qrels_become_a_persons_judgements_and_their_own_grade_stays(tool, project):
    ada = client(tool, "Ada")
    ada.put("/projects/signs/queries/q1/judgements/d2", json={"grade": 2})
    told = ada.post("/projects/signs/qrels", files={"file": ("x.qrels", QRELS)}).json()
    assert told["judgements"] == 1
    assert told["skipped"] == {
        "you have already judged it": 1,
        "the judged document is not in the project": 1,
        "the judged query is not in the project": 1,
        "this project has no level of grade 7": 1,
    }
    assert ada.get("/projects/signs/export/qrels").text == "q1 0 d1 3\nq1 0 d2 2\n"
    assert client(tool, "Bo").post("/projects/signs/qrels", files={"file": ("x", QRELS)}).status_code == 403
    assert "has 2 parts" in ada.post("/projects/signs/qrels", files={"file": ("x", "no qrels")}).json()["title"]


def test_trec_files_come_in_from_the_command_line(small, tmp_path):
    fill(small)
    (tmp_path / "a.qrels").write_text(QRELS)
    (tmp_path / "b.run").write_text("q1 Q0 d2 1 9 mine\nq1 Q0 d1 2 8 mine\n")
    assert bring(small, "Signs", tmp_path / "a.qrels")["judgements"] == 2
    told = bring(small, "Signs", tmp_path / "b.run")
    assert (told["run"], told["documents"]) == ("mine", 2)
    with pytest.raises(ConfigError, match="no project 'None'"):
        bring(small, "None", tmp_path / "a.qrels")


def test_a_body_that_is_too_large_is_refused_however_it_is_sent(small, monkeypatch):
    fill(small)
    ada = client(small, "Ada")
    monkeypatch.setattr("stm_agent.annotate.api.limits.JSON", 1000)
    monkeypatch.setattr("stm_agent.annotate.api.limits.FILE", 1000)
    monkeypatch.setattr("stm_agent.annotate.api.limits.DOCUMENTS", 1000)
    monkeypatch.setattr("stm_agent.annotate.api.limits.FORM", 500)
    body = json.dumps({"text": "x" * 2000})
    assert ada.post("/projects/signs/queries", content=body).status_code == 413
    assert ada.post("/projects/signs/queries", content=iter([body.encode()])).status_code == 413
    told = ada.post("/projects/signs/import", files={"file": ("x.json", "x" * 2000)})
    assert told.status_code == 413 and "annotate import" in told.json()["title"]
    assert ada.post("/projects/signs/queries", json={"text": "short"}).status_code == 201


def test_two_tools_on_one_host_keep_their_logins_apart(small):
    fill(small)
    first, second = (page_client(small, "Ada", f"http://localhost:{port}") for port in (8321, 8322))
    second.cookies.update(first.cookies)
    assert first.delete("/session").status_code == 204
    assert first.get(f"{PREFIX}/me").status_code == 401
    assert second.get(f"{PREFIX}/me").json()["name"] == "Ada"


def test_an_index_is_kept_for_the_next_start_and_is_never_another_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(finding, "SMALL", 2)
    texts = {"a": "fever and chills", "b": "a cough at night", "c": "of the"}
    asked = finding.read_query("cough")

    def corpus(texts):
        return finding.Finder(tmp_path).corpus("signs", 1, lambda: (texts, {key: {} for key in texts}))

    before = corpus(texts).bm25(asked, 3)
    monkeypatch.setattr(Bm25Index, "__init__", lambda self, texts: pytest.fail("it is kept"))
    assert corpus(texts).bm25(asked, 3) == before
    monkeypatch.undo()
    monkeypatch.setattr(finding, "SMALL", 2)
    assert corpus({**texts, "a": "another cough"}).bm25(asked, 3)[0][0] in ("a", "b")
    (kept,) = tmp_path.glob("*/*")
    (kept / "vocab.index.json").write_text("{")
    assert len(corpus({**texts, "a": "another cough"}).bm25(asked, 3)) == 2, "a damaged one is made anew"
    (kept,) = tmp_path.glob("*/*")
    with pytest.raises(DataError, match="of other passages"):
        Bm25Index.load(kept, ["a"])


def test_all_projects_are_indexed_before_somebody_asks(small):
    fill(small)
    searching.index_all(small.database, small.finder)
    with small.database.reading() as session:
        from stm_agent.annotate.actor import Actor
        from stm_agent.annotate.services import projects

        row = projects.find(session, Actor(1, "Ada", "admin"), "signs")
        assert searching.corpus_of(session, small.finder, row) in small.finder._corpora.values()
    assert len(small.finder._corpora) == 1


def test_files_with_faults_are_told_and_lose_nothing_silently(small, tmp_path):
    fill(small)
    ada = client(small, "Ada")
    folder = tiny_beir(tmp_path / "tiny")
    (folder / "qrels" / "dev.tsv").rename(folder / "qrels" / "validation.tsv")
    (folder / "qrels" / "test.tsv").rename(folder / "qrels" / "odd.tsv")
    incoming = read_incoming(folder)
    asked = {name: len(grades) for name, grades in incoming.asked.grades.items()}
    told = bring(small, "Tiny", folder)
    assert told["skipped"] == {"split 'odd' is unknown; use train, dev or test": asked["odd"]}
    with small.database.reading() as session:
        from stm_agent.annotate.services import projects, queries

        splits = [row["split"] for row in queries.listed(session, projects.called(session, "Tiny"))]
    assert splits.count("dev") == asked["validation"]
    (tmp_path / "twice.csv").write_text("id,text,text\na,b,c\n")
    with pytest.raises(DataError, match="column 'text' twice"):
        read_incoming(tmp_path / "twice.csv")
    (tmp_path / "bad.qrels").write_bytes(b"q1 0 d\xff1 3\n")
    with pytest.raises(DataError, match=r"not UTF-8 .byte 6"):
        bring(small, "Signs", tmp_path / "bad.qrels")
    odd = ada.post("/projects/signs/documents", json={"documents": [["a\tb", {"text": "x"}], ["e", {"text": ""}]]})
    assert odd.json()["skipped"] == {
        "has an id with a tab or another control character": 1,
        "has no text in title or text": 1,
    }


def test_a_date_is_a_day(small, tmp_path):
    fill(small)
    ada = client(small, "Ada")
    schema = ada.get("/projects/signs").json()["schema"]
    schema["fields"].append({"id": "seen", "name": "seen", "type": "date"})
    made = ada.post("/projects", json={"name": "Days", "schema": schema}).json()["key"]
    rows = [["a", {"text": "x", "seen": "2024-02-29"}], ["b", {"text": "x", "seen": "soon"}]]
    told = ada.post(f"/projects/{made}/documents", json={"documents": rows}).json()
    assert (told["added"], told["skipped"]) == (1, {"has a 'seen' that is not a date": 1})


def test_judgements_from_the_command_line_are_whose_they_are_said_to_be(small, tmp_path):
    fill(small)
    (tmp_path / "a.qrels").write_text(QRELS)
    assert bring(small, "Signs", tmp_path / "a.qrels", name_of="Ada")["judgements"] == 2
    assert {row["grade"] for row in client(small, "Ada").get("/projects/signs/queries/q1/judgements").json()} == {3, 0}
    with pytest.raises(NotFound, match="nobody called 'Nobody'"):
        bring(small, "Signs", tmp_path / "a.qrels", name_of="Nobody")


def test_answers_and_evidence_go_out_with_their_queries_and_answers_come_back(small, tmp_path):
    fill(small, "qa")
    ada = client(small, "Ada")
    query = ada.get("/projects/signs/queries").json()[0]
    place = f"/projects/signs/queries/{query['key']}"
    assert ada.patch(place, json={"version": query["version"], "changes": {"answer": "Fever."}}).status_code == 200
    ada.put(f"{place}/judgements/d1", json={"grade": 1})
    entry = ada.post("/projects/signs/entries").json()["key"]
    mark = {"document": "d3", "field": "text", "start": 2, "end": 8, "level": "relevant"}
    changes = {"values": {"question": "What changes?"}, "evidence": [mark], "state": "done"}
    ada.patch(f"/projects/signs/entries/{entry}", json={"version": 1, "changes": changes})
    ada.post(f"/projects/signs/entries/{entry}/query", json={})
    exported = ada.get("/projects/signs/export/beir").content
    with zipfile.ZipFile(io.BytesIO(exported)) as packed:
        row, written = [json.loads(line) for line in packed.read("queries.jsonl").decode().splitlines()]
    assert row["metadata"] == {"answer": "Fever."}
    assert written["metadata"] == {"evidence": [mark | {"text": "change", "level": "Relevant"}]}
    other = ada.post("/projects", json={"name": "Other", "template": "qa"}).json()["key"]
    ada.post(f"/projects/{other}/import", files={"file": ("beir.zip", exported)})
    assert [one["answer"] for one in ada.get(f"/projects/{other}/queries").json()] == ["Fever.", ""]
    with zipfile.ZipFile(io.BytesIO(ada.get("/projects/signs/export/triplets").content)) as packed:
        row, _ = [json.loads(line) for line in packed.read("triplets.jsonl").decode().splitlines()]
    assert row["answer"] == "Fever."
