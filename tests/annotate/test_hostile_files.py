"""Files from strangers: zips that grow, data sets that point elsewhere, and names that nothing can be stored under."""

from __future__ import annotations

import csv
import io
import json
import zipfile

import pytest

from stm_agent.annotate.database import Database
from stm_agent.annotate.formats import archive, unzip
from stm_agent.annotate.incoming import read_incoming
from stm_agent.annotate.services import agreements
from stm_agent.errors import ConfigError, DataError
from stm_agent.testing.annotate import client, fill


def packed(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in files.items():
            made.writestr(name, content)
    return buffer.getvalue()


def dataset(folder, *, filename=None, split=None):
    """Write a stored data set whose description names another file or split."""
    from datasets import Dataset, DatasetDict

    rows = Dataset.from_list([{"_id": "d", "text": "a text"}])
    (rows if split is None else DatasetDict({"train": rows})).save_to_disk(str(folder))
    if filename:
        state = json.loads((folder / "state.json").read_text())
        state["_data_files"][0]["filename"] = filename
        (folder / "state.json").write_text(json.dumps(state))
    if split:
        (folder / "dataset_dict.json").write_text(json.dumps({"splits": [split]}))
    return folder


@pytest.mark.parametrize("outside", ["../secret/data-00000-of-00001.arrow", "/etc/passwd", "a\0b"])
def test_a_data_set_reads_no_file_outside_its_folder(tmp_path, outside):
    dataset(tmp_path / "secret")
    folder = dataset(tmp_path / "set", filename=outside)
    with pytest.raises(DataError, match="outside of the data set"):
        read_incoming(folder)
    assert len(read_incoming(dataset(tmp_path / "good")).rows) == 1


def test_a_data_set_reads_no_split_outside_its_folder(tmp_path):
    dataset(tmp_path / "secret")
    with pytest.raises(DataError, match="outside of the data set"):
        read_incoming(dataset(tmp_path / "set", split="../secret"))
    assert len(read_incoming(dataset(tmp_path / "good", split="train")).rows) == 1


def test_a_zip_that_grows_a_hundredfold_is_refused(small, tmp_path, monkeypatch):
    monkeypatch.setattr(unzip, "SMALL", 1000)
    bomb = packed({"corpus.jsonl": b" " * 1_000_000})
    (tmp_path / "bomb.zip").write_bytes(bomb)
    with pytest.raises(DataError, match="100 times its size"):
        read_incoming(tmp_path / "bomb.zip")
    with pytest.raises(DataError, match="100 times its size"):
        archive.unpack(packed({"project.json": b" " * 1_000_000}))
    fill(small)
    answer = client(small, "Ada").post("/projects/signs/import", files={"file": ("bomb.zip", bomb)})
    assert (answer.status_code, "100 times" in answer.json()["title"]) == (400, True)


def test_a_zip_larger_than_the_memory_allows_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(unzip, "SMALL", 10)
    monkeypatch.setattr(unzip, "free_memory", lambda: 800)
    (tmp_path / "x.zip").write_bytes(packed({"corpus.jsonl": b'{"_id": "a", "text": "b"}\n' * 5}))
    with pytest.raises(DataError, match="too many for this machine"):
        read_incoming(tmp_path / "x.zip")


@pytest.mark.parametrize("name", ["..", "x" * 252 + ".json", "a\nb.json", "é" * 130 + ".json"])
def test_an_upload_with_a_name_that_no_file_has_is_refused_in_words(small, name):
    fill(small)
    boundary = "frontier"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
    body = head.replace(b"\n", b"%0A") if "\n" in name else head
    ada = client(small, "Ada")
    answer = ada.post(
        "/projects/signs/import",
        content=body + b"[]\r\n--frontier--\r\n",
        headers={"content-type": f"multipart/form-data; boundary={boundary}"},
    )
    assert answer.status_code in (400, 422), answer.text
    assert answer.json()["title"]


@pytest.mark.parametrize("name", ["..", ".", "a\0b"])
def test_a_run_that_could_not_be_removed_is_refused(small, name):
    fill(small)
    run = f"q1 Q0 d1 1 2.0 {name}\n".encode()
    answer = client(small, "Ada").post("/projects/signs/runs/trec", files={"file": ("a.run", run)})
    assert answer.status_code == 422, answer.text


@pytest.mark.parametrize("key", ["a/b", "..", "a\tb", "x\uffff"])
@pytest.mark.parametrize("part", ["project.json", "entries.jsonl"])
def test_an_archive_with_a_key_that_no_address_has_is_refused(small, part, key):
    fill(small)
    ada = client(small, "Ada")
    ada.post("/projects/signs/entries")
    whole = zipfile.ZipFile(io.BytesIO(ada.get("/projects/signs/export/archive").content))
    files = {name: whole.read(name).decode() for name in whole.namelist()}
    row = json.loads(files[part].splitlines()[0])
    files[part] = json.dumps({**row, "key": key}) + "\n"
    assert ada.delete("/projects/signs", params={"confirm": "Signs"}).status_code == 204
    answer = ada.post("/projects/import", files={"file": ("a.zip", packed(files))})
    assert answer.status_code == 400, answer.text
    assert "key" in answer.json()["title"] or "id" in answer.json()["title"]
    assert ada.get("/projects").json() == []


def test_a_spreadsheet_takes_no_name_for_a_formula():
    measure = {"name": "kappa", "value": -0.5, "low": -1.0, "high": 0.0, "items": 3}
    told = {"people": [measure], "pairs": [{"first": "=1+1", "second": "Bo", **measure}]}
    told["with_llm"] = {name: [measure] for name in ("+x", "-y", "@z", "Bo")}
    rows = list(csv.reader(io.StringIO(agreements.as_csv(told))))[1:]
    assert [row[1] for row in rows] == ["", "'=1+1 / Bo", "'+x / LLM", "'-y / LLM", "'@z / LLM", "Bo / LLM"]
    assert {row[2] for row in rows} == {"-0.5"}, "a number below 0 is no formula"


@pytest.mark.parametrize("place", ["127.0.0.1:1/db", "127.0.0.1:port/db", "[::1/db"])
def test_a_database_that_cannot_be_reached_is_one_line_without_its_password(place):
    with pytest.raises(ConfigError) as told:
        Database(f"postgresql+psycopg://me:very-secret@{place}")
    assert "\n" not in str(told.value)
    assert "very-secret" not in str(told.value)


def test_an_archive_with_a_person_that_no_address_has_is_refused(small):
    fill(small)
    ada = client(small, "Ada")
    ada.post("/projects/signs/entries")
    whole = zipfile.ZipFile(io.BytesIO(ada.get("/projects/signs/export/archive").content))
    files = {name: whole.read(name).decode() for name in whole.namelist()}
    files["entries.jsonl"] = files["entries.jsonl"].replace('"person_id":"Ada"', '"person_id":".."')
    files["changes.jsonl"] = ""
    assert ada.delete("/projects/signs", params={"confirm": "Signs"}).status_code == 204
    answer = ada.post("/projects/import", files={"file": ("a.zip", packed(files))})
    assert (answer.status_code, "person is named '..'" in answer.json()["title"]) == (400, True), answer.text
