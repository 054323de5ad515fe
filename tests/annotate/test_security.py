"""What nobody may do: other people's ids, forged and old tokens, many guesses, other sites, other machines."""

from __future__ import annotations

import io
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from fastapi.testclient import TestClient

from stm_agent.annotate.api.app import PREFIX, build_app
from stm_agent.annotate.database import MIGRATIONS, Database
from stm_agent.annotate.pages.mount import mount_pages
from stm_agent.annotate.quiet import Quiet
from stm_agent.annotate.serve import first_administrator
from stm_agent.annotate.tables import Doubt, Draft, Project
from stm_agent.annotate.tool import open_tool
from stm_agent.errors import ConfigError, GenerationError
from stm_agent.llm.answer import Answer
from stm_agent.llm.scripted import ScriptedProvider
from stm_agent.testing.annotate import client, fill, person

LEVELS = [{"id": "2", "name": "Relevant", "colour": "#2f855a", "score": 2}]


def problem(answer, status):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.json()["title"]


def test_ids_of_another_project_are_not_there(tool, project):
    """Bo is in project signs; everything below is real, and in a project of others."""
    ada, bo = client(tool, "Ada"), client(tool, "Bo")
    other = ada.post("/projects", json={"name": "Other", "template": "qa"}).json()["key"]
    ada.post(f"/projects/{other}/documents", json={"documents": [["theirs", {"text": "t"}]]})
    entry = ada.post(f"/projects/{other}/entries").json()["key"]
    query = ada.post(f"/projects/{other}/queries", json={"text": "q"}).json()["key"]
    with tool.database.writing() as session:
        row = session.query(Project).filter_by(key=other).one()
        doubt = Doubt(project_id=row.id, query="q", positive="p", negative="n", origin="bm25")
        draft = Draft(project_id=row.id, entry_key=entry, block="answer", model="m", parameters={}, messages=[])
        session.add_all([doubt, draft])
        session.flush()
        doubt_key, draft_key = doubt.key, draft.key
    for place in (f"/projects/{other}", "/projects/signs"):
        for method, path, body in (
            ("GET", "documents/theirs", None),
            ("PATCH", "tags/theirs", {"add": ["x"]}),
            ("GET", f"entries/{entry}", None),
            ("PATCH", f"entries/{entry}", {"version": 1, "changes": {"notes": "x"}}),
            ("POST", f"entries/{entry}/undo", {"version": 1}),
            ("POST", f"entries/{entry}/query", {}),
            ("DELETE", f"entries/{entry}", None),
            ("PATCH", f"queries/{query}", {"version": 1, "changes": {"text": "x"}}),
            ("GET", f"queries/{query}/pool", None),
            ("GET", f"queries/{query}/judgements", None),
            ("PUT", f"queries/{query}/judgements/theirs", {"grade": 0}),
            ("PUT", f"queries/{query}/done", {}),
            ("PUT", "queries/q1/judgements/theirs", {"grade": 0}),
            ("PUT", f"drafts/{draft_key}", {"decision": "rejected"}),
            ("GET", f"drafts?entry={entry}", None),
            ("PUT", f"doubts/{doubt_key}", {"answer": "negative", "version": 1}),
            ("GET", "jobs/none", None),
        ):
            if place.endswith(other) and path.startswith("queries/q1"):
                continue
            assert problem(bo.request(method, f"{place}/{path}", json=body), 404)
    assert ada.get(f"/projects/{other}/entries/{entry}").json()["version"] == 1


def test_evidence_cannot_point_into_another_project(tool, project):
    ada, bo = client(tool, "Ada"), client(tool, "Bo")
    other = ada.post("/projects", json={"name": "Other"}).json()["key"]
    ada.post(f"/projects/{other}/documents", json={"documents": [["theirs", {"text": "secret"}]]})
    entry = bo.post("/projects/signs/entries").json()["key"]
    mark = {"document": "theirs", "field": "text", "start": 0, "end": 6, "level": "2"}
    answer = bo.patch(f"/projects/signs/entries/{entry}", json={"version": 1, "changes": {"evidence": [mark]}})
    assert "no document 'theirs'" in problem(answer, 404)


def test_a_reviewer_reads_and_does_not_undo_or_decide_for_others(tool, project):
    person(tool, "Rae", "reviewer")
    ada, bo, rae, cy = (client(tool, name) for name in ("Ada", "Bo", "Rae", "Cy"))
    ada.post("/projects/signs/members", json={"name": "Rae"})
    place = f"/projects/signs/entries/{bo.post('/projects/signs/entries').json()['key']}"
    bo.patch(place, json={"version": 1, "changes": {"notes": "mine"}})
    assert rae.get(place).json()["notes"] == "mine"
    problem(rae.post(f"{place}/undo", json={"version": 2}), 403)
    problem(cy.post(f"{place}/undo", json={"version": 2}), 404)
    for kind in ("qrels", "beir", "aiano", "archive", "drafts"):
        problem(bo.get(f"/projects/signs/export/{kind}"), 403)
    assert rae.get("/projects/signs/export/qrels").status_code == 200
    problem(bo.delete("/projects/signs/members/Cy"), 403)
    assert ada.delete("/projects/signs/members/Bo").status_code == 204
    problem(bo.get(place), 404)
    assert rae.get(place).json()["notes"] == "mine", "what they wrote stays"


def test_undo_and_redo_keep_to_a_schema_that_changed_since(tool, project):
    ada, bo = client(tool, "Ada"), client(tool, "Bo")
    place = f"/projects/signs/entries/{bo.post('/projects/signs/entries').json()['key']}"
    mark = {"key": "e1", "document": "d1", "field": "text", "start": 2, "end": 8, "level": "3"}
    bo.patch(place, json={"version": 1, "changes": {"notes": "one", "evidence": [mark]}})
    bo.patch(place, json={"version": 2, "changes": {"notes": "two"}})
    undone = bo.post(f"{place}/undo", json={"version": 3}).json()
    assert undone["notes"] == "one"
    problem(bo.post(f"{place}/redo", json={"version": 3}), 409)
    again = bo.post(f"{place}/redo", json={"version": 4}).json()
    assert again["notes"] == "two"
    assert "nothing to redo" in problem(bo.post(f"{place}/redo", json={"version": 5}), 422)
    seen = ada.get("/projects/signs").json()
    schema = {**seen["schema"], "levels": LEVELS}
    assert ada.patch("/projects/signs", json={"version": seen["version"], "changes": {"schema": schema}}).is_success
    kept = bo.patch(place, json={"version": 5, "changes": {"evidence": again["evidence"], "notes": "three"}}).json()
    assert kept["evidence"][0]["level"] == "3", "a level that is gone stays on what was marked with it"
    fresh = {**mark, "key": "e2"}
    assert "no level '3'" in problem(bo.patch(place, json={"version": 6, "changes": {"evidence": [fresh]}}), 422)
    assert bo.post(f"{place}/undo", json={"version": 6}).json()["notes"] == "two"


def test_a_done_query_stands_once_others_could_be_seen(tool, project):
    ada, bo, cy = (client(tool, name) for name in ("Ada", "Bo", "Cy"))
    place = "/projects/signs/queries/q1"
    bo.put(f"{place}/judgements/d1", json={"grade": 3})
    bo.put(f"{place}/done", json={})
    assert "reopen it" in problem(bo.put(f"{place}/judgements/d1", json={"grade": 0, "version": 1}), 422)
    assert bo.put(f"{place}/done", json={"done": False}).status_code == 204, "nobody else graded it yet"
    bo.put(f"{place}/done", json={})
    cy.put(f"{place}/judgements/d1", json={"grade": 0})
    assert "ask a reviewer" in problem(bo.put(f"{place}/done", json={"done": False}), 403)
    problem(cy.put(f"{place}/done", json={"done": False, "person": "Bo"}), 403)
    problem(ada.put(f"{place}/done", json={"done": False, "person": "Nobody"}), 404)
    assert ada.put(f"{place}/done", json={"done": False, "person": "Bo"}).status_code == 204
    assert bo.put(f"{place}/judgements/d1", json={"grade": 1, "version": 1}).json()["grade"] == 1


def test_first_grades_at_the_same_moment_are_one_and_a_refusal(tool, project):
    bo = client(tool, "Bo")
    for key in ("d1", "d2", "d3"):
        with ThreadPoolExecutor(6) as workers:
            place = f"/projects/signs/queries/q1/judgements/{key}"
            answers = list(workers.map(lambda grade, at=place: bo.put(at, json={"grade": grade % 4}), range(6)))
        assert sorted(answer.status_code for answer in answers) == [200, *[409] * 5]
        won = next(answer.json()["grade"] for answer in answers if answer.is_success)
        told = next(answer.json() for answer in answers if not answer.is_success)
        assert told["current"] == {"grade": won, "note": "", "version": 1}


def test_forged_and_mistaken_tokens_open_nothing(tool, project):
    app = TestClient(build_app(tool), base_url="http://testserver" + PREFIX)
    told = app.post("/login", json={"name": "Bo", "password": "password-of-Bo"}).json()
    access, refresh = told["access_token"], told["refresh_token"]
    for token in ("", "x", access[:-1], access + "x", access.swapcase(), refresh, "null", "eyJhbGciOiJub25lIn0.e30."):
        problem(app.get("/projects", headers={"authorization": f"Bearer {token}"}), 401)
    problem(app.get("/projects", headers={"authorization": f"Basic {access}"}), 401)
    problem(app.post("/refresh", json={"refresh_token": access}), 401)
    problem(app.post("/join", json={"token": access, "name": "Eve", "password": "long enough it is"}), 401)
    public = {"/login", "/refresh", "/join", "/logout", "/templates"}
    spec = app.get("/openapi.json").json()
    for path, methods in spec["paths"].items():
        for method in methods:
            if path.removeprefix(PREFIX) not in public:
                answer = app.request(method, path.removeprefix(PREFIX), json={})
                assert answer.status_code == 401, f"{method} {path} is open to everybody: {answer.status_code}"
    assert spec["components"]["securitySchemes"]


def test_guesses_at_the_same_moment_are_counted_too(tool, project):
    app = TestClient(build_app(tool), base_url="http://testserver" + PREFIX)

    def guess(number):
        return app.post("/login", json={"name": "Bo", "password": f"wrong number {number}"}).status_code

    with ThreadPoolExecutor(16) as workers:
        told = list(workers.map(guess, range(24)))
    assert told.count(401) <= 5
    assert told.count(429) == 24 - told.count(401)


def test_a_password_is_changed_and_other_logins_end(tool, project):
    here, there = client(tool, "Bo"), client(tool, "Bo")
    problem(here.put("/me/password", json={"old": "wrong", "new": "another long one"}), 403)
    problem(here.put("/me/password", json={"old": "password-of-Bo", "new": "short"}), 422)
    assert here.put("/me/password", json={"old": "password-of-Bo", "new": "another long one"}).status_code == 204
    assert here.get("/me").status_code == 200
    problem(there.get("/me"), 401)
    problem(here.post("/login", json={"name": "Bo", "password": "password-of-Bo"}), 401)
    assert here.post("/login", json={"name": "Bo", "password": "another long one"}).status_code == 200


def test_a_team_can_begin_where_somebody_worked_alone(tmp_path):
    alone = open_tool(tmp_path)
    bearer = {"authorization": f"Bearer {alone.token}"}
    TestClient(build_app(alone)).post(f"{PREFIX}/projects", json={"name": "Mine"}, headers=bearer)
    alone.close()
    team = open_tool(tmp_path, team=True)
    token = first_administrator(team)
    assert token, "the one user of before has no password"
    app = TestClient(build_app(team), base_url="http://testserver" + PREFIX)
    problem(app.post("/login", json={"name": "me", "password": ""}), 401)
    joined = app.post("/join", json={"token": token, "name": "Ada", "password": "long enough it is"}).json()
    shown = app.get("/projects", headers={"authorization": f"Bearer {joined['access_token']}"}).json()
    assert [row["name"] for row in shown] == ["Mine"]
    assert first_administrator(team) is None
    team.close()


def join(app, token, name):
    return app.post("/join", json={"token": token, "name": name, "password": "long enough it is"})


def test_a_link_for_the_first_administrator_ends_with_the_next_start(tool):
    app = TestClient(build_app(tool), base_url="http://testserver" + PREFIX)
    old, new = first_administrator(tool), first_administrator(tool)
    problem(join(app, old, "Eve"), 401)
    assert join(app, new, "Ada").status_code == 200
    problem(join(app, new, "Eve"), 401)


def test_a_link_for_the_first_administrator_ends_with_the_first_administrator(tool):
    app = TestClient(build_app(tool), base_url="http://testserver" + PREFIX)
    token = first_administrator(tool)
    person(tool, "Ada", "admin")
    assert "ask them for an invitation" in problem(join(app, token, "Eve"), 401)
    assert first_administrator(tool) is None
    assert client(tool, "Ada").get("/invitations").json() == []
    invited = client(tool, "Ada").post("/invitations", json={"role": "admin"}).json()["token"]
    assert first_administrator(tool) is None
    assert join(app, invited, "Bo").status_code == 200, "a start ends no invitation that an administrator made"


def test_a_link_with_a_token_logs_in_where_one_person_works_alone_and_in_no_team(tmp_path, small):
    fill(small)
    access = client(small, "Bo").headers["authorization"].removeprefix("Bearer ")
    for tool, token, status in ((small, access, 401), (open_tool(tmp_path / "alone"), None, 200)):
        app = build_app(tool)
        mount_pages(app)
        page = TestClient(app)
        answer = page.get("/", params={"token": token or tool.token}, follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        assert page.get(f"{PREFIX}/me").status_code == status
    tool.close()


def test_a_login_costs_the_same_for_a_name_that_is_not_there(small, monkeypatch):
    from argon2 import PasswordHasher

    fill(small)
    app = TestClient(build_app(small), base_url="http://testserver" + PREFIX)
    work = []
    for name in ("hash", "verify"):
        act = getattr(PasswordHasher, name)
        counted = lambda self, *asked, name=name, act=act: (work.append(name), act(self, *asked))[1]  # noqa: E731
        monkeypatch.setattr(PasswordHasher, name, counted)
    app.post("/login", json={"name": "Nobody yet", "password": "a wrong password"})
    costs = {}
    for name in ("Bo", "Nobody", "Also nobody"):
        work.clear()
        problem(app.post("/login", json={"name": name, "password": "a wrong password"}), 401)
        costs[name] = list(work)
    assert all(steps == ["verify"] for steps in costs.values()), costs


def test_a_runs_name_is_no_path(small):
    fill(small)
    ada, bo = client(small, "Ada"), client(small, "Bo")
    for run in ("../..", "..", ".", "", "a/b", "/etc"):
        assert "not the name of a run" in problem(ada.post("/projects/signs/doubts", json={"run": run}), 400)
    problem(bo.post("/projects/signs/doubts", json={"run": "../.."}), 403)
    for model in ("../../etc", "/etc", "a/b"):
        asked = {"q": "fever", "mode": "dense", "model": model}
        assert "no run" in problem(bo.get("/projects/signs/search", params=asked), 404)


def test_a_key_that_a_server_sends_back_is_hidden():
    def leaks(messages):
        raise GenerationError("401: 'Bearer sk-secret-1' is unknown")

    quiet = Quiet(ScriptedProvider(leaks), "sk-secret-1")
    with pytest.raises(GenerationError, match=r"Bearer \*\*\*") as told:
        quiet.answer([], temperature=0, max_tokens=1, seed=0)
    assert told.value.__cause__ is None and told.value.__suppress_context__
    with pytest.raises(GenerationError, match=r"Bearer \*\*\*"):
        list(quiet.stream([], temperature=0, max_tokens=1, seed=0))
    assert list(Quiet(ScriptedProvider(["a b"]), "k").stream([], temperature=0, max_tokens=1, seed=0)) == ["a ", "b"]


KEY = "sk-a-long-secret-key-1"


def test_a_key_that_a_server_writes_into_its_answer_is_hidden_whole_or_in_pieces():
    class Echo(ScriptedProvider):
        def stream(self, messages, *, temperature, max_tokens, seed):
            text = f"key sk-a {KEY}, and {KEY[:6]}"
            yield ""
            yield from (text[at : at + size] for size in (3,) for at in range(0, len(text), size))
            return Answer(text, 1, 1, 0.0, reasoning=f"I see {KEY}")

    settings = {"temperature": 0, "max_tokens": 1, "seed": 0}
    stream, pieces = Quiet(Echo([]), KEY).stream([], **settings), []
    try:
        while True:
            pieces.append(next(stream))
    except StopIteration as end:
        whole = end.value
    assert pieces[0] == "", "that it is asked again is told at once"
    assert "".join(pieces) == whole.text == f"key sk-a ***, and {KEY[:6]}"
    assert whole.reasoning == "I see ***"
    assert Quiet(ScriptedProvider([f"It is {KEY}"]), KEY).answer([], **settings).text == "It is ***"
    assert Quiet(ScriptedProvider(["none of it"]), "none").answer([], **settings).text == "none of it"


@pytest.mark.parametrize(
    ("before", "after", "asked"),
    [
        ("openai/gpt-5-mini", "openai/gpt-5", False),
        ("openai/gpt-5-mini", "anthropic/claude", True),
        ("gpt-5-mini", "claude-5", True),
        ("openai/gpt-5", "gpt-5", True),
    ],
)
def test_another_provider_gets_no_key_unasked(small, before, after, asked):
    person(small, "Ada", "admin")
    ada = client(small, "Ada")
    ada.put("/llms", json={"name": "one", "model": before, "key": KEY})
    answer = ada.put("/llms", json={"name": "one", "model": after, "version": 1})
    assert answer.status_code == (422 if asked else 200)
    assert ada.put("/llms", json={"name": "one", "model": after, "version": 1 + (not asked), "key": KEY}).is_success


def test_nobody_but_the_owner_reads_the_folder_its_database_and_what_llms_were_asked(tmp_path):
    folder = tmp_path / "annotations"
    folder.mkdir(mode=0o755)
    (folder / "annotate.db").touch(mode=0o644)
    with closing(open_tool(tmp_path, team=True)) as tool, tool.database.writing():
        kept = [folder, *(path for path in folder.iterdir() if path.name != "index")]
        modes = {path.name: path.stat().st_mode & 0o077 for path in kept}
    assert {"annotations", "annotate.db", "annotate.db-wal", "secret.key", "llm", "llm.jsonl"} <= modes.keys()
    assert not any(modes.values()), modes


def test_a_database_password_is_not_told():
    with pytest.raises(ConfigError) as told:
        Database("nosuch+driver://me:very-secret@host/db")
    assert "very-secret" not in str(told.value)


def test_servers_that_start_at_once_migrate_once(tool):
    from sqlalchemy import text

    with tool.database.writing() as session:
        names = "people sessions api_tokens invitations login_failures llms projects members documents "
        names += "entries evidence queries "
        names += "judgements adjudications llm_grades rankings assignments drafts doubts changes "
        names += "document_assignments alembic_version"
        for name in reversed(names.split()):
            cascade = " CASCADE" if tool.database.engine.dialect.name == "postgresql" else ""
            session.execute(text(f"DROP TABLE {name}{cascade}"))
    newest = max(path.name[:4] for path in (MIGRATIONS / "versions").glob("0*.py"))
    with ThreadPoolExecutor(4) as workers:
        opened = list(workers.map(lambda _: Database(tool.database.url), range(4)))
    for one in opened:
        with one.reading() as session:
            assert session.execute(text("SELECT version_num FROM alembic_version")).scalars().all() == [newest]
        one.close()


def test_a_damaged_archive_leaves_nothing_behind(small):
    fill(small)
    ada = client(small, "Ada")
    whole = ada.get("/projects/signs/export/archive").content
    problem(ada.post("/projects/import", files={"file": ("a.zip", whole)}), 409)
    problem(client(small, "Bo").post("/projects/import", files={"file": ("a.zip", whole)}), 403)
    assert ada.delete("/projects/signs", params={"confirm": "Signs"}).status_code == 204
    parts = {
        name: zipfile.ZipFile(io.BytesIO(whole)).read(name) for name in zipfile.ZipFile(io.BytesIO(whole)).namelist()
    }
    for name, content in (
        ("project.json", b"{}"),
        ("project.json", b'{"key": "k", "name": "n", "schema": {"levels": 3}}'),
        ("documents.jsonl", b'{"key": "d"}\n'),
        ("documents.jsonl", b"[]\n"),
        ("judgements.jsonl", b'{"query_id": "gone", "document_id": "d1", "person_id": "Ada", "grade": 1}\n'),
        ("queries.jsonl", b"\xff\n"),
    ):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for part, there in parts.items():
                archive.writestr(part, content if part == name else there)
        answer = ada.post("/projects/import", files={"file": ("a.zip", buffer.getvalue())})
        assert 400 <= answer.status_code < 500, answer.text
        assert ada.get("/projects").json() == []
    assert ada.post("/projects/import", files={"file": ("a.zip", whole)}).status_code == 201
    assert ada.get("/projects/signs/export/archive").content == whole
