"""The command line does what the page does, and says in one line what it cannot."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import zipfile
from contextlib import closing

import httpx
import pytest
from sqlalchemy import update

from stm_agent.annotate.client import Client
from stm_agent.annotate.tables import Project
from stm_agent.annotate.tool import open_tool
from stm_agent.cli.main import main
from stm_agent.domain.beir import read_beir
from stm_agent.testing.annotate import person
from stm_agent.testing.tiny import tiny_beir


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    space = tmp_path / "space"
    (space / "programs").mkdir(parents=True)

    def run(*words, code=0):
        monkeypatch.setattr(sys, "argv", ["stm-agent", "annotate", *map(str, words), "--workspace", str(space)])
        with pytest.raises(SystemExit) as stop:
            main()
        told = capsys.readouterr()
        assert (stop.value.code or 0) == code, told.err
        return told.out if code == 0 else told.err

    run.space = space
    return run


def test_a_collection_comes_in_and_goes_out_as_it_was(call, tmp_path):
    folder = tiny_beir(tmp_path / "tiny")
    told = json.loads(call("import", "Tiny", folder, "--json"))
    assert (told["added"], told["skipped"]) == (60, {})
    call("export", "Tiny", "beir", "--output", tmp_path / "out")
    came, went = read_beir(folder), read_beir(tmp_path / "out")
    assert went.texts == came.texts
    assert {name: split.qrels for name, split in went.splits.items()} == {n: s.qrels for n, s in came.splits.items()}
    shown = json.loads(call("stats", "Tiny", "--json"))
    assert (shown["documents"], shown["queries"], shown["judgements"]) == (60, 120, 120)
    assert "120" in call("stats", "Tiny")
    call("export", "Tiny", "archive", "--output", tmp_path / "x.zip")
    assert "project.json" in zipfile.ZipFile(tmp_path / "x.zip").namelist()


def test_an_annotators_judgements_come_in_and_nothing_goes_into_the_archive(call, tmp_path):
    folder = tiny_beir(tmp_path / "tiny")
    call("import", "Tiny", folder)
    with closing(open_tool(call.space)) as tool:
        person(tool, "Bo")
    qrels = tmp_path / "bo.qrels"
    query, found = next(iter(read_beir(folder).splits["dev"].qrels.items()))
    qrels.write_text("".join(f"{query} 0 {key} 1\n" for key in found))
    assert json.loads(call("import", "Tiny", qrels, "--as", "Bo", "--json"))["judgements"] == len(found)
    assert json.loads(call("stats", "Tiny", "--json"))["judgements"] == 120 + len(found)
    with closing(open_tool(call.space)) as tool, tool.database.writing() as session:
        session.execute(update(Project).values(archived=True))
    assert "is archived" in call("import", "Tiny", qrels, "--as", "Bo", code=2)
    assert "is archived" in call("import", "Tiny", folder, code=2)
    call("export", "Tiny", "beir", "--output", tmp_path / "out")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("export", "none", "beir", "--output", "x"), "project 'none' does not exist"),
        (("import", "P", "gone.json"), "gone.json does not exist"),
        (("--collection", "gone"), "gone does not exist"),
        (("--database", "nonsense"), "not a database URL"),
        (("stats", "none"), "there are none yet"),
    ],
)
def test_mistakes_are_one_line(call, words, told):
    answer = call(*words, code=2)
    assert told in answer
    assert answer.count("\n") == 1


def test_without_the_extra_the_install_line_is_told(call, monkeypatch):
    monkeypatch.setattr("stm_agent.cli.annotate_tool.NEEDED", ("no_such_package_at_all",))
    assert "pip install 'stm-agent[annotate]'" in call("stats", "x", code=2)


def test_people_are_invited_from_the_command_line(call):
    told = json.loads(call("users", "--invite", "--role", "admin", "--json"))
    assert told["people"] == []
    assert told["invitation"].startswith("/join#")


def test_the_command_serves_until_it_is_stopped(call, tmp_path):
    folder = tiny_beir(tmp_path / "tiny")
    command = [sys.executable, "-m", "stm_agent", "annotate", "--collection", str(folder), "--port", "0"]
    running = subprocess.Popen([*command, "--workspace", str(call.space)], stderr=subprocess.PIPE, text=True)
    try:
        # Other libraries may talk before.
        line = next(line for line in running.stderr if "http://" in line)
        url = re.search(r"open (http://\S+)", line)[1]
        with Client(url.partition("/?")[0], token=url.partition("token=")[2]) as client:
            rows = _patiently(client.projects)
        assert [(row["name"], row["documents"], row["queries"]) for row in rows] == [("tiny", 60, 120)]
    finally:
        running.send_signal(signal.SIGINT)
        status = running.wait(20)
        running.stderr.close()
    assert status in (0, 130)


def _patiently(ask):
    for _ in range(200):
        try:
            return ask()
        except httpx.ConnectError:
            time.sleep(0.1)
    raise AssertionError("the server does not answer")


def test_people_are_added_changed_and_shut_out_from_the_command_line(call, monkeypatch):
    monkeypatch.setattr("typer.prompt", lambda *words, **how: "long enough it is")

    def people(*words):
        return {
            one["name"]: (one["role"], one["active"]) for one in json.loads(call("users", *words, "--json"))["people"]
        }

    people("--add", "Ada", "--role", "admin")
    assert people("--add", "Bo") == {"Ada": ("admin", True), "Bo": ("annotator", True)}
    assert people("--change", "Bo", "--role", "reviewer")["Bo"] == ("reviewer", True)
    assert people("--shut-out", "Bo")["Bo"] == ("reviewer", False)
    assert people("--let-in", "Bo")["Bo"] == ("reviewer", True)
    people("--shut-out", "Bo")
    assert people("--password", "Bo")["Bo"] == ("reviewer", True), "whoever gets a password is let in"
    assert "last administrator" in call("users", "--shut-out", "Ada", code=2)
    assert "nobody called 'Cy'" in call("users", "--password", "Cy", code=2)


def test_people_are_let_in_and_queries_dealt_from_the_command_line(call, monkeypatch, tmp_path):
    monkeypatch.setattr("typer.prompt", lambda *words, **how: "long enough it is")
    call("import", "Tiny", tiny_beir(tmp_path / "tiny"))
    for name in ("Ada", "Bo", "Cy"):
        call("users", "--add", name)
    assert "nobody yet" in call("members", "Tiny", "--remove", "me"), "who imported it was alone in it"
    assert "there are only 0" in call("deal", "Tiny", code=2)
    told = json.loads(call("members", "Tiny", "--add", "Ada", "--add", "Bo", "--add", "Cy", "--json"))
    assert [one["name"] for one in told["members"]] == ["Ada", "Bo", "Cy"]
    assert "Cy" not in call("members", "Tiny", "--remove", "Cy")
    dealt = json.loads(call("deal", "Tiny", "--json"))
    assert (dealt["dealt"], {one["given"] for one in dealt["members"]}) == (120, {60})
    assert "0/60 queries" in call("members", "Tiny")
    assert "nobody called 'Di'" in call("members", "Tiny", "--add", "Di", code=2)


def test_documents_are_dealt_from_the_command_line(call, tmp_path):
    texts = [{"_id": f"d{number}", "text": f"text {number}", "year": 2000 + number} for number in range(5)]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(one) + "\n" for one in texts))
    call("import", "Texts", tmp_path / "texts.jsonl")
    assert "add --documents" in call("deal", "Texts", "--tag", "pilot", code=2)
    assert "0 dealt" in call("deal", "Texts", "--documents", "--tag", "pilot")
    told = json.loads(call("deal", "Texts", "--documents", "--filter", "year>2001", "--filter", "year<2004", "--json"))
    assert (told["dealt"], [one["documents_given"] for one in told["members"]]) == (2, [2])
    assert "3 dealt" in call("deal", "Texts", "--documents")
    assert "0/5 documents" in call("stats", "Texts")


def test_an_invitation_can_lead_to_a_project(call, tmp_path):
    call("import", "Tiny", tiny_beir(tmp_path / "tiny"))
    link = json.loads(call("users", "--invite", "--project", "Tiny", "--json"))["invitation"]
    from stm_agent.annotate.services import assigning, inviting, people
    from stm_agent.annotate.tool import open_tool
    from stm_agent.cli.annotate_tool import project_of

    tool = open_tool(call.space, team=True)
    with tool.database.writing() as session:
        inviting.join(session, token=link.partition("#")[2], name="Bo", stored=people.hashed("long enough " * 2))
        assert [one.name for one in assigning.members(session, project_of(session, "Tiny"))] == ["me", "Bo"]
    tool.close()
    assert "project 'none' does not exist" in call("users", "--invite", "--project", "none", code=2)
    assert "add --invite" in call("users", "--project", "Tiny", code=2)
