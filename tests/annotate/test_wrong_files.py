"""Files and projects that are broken: one line says what is wrong, and the rest goes on."""

from __future__ import annotations

import shutil
import zipfile

import pytest
from sqlalchemy import select

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.bringing import bring
from stm_agent.annotate.faults import Invalid
from stm_agent.annotate.services import documents, projects, searching
from stm_agent.annotate.tables import Document, Project
from stm_agent.errors import DataError
from stm_agent.testing.annotate import DOCUMENTS, client, fill
from stm_agent.testing.tiny import tiny_beir

DEEP = "[" * 100_000


@pytest.fixture
def ada(small):
    fill(small)
    return client(small, "Ada")


def spoiled(path):
    """Return a zip with the stream of its first file damaged."""
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as packed:
        first = next(one for one in packed.infolist() if one.compress_size > 100)
    start = first.header_offset + 30 + len(first.filename.encode())
    data[start : start + 40] = bytes(byte ^ 0xFF for byte in data[start : start + 40])
    return bytes(data)


@pytest.mark.parametrize("text", [DEEP, '{"project": ' + DEEP])
@pytest.mark.parametrize("name", ["x.json", "x.aiano"])
def test_an_aiano_file_that_is_too_deep_is_told(ada, small, tmp_path, name, text):
    told = ada.post("/projects/import", files={"file": (name, text)})
    assert told.status_code == 422 and f"cannot read {name}" in told.json()["title"], told.text
    (tmp_path / name).write_text(text)
    with pytest.raises((DataError, Invalid), match=name):
        bring(small, "New", tmp_path / name)


def test_documents_that_are_too_deep_are_told_by_the_name_of_their_file(ada):
    for name, text, what in (("x.json", DEEP, "is not valid JSON"), ("x.json", "{}", "is not a JSON array")):
        told = ada.post("/projects/signs/import", files={"file": (name, text)})
        assert told.status_code == 400 and told.json()["title"].startswith(f"{name} {what}"), told.text
    told = ada.post("/projects/signs/import", files={"file": ("x.csv", b"id,text\na,\xff\n")})
    assert told.json()["title"].startswith("x.csv is not UTF-8 (byte 10)")


def test_what_nests_too_deep_to_go_out_again_does_not_come_in(ada):
    row = '{"id": "deep", "text": "t", "odd": ' + "[" * 300 + "]" * 300 + "}"
    told = ada.post("/projects/signs/import", files={"file": ("x.jsonl", row)}).json()
    assert (told["added"], told["skipped"]) == (0, {"nests lists and objects deeper than 100 levels": 1})
    near = row.replace("[" * 300 + "]" * 300, "[" * 90 + "]" * 90)
    assert ada.post("/projects/signs/import", files={"file": ("x.jsonl", near)}).json()["added"] == 1
    assert ada.get("/projects/signs/documents/deep").is_success


def test_an_aiano_file_with_what_cannot_be_stored_is_told(ada):
    whole = '{"project": {"name": "New", "config": {}, "odd": "%s"}, "entries": []}'
    for odd, reason in (("\\ud800", "half a character"), ("\\u0000", "a NUL character")):
        told = ada.post("/projects/import", files={"file": ("x.json", whole % odd)})
        assert told.status_code == 422 and told.json()["title"].startswith(f"x.json holds {reason}"), told.text


def test_a_damaged_zip_of_documents_is_told(ada, tmp_path):
    shutil.make_archive(str(tmp_path / "tiny"), "zip", tiny_beir(tmp_path / "tiny"))
    told = ada.post("/projects/signs/import", files={"file": ("tiny.zip", spoiled(tmp_path / "tiny.zip"))})
    assert told.status_code == 400 and "tiny.zip cannot be unpacked" in told.json()["title"], told.text
    whole = (tmp_path / "tiny.zip").read_bytes()
    assert ada.post("/projects/signs/import", files={"file": ("tiny.zip", whole)}).is_success


def test_a_broken_project_leaves_the_others_to_be_indexed(small, caplog):
    fill(small)
    with small.database.writing() as session:
        ada = Actor(1, "Ada", "admin")
        for name in ("Broken", "Unreadable"):
            documents.add(session, projects.create(session, ada, name=name, template="judging"), DOCUMENTS)
        broken = session.scalars(select(Project).where(Project.name == "Broken")).one()
        broken.schema = {"levels": "many"}
        other = session.scalars(select(Project).where(Project.name == "Unreadable")).one()
        session.scalars(select(Document).where(Document.project_id == other.id)).first().fields = [1, 2]
    searching.index_all(small.database, small.finder)
    assert len(small.finder._corpora) == 1
    assert [record.levelname for record in caplog.records if record.name == searching.__name__] == [
        "WARNING",
        "WARNING",
    ]
    assert "project 'Broken' cannot be indexed: ValidationError" in caplog.text
    assert "Traceback" not in caplog.text
