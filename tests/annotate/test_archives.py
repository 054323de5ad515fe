"""An archive is stored as a whole that the tool can read, or refused in one line that says what is wrong."""

from __future__ import annotations

import io
import json
import zipfile

import pytest

from stm_agent.annotate.formats import archive
from stm_agent.annotate.tool import open_tool
from stm_agent.testing.annotate import client, fill, person

ODD = (None, True, -1, 1.5, "", [1], {}, {"a": 1})


@pytest.fixture(scope="module")
def ada(tmp_path_factory):
    tool = open_tool(tmp_path_factory.mktemp("tool"), team=True)
    fill(tool, "qa")
    yield client(tool, "Ada")
    tool.close()


@pytest.fixture(scope="module")
def whole(ada):
    """The archive of a project with an entry, evidence, a grade and a run."""
    entry = ada.post("/projects/signs/entries").json()
    mark = {"document": "d3", "field": "text", "start": 0, "end": 8, "level": "relevant"}
    changes = {"values": {"question": "what is it"}, "evidence": [mark]}
    assert ada.patch(f"/projects/signs/entries/{entry['key']}", json={"version": 1, "changes": changes}).is_success
    assert ada.put("/projects/signs/queries/q1/judgements/d1", json={"grade": 1}).is_success
    assert ada.post("/projects/signs/runs/trec", files={"file": ("x", "q1 Q0 d1 1 2.5 mine\n")}).is_success
    return archive.unpack(ada.get("/projects/signs/export/archive").content)


def zipped(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, text in files.items():
            packed.writestr(name, text)
    return buffer.getvalue()


def send(ada, data, status=400):
    """Import an archive; return what is said of it. Nothing of a refused one is stored."""
    before = [row["key"] for row in ada.get("/projects").json()]
    told = ada.post("/projects/import", files={"file": ("x.zip", data)})
    assert told.status_code == status, told.text
    if status != 201:
        assert [row["key"] for row in ada.get("/projects").json()] == before
    return told.json()["title"] if status != 201 else told.json()


def files(project, **parts):
    return {"project.json": project} | {f"{name}.jsonl": parts.get(name, "") for name in archive.PARTS}


@pytest.mark.parametrize(
    "project", ["[]", "5", "null", '{"archive": "1"}', '{"archive": null}', "{}", "[" * 100_000, '{"archive": 1e999']
)
def test_a_project_file_that_is_none_is_refused(ada, project):
    assert "not a project archive, or it is damaged" in send(ada, zipped(files(project)))


def test_a_damaged_stream_is_refused(ada, whole):
    project, parts = whole
    data = bytearray(archive.pack(project, parts))
    at = data.index(b"documents.jsonl") + len(b"documents.jsonl")
    data[at : at + 20] = bytes(byte ^ 0xFF for byte in data[at : at + 20])
    assert "not a project archive, or it is damaged" in send(ada, bytes(data))


@pytest.mark.parametrize(
    ("part", "value", "told"),
    [
        ("name", {}, "'name' of project.json"),
        ("name", "", "a project needs a name"),
        ("name", " ", "a project needs a name"),
        ("key", "", "'key' of project.json"),
        ("overlap", "many", "'overlap' of project.json"),
        ("overlap", 0, "overlap is the number of people"),
        ("version", "x", "'version' of project.json"),
        ("tags", {}, "'tags' of project.json"),
        ("tags", [1], "'tags' of project.json"),
        ("schema", [], "'schema' of project.json"),
        ("schema", {"levels": 5}, "schema at levels"),
        ("schema", None, "'schema' of project.json"),
        ("created_at", "soon", "'created_at' of project.json"),
        ("created_at", 5, "should be a moment in ISO 8601"),
        ("description", "a\x00b", "project.json holds a NUL character"),
    ],
)
def test_a_part_of_a_project_that_is_of_no_use_is_named(ada, whole, part, value, told):
    project, parts = whole
    data = archive.pack({**project, "key": "copy", "name": "Copy", part: value}, parts)
    answer = ada.post("/projects/import", files={"file": ("x.zip", data)})
    assert answer.status_code in (400, 422) and told in answer.json()["title"], answer.text
    assert [row["key"] for row in ada.get("/projects").json()] == ["signs"]


@pytest.mark.parametrize(
    ("part", "changes", "told"),
    [
        ("documents", {"fields": [1, 2]}, "'fields' of documents.jsonl:1"),
        ("documents", {"key": "d2"}, "documents.jsonl:2 repeats the key 'd2'"),
        ("queries", {"split": "else"}, "'split' of queries.jsonl:1 is not one of train, dev, test"),
        ("queries", {"text": 5}, "'text' of queries.jsonl:1"),
        ("entries", {"state": "odd"}, "'state' of entries.jsonl:1 is not one of draft"),
        ("entries", {"values": {"question": 5}}, "entries.jsonl:1: block 'Question' holds a"),
        ("entries", {"values": {"gone": "x"}}, "entries.jsonl:1 has a value of block 'gone', which does not exist"),
        ("entries", {"evidence": {}}, "the evidence of entries.jsonl:1 is not a list"),
        ("entries", {"evidence": [5]}, "the evidence of entries.jsonl:1 is not a JSON object"),
        ("judgements", {"grade": "3"}, "'grade' of judgements.jsonl:1"),
        ("judgements", {"document_id": "d9"}, "judgements.jsonl names document 'd9', which it lacks"),
        ("rankings", {"score": "high"}, "'score' of rankings.jsonl:1"),
    ],
)
def test_a_row_that_is_of_no_use_is_named(ada, whole, part, changes, told):
    project, parts = whole
    rows = [{**parts[part][0], **changes}, *parts[part][1:]]
    assert told in send(ada, archive.pack({**project, "key": "copy", "name": "Copy"}, {**parts, part: rows}))


def test_rows_that_are_none_or_lack_a_column_or_stand_twice_are_refused(ada, whole):
    project, parts = whole
    about = {**project, "key": "copy", "name": "Copy"}
    assert "queries.jsonl:1 is not a JSON object" in send(ada, archive.pack(about, {**parts, "queries": [[]]}))
    assert "queries.jsonl:1 lacks 'key'" in send(ada, archive.pack(about, {**parts, "queries": [{"text": "t"}]}))
    twice = {**parts, "judgements": parts["judgements"] * 2}
    assert "contains a row twice" in send(ada, archive.pack(about, twice))


def test_whatever_is_stored_of_an_odd_archive_can_be_read(ada, whole):
    project, parts = whole
    about = {**project, "key": "copy", "name": "Copy"}
    tried = [({**about, name: odd}, parts) for name in set(about) - {"key", "name"} for odd in ODD]
    for part in ("documents", "entries", "queries", "judgements", "rankings"):
        first, *rest = parts[part]
        tried += [(about, {**parts, part: [{**first, name: odd}, *rest]}) for name in first for odd in ODD]
    kinds = ("archive", "beir", "aiano", "aiano-project", "qrels")
    pages = ["", "/documents", "/search?q=fever", "/entries", "/queries", *(f"/export/{kind}" for kind in kinds)]
    stored = 0
    for one in tried:
        told = ada.post("/projects/import", files={"file": ("x.zip", archive.pack(*one))})
        assert told.status_code in (201, 400, 422), told.text
        if told.status_code == 201:
            stored += 1
            for page in pages:
                assert ada.get(f"/projects/copy{page}").status_code < 500
            assert ada.request("DELETE", "/projects/copy", params={"confirm": "Copy"}).status_code == 204
    assert 10 < stored < len(tried) / 2


def test_deep_rows_of_an_archive_are_refused(ada):
    packed = zipped(files('{"archive": 1}', documents="[" * 100_000))
    assert "not a project archive, or it is damaged" in send(ada, packed)


def test_what_an_archive_has_of_aianos_file_is_refused_where_it_goes_out(ada, whole):
    project, parts = whole
    send(ada, archive.pack({**project, "key": "odd", "name": "Odd", "extra": {"aiano": 5}}, parts), 201)
    for kind in ("aiano", "aiano-project"):
        told = ada.get(f"/projects/odd/export/{kind}")
        assert told.status_code == 400 and "damaged" in told.json()["title"]
    assert ada.request("DELETE", "/projects/odd", params={"confirm": "Odd"}).status_code == 204


def test_a_whole_archive_comes_in_and_goes_out_the_same(ada, whole, tmp_path):
    other = open_tool(tmp_path / "other", team=True)
    person(other, "Eve", "admin")
    eve, data = client(other, "Eve"), ada.get("/projects/signs/export/archive").content
    assert json.loads(zipfile.ZipFile(io.BytesIO(data)).read("entries.jsonl"))["evidence"]
    send(eve, data, 201)
    assert eve.get("/projects/signs/export/archive").content == data
    other.close()
