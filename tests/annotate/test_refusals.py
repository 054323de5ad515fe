"""What is refused is told so that it can be mended, and what is not to be refused comes in."""

from __future__ import annotations

import socket
import time
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from stm_agent.annotate.api.app import PREFIX, build_app
from stm_agent.annotate.calls import connection
from stm_agent.annotate.faults import Invalid, TooMany
from stm_agent.annotate.reading import read_documents, usable
from stm_agent.annotate.report import Report
from stm_agent.annotate.schema import DocumentField, ProjectSchema
from stm_agent.annotate.services import documents, llms, projects
from stm_agent.errors import GenerationError
from stm_agent.testing.annotate import client, fill

SCHEMA = ProjectSchema(fields=(DocumentField(id="t", name="text", content=True),))


@pytest.mark.parametrize("name", [".", ".."])
def test_nothing_is_called_what_no_address_can_have(small, name):
    fill(small)
    ada = client(small, "Ada")
    told = ada.post("/projects/signs/documents", json={"documents": [[name, {"text": "x"}], ["...", {"text": "x"}]]})
    assert told.json()["added"] == 1
    assert told.json()["skipped"] == {f"has the id '{name}', which cannot be part of a URL": 1}
    with small.database.writing() as session:
        row = session.scalar(projects.select(projects.Project))
        with pytest.raises(Invalid, match="cannot be part of a URL"):
            documents.add(session, row, [(name, {"text": "x"})])
    told = ada.post("/projects/signs/queries", json={"text": "a query", "key": name})
    assert told.status_code == 422 and "cannot be part of a URL" in told.json()["title"]
    told = ada.put("/llms", json={"name": name, "model": "scripted:numbered"})
    assert told.status_code == 422 and "cannot be part of a URL" in told.json()["title"]
    token = ada.post("/invitations", json={}).json()["token"]
    told = ada.post("/join", json={"token": token, "name": name, "password": "long enough it is"})
    assert told.status_code == 422 and "cannot be part of a URL" in told.json()["title"]


def test_one_persons_wrong_passwords_shut_nobody_else_out(tool, project):
    app = TestClient(build_app(tool), base_url="http://testserver" + PREFIX)
    told = [app.post("/login", json={"name": "Bo", "password": "wrong"}) for _ in range(6)]
    assert [one.status_code for one in told] == [401] * 5 + [429]
    assert told[-1].headers["retry-after"] == "600"
    with pytest.raises(TooMany) as refused:
        connection._raise(told[-1])
    assert refused.value.wait == 600
    assert app.post("/login", json={"name": "Cy", "password": "password-of-Cy"}).status_code == 200


TABLE = [("a1", {"text": 'Fieber; "hoch", 39,5', "year": "2001"}), ("a2", {"text": "two\nlines", "year": ""})]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", 'id,text,year\na1,"Fieber; ""hoch"", 39,5",2001\na2,"two\nlines",\n'),
        ("x.csv", '\ufeffid;text;year\r\na1;"Fieber; ""hoch"", 39,5";2001\r\na2;"two\nlines";\r\n'),
        ("x.csv", 'id\ttext\tyear\na1\t"Fieber; ""hoch"", 39,5"\t2001\na2\t"two\nlines"\t\n'),
        ("x.tsv", 'id\ttext\tyear\na1\t"Fieber; ""hoch"", 39,5"\t2001\na2\t"two\nlines"\t\n'),
        ("x.csv", '"id";"text";"year"\na1;"Fieber; ""hoch"", 39,5";2001\na2;"two\nlines";\n'),
    ],
)
def test_a_table_is_read_whatever_separates_its_columns(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8", newline="")
    report = Report()
    assert list(usable(read_documents(path), SCHEMA, report, set())) == TABLE, report


@pytest.mark.parametrize("header", ["id,text;of;many;parts", "'id;no',id,text", "id,text"])
def test_commas_stay_where_they_give_the_id(tmp_path, header):
    path = tmp_path / "x.csv"
    count = header.count(",") + 1
    path.write_text(f"{header}\n{','.join(['a'] * count)}\n", encoding="utf-8")
    ((_, row),) = read_documents(path)
    assert row["id"] == "a" and len(row) == count


@pytest.mark.parametrize("kind", ["beir", "mteb", "triplets"])
def test_an_export_tells_what_it_leaves_out(small, kind):
    fill(small)
    ada = client(small, "Ada")
    ada.put("/projects/signs/queries/q1/judgements/d1", json={"grade": 1})
    ada.put("/projects/signs/queries/q2/judgements/d1", json={"grade": 0})
    told = ada.get(f"/projects/signs/export/{kind}")
    assert told.headers["x-left-out"] == "1 query without a passage judged above 0"
    ada.put("/projects/signs/queries/q2/judgements/d3", json={"grade": 1})
    assert "x-left-out" not in ada.get(f"/projects/signs/export/{kind}").headers
    assert "x-left-out" not in ada.get("/projects/signs/export/archive").headers


def test_a_model_of_this_machine_is_loaded_once(small):
    asked = llms.LlmChoice("small", "embedded:smollm2-135m", None, "")
    assert small.doors.door(asked) is small.doors.door(replace(asked, tries=1))


def test_an_llm_whose_server_does_not_run_is_told_with_its_address(small):
    from stm_agent.llm.litellm import LiteLlmProvider

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://me:secret@127.0.0.1:{port}/v1?key=secret"
    provider = LiteLlmProvider("openai/gone", url, "a-secret", patience=5, tries=1)
    with pytest.raises(GenerationError) as told:
        provider.answer([{"role": "user", "content": "x"}], temperature=0.0, max_tokens=5, seed=1)
    line = f"openai/gone cannot be reached at http://127.0.0.1:{port}/v1; see whether its server runs"
    assert str(told.value) == line
    fill(small)
    ada = client(small, "Ada")
    ada.put("/llms", json={"name": "gone", "model": "openai/gone", "api_base": url, "key": "a-secret"})
    began = time.monotonic()
    assert ada.post("/llms/gone/try").json()["title"] == line
    assert time.monotonic() - began < 10, "it is asked once"


@pytest.mark.parametrize("key", [" ", "a\tb", ".", "x" * 201])
def test_a_query_has_no_key_that_exports_could_not_write(small, key):
    fill(small)
    answer = client(small, "Bo").post("/projects/signs/queries", json={"text": "t", "key": key})
    assert answer.status_code == 422, answer.text


def test_what_an_archive_could_not_hold_is_not_taken(small):
    fill(small, "qa")
    ada, bo = client(small, "Ada"), client(small, "Bo")
    assert ada.post("/projects", json={"name": "N", "tags": ["t" * 101]}).status_code == 422
    run = {"file": ("run.txt", f"q1 Q0 d1 1 1.0 {'r' * 201}\n")}
    assert ada.post("/projects/signs/runs/trec", files=run).status_code == 422
    entry = bo.post("/projects/signs/entries").json()["key"]
    mark = {"key": " ", "document": "d1", "field": "text", "start": 0, "end": 3, "level": "relevant"}
    body = {"version": 1, "changes": {"evidence": [mark]}}
    (made,) = bo.patch(f"/projects/signs/entries/{entry}", json=body).json()["evidence"]
    assert made["key"].strip()
    whole = ada.get("/projects/signs/export/archive").content
    assert ada.delete("/projects/signs", params={"confirm": "Signs"}).status_code == 204
    files = {"file": ("signs.zip", whole)}
    assert ada.post("/projects/import", files=files).status_code == 201
