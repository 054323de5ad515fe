"""What people can do through the API, on both databases, and what nobody can."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from stm_agent.annotate.api.app import PREFIX, build_app
from stm_agent.annotate.base import now
from stm_agent.annotate.people_tables import LoginFailure, Session
from stm_agent.annotate.services import documents, people
from stm_agent.annotate.tool import open_tool
from stm_agent.testing.annotate import client, fill, person

EVIDENCE = {"document": "d1", "field": "text", "start": 2, "end": 8, "level": "2"}


def problem(answer, status):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.json()["title"]


def test_documents_are_paged_filtered_and_sorted(tool, project):
    bo = client(tool, "Bo")

    def keys(**asked):
        return [row["key"] for row in bo.get("/projects/signs/documents", params=asked).json()["documents"]]

    assert keys() == ["d1", "d2", "d3"]
    assert keys(filter="year>=2001", sort="-year") == ["d3", "d1"]
    assert keys(filter="title=Cough") == ["d2"]
    assert keys(filter=["text~FEVER"]) == ["d3"]
    assert keys(limit=1, offset=1) == ["d2"]
    assert "cannot be read" in problem(bo.get("/projects/signs/documents", params={"filter": "year"}), 422)
    assert bo.patch("/projects/signs/tags/d2", json={"add": ["lung", " lung "]}).json()["tags"] == ["lung"]
    assert keys(tag="lung") == ["d2"]
    assert bo.get("/projects/signs/documents/d1").json()["fields"]["year"] == 2001


def test_an_entry_is_saved_undone_and_made_a_query(tool):
    fill(tool, "qa")
    bo = client(tool, "Bo")
    entry = bo.post("/projects/signs/entries").json()
    place = f"/projects/signs/entries/{entry['key']}"

    def save(version, **changes):
        return bo.patch(place, json={"version": version, "changes": changes})

    first = save(1, values={"question": "what is fever?"}).json()
    evidence = {**EVIDENCE, "level": "relevant"}
    overlapping = {**evidence, "start": 0, "end": 12, "level": "irrelevant"}
    second = save(first["version"], evidence=[evidence, overlapping, {**evidence, "document": "d3"}]).json()
    assert [row["text"] for row in second["evidence"]] == ["raised", "A raised bod", "change"]
    third = save(second["version"], values={"answer": "A raised temperature [d1]."}, state="done").json()
    assert third["state"] == "done"
    query = bo.post(f"{place}/query", json={"split": "test"}).json()
    assert (query["text"], query["answer"], query["split"]) == ("what is fever?", "A raised temperature [d1].", "test")
    pool = {row["document"]: row["grade"] for row in bo.get(f"/projects/signs/queries/{query['key']}/pool").json()}
    assert pool == {"d1": 1, "d3": 1}
    undone = bo.post(f"{place}/undo", json={"version": third["version"]}).json()
    assert (undone["state"], undone["values"]) == ("draft", {"question": "what is fever?"})
    again = bo.post(f"{place}/undo", json={"version": undone["version"]}).json()
    assert again["evidence"] == []
    last = bo.post(f"{place}/undo", json={"version": again["version"]}).json()
    assert last["values"] == {}
    assert "nothing to undo" in problem(bo.post(f"{place}/undo", json={"version": last["version"]}), 422)


def test_an_empty_entry_that_is_begun_again_for_another_document_is_stale_in_the_window_before(tool):
    fill(tool, "qa")
    bo = client(tool, "Bo")

    def begin(document):
        return bo.post("/projects/signs/entries", json={"document": document, "reuse": True}).json()

    def save(entry, **changes):
        body = {"version": entry["version"], "changes": changes}
        return bo.patch(f"/projects/signs/entries/{entry['key']}", json=body)

    first, second = begin("d1"), begin("d2")
    assert (second["key"], second["about"]) == (first["key"], "d2")
    assert save(first, values={"question": "of d1?"}).status_code == 409
    assert save(second, values={"question": "of d2?"}).status_code == 200
    third = begin("d3")
    assert third["key"] != first["key"]
    assert save(third, notes="something").status_code == 200
    assert begin("d3")["key"] not in (first["key"], third["key"])


@pytest.mark.parametrize("value", ["true", "false"])
def test_yes_and_no_are_filtered_counted_and_dealt_by_their_names(tool, value):
    fill(tool)
    ada = client(tool, "Ada")
    rows = [[f"b{number}", {"text": "t", "checked": number < 2, "size": "1e999"}] for number in range(3)]
    assert ada.post("/projects/signs/documents", json={"documents": rows}).json()["added"] == 3

    def asked(part, **query):
        return ada.get(f"/projects/signs/{part}", params=query).json()

    wanted = ["b0", "b1"] if value == "true" else ["b2"]
    assert [row["key"] for row in asked("documents", filter=f"checked={value}")["documents"]] == wanted
    counts = {"true": 2, "false": 1}
    for query in ({}, {"q": "t"}, {"q": "checked:"}):
        found = {facet["field"]: facet for facet in asked("facets", **query)}.get("checked")
        assert not found or {one["value"]: one["count"] for one in found["values"]} == counts
    assert asked("documents", filter="size>3")["total"] == 0, "no number that a database has room for"


def test_a_save_reads_no_document_whose_evidence_stands_as_it_stood(tool, monkeypatch):
    fill(tool, "qa")
    bo = client(tool, "Bo")
    place = f"/projects/signs/entries/{bo.post('/projects/signs/entries').json()['key']}"
    read, get = [], documents.get
    monkeypatch.setattr(documents, "get", lambda session, project, key: read.append(key) or get(session, project, key))

    def save(version, *rows):
        read.clear()
        answer = bo.patch(place, json={"version": version, "changes": {"evidence": list(rows)}})
        assert answer.status_code == 200, answer.text
        return answer.json()["evidence"], list(read)

    first = {**EVIDENCE, "level": "relevant"}
    made, fetched = save(1, first, {**first, "end": 8}, {**first, "document": "d3"})
    assert fetched == ["d1", "d3"], "each once"
    again, fetched = save(2, *made)
    assert (again, fetched) == (made, [])
    changed, fetched = save(3, {**made[0], "level": "irrelevant"}, {**made[1], "document": "d3"}, made[2])
    assert fetched == ["d3"]
    assert [row["level"] for row in changed] == ["irrelevant", "relevant", "relevant"]
    assert [row["text"] for row in changed[1:]] == ["change", "change"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"values": {"nothing": "x"}}, "no block 'nothing'"),
        ({"values": {"question": 3}}, "holds a text"),
        ({"state": "done"}, "'Question' is required and empty"),
        ({"state": "sleeping"}, "not 'sleeping'"),
        ({"evidence": [{**EVIDENCE, "level": "relevant", "end": 999}]}, "is not in 'text' of document 'd1'"),
        ({"evidence": [{**EVIDENCE, "level": "relevant", "document": "d9"}]}, "no document 'd9'"),
        ({"evidence": [{**EVIDENCE, "level": "purple"}]}, "no level 'purple'"),
        ({"person_id": 1}, "has no 'person_id'"),
    ],
)
def test_a_save_that_cannot_be_is_refused_whole(small, changes, told):
    fill(small, "qa")
    bo = client(small, "Bo")
    entry = bo.post("/projects/signs/entries").json()
    place = f"/projects/signs/entries/{entry['key']}"
    answer = bo.patch(place, json={"version": 1, "changes": {"notes": "kept?", **changes}})
    assert answer.status_code in (404, 422)
    assert told in answer.json()["title"]
    assert bo.get(place).json() == entry


def test_the_second_of_two_saves_is_refused_with_what_is_there(tool, project):
    bo = client(tool, "Bo")
    entry = bo.post("/projects/signs/entries").json()
    place = f"/projects/signs/entries/{entry['key']}"
    assert bo.patch(place, json={"version": 1, "changes": {"notes": "one"}}).status_code == 200
    answer = bo.patch(place, json={"version": 1, "changes": {"notes": "two"}})
    assert "changed by somebody else" in problem(answer, 409)
    assert answer.json()["current"]["notes"] == "one"


def test_many_writers_lose_nothing(tool, project):
    bo = client(tool, "Bo")
    key = bo.post("/projects/signs/entries").json()["key"]

    def append(number):
        while True:
            seen = bo.get(f"/projects/signs/entries/{key}").json()
            changes = {"notes": f"{seen['notes']} {number}".strip()}
            answer = bo.patch(f"/projects/signs/entries/{key}", json={"version": seen["version"], "changes": changes})
            if answer.status_code == 200:
                return
            assert answer.status_code == 409, answer.text

    with ThreadPoolExecutor(6) as workers:
        list(workers.map(append, range(24)))
    kept = bo.get(f"/projects/signs/entries/{key}").json()
    assert sorted(map(int, kept["notes"].split())) == list(range(24))
    assert kept["version"] == 25


def test_judging_is_blind_until_one_is_done(tool, project):
    bo, cy, ada = (client(tool, name) for name in ("Bo", "Cy", "Ada"))
    place = "/projects/signs/queries/q1"
    graded = bo.put(f"{place}/judgements/d1", json={"grade": 3}).json()
    assert graded == {"document": "d1", "grade": 3, "version": 1, "llm_grade": None}
    assert "no grade 7" in problem(bo.put(f"{place}/judgements/d1", json={"grade": 7, "version": 1}), 422)
    problem(bo.put(f"{place}/judgements/d1", json={"grade": 2}), 409)
    bo.put(f"{place}/judgements/d2", json={"grade": 0})
    cy.put(f"{place}/judgements/d1", json={"grade": 1})
    assert "hidden" in problem(cy.get(f"{place}/judgements"), 403)
    assert cy.put(f"{place}/done", json={}).status_code == 204
    seen = {(row["person"], row["document"]): row["grade"] for row in cy.get(f"{place}/judgements").json()}
    assert seen == {("Bo", "d1"): 3, ("Bo", "d2"): 0, ("Cy", "d1"): 1}
    (apart,) = ada.get("/projects/signs/disagreements").json()
    assert (apart["document"], apart["grades"], apart["gap"]) == ("d1", {"Bo": 3, "Cy": 1}, 2)
    problem(bo.get("/projects/signs/disagreements"), 403)
    assert ada.put(f"{place}/final/d1", json={"grade": 2}).json()["version"] == 1
    assert ada.get("/projects/signs/disagreements").json() == []
    taken = bo.put(f"{place}/judgements/d2", json={"grade": None, "version": 1}).json()
    assert (taken["grade"], taken["version"]) == (None, 0)
    assert ("Bo", "d2") not in {(row["person"], row["document"]) for row in ada.get(f"{place}/judgements").json()}


def test_queries_are_dealt_out_evenly_with_overlap(tool, project):
    ada, bo = client(tool, "Ada"), client(tool, "Bo")
    version = ada.get("/projects/signs").json()["version"]
    ada.patch("/projects/signs", json={"version": version, "changes": {"overlap": 2}})
    assert ada.post("/projects/signs/deal").json() == {"dealt": 4, "of": 2}
    assert ada.post("/projects/signs/deal").json() == {"dealt": 0, "of": 2}
    rows = ada.get("/projects/signs/progress").json()
    assert sum(row["given"] for row in rows) == 4
    assert max(row["given"] for row in rows) - min(row["given"] for row in rows) <= 1
    given = bo.get("/projects/signs/work").json()
    bo.put(f"/projects/signs/queries/{given[0]['key']}/done", json={})
    assert [row["done"] for row in bo.get("/projects/signs/work").json()] == [*[False] * (len(given) - 1), True]


def test_a_changed_schema_loses_nothing_anybody_wrote(tool):
    fill(tool, "qa")
    ada, bo = client(tool, "Ada"), client(tool, "Bo")
    entry = bo.post("/projects/signs/entries").json()["key"]
    bo.patch(f"/projects/signs/entries/{entry}", json={"version": 1, "changes": {"values": {"question": "why?"}}})
    project = ada.get("/projects/signs").json()
    schema = project["schema"]
    whole = [dict(block) for block in schema["blocks"]]
    schema["blocks"] = [{**whole[0], "name": "Asked", "type": "longtext"}]
    edited = ada.patch("/projects/signs", json={"version": project["version"], "changes": {"schema": schema}}).json()
    assert bo.get(f"/projects/signs/entries/{entry}").json()["values"] == {"question": "why?"}
    schema["blocks"] = [{**whole[0], "type": "number"}]
    again = ada.patch("/projects/signs", json={"version": edited["version"], "changes": {"schema": schema}}).json()
    kept = bo.get(f"/projects/signs/entries/{entry}").json()
    assert (kept["values"], kept["migrated"]) == ({}, {"question": "why?"})
    schema["blocks"] = [whole[0]]
    ada.patch("/projects/signs", json={"version": again["version"], "changes": {"schema": schema}})
    back = bo.get(f"/projects/signs/entries/{entry}").json()
    assert (back["values"], back["migrated"]) == ({"question": "why?"}, {})
    schema["blocks"] = [{**whole[0], "inputs": [{"kind": "block", "ref": "gone"}]}]
    last = ada.get("/projects/signs").json()["version"]
    answer = ada.patch("/projects/signs", json={"version": last, "changes": {"schema": schema}})
    assert "reads block 'gone'" in problem(answer, 422)


def test_projects_are_seen_by_members_and_deleted_by_name(tool, project):
    person(tool, "Di")
    di, ada, bo = (client(tool, name) for name in ("Di", "Ada", "Bo"))
    assert di.get("/projects").json() == []
    for path in ("", "/documents", "/documents/d1", "/entries", "/queries", "/work"):
        assert "no project 'signs'" in problem(di.get(f"/projects/signs{path}"), 404)
    assert [row["name"] for row in bo.get("/projects", params={"tag": "clinic"}).json()] == ["Signs"]
    problem(bo.post("/projects", json={"name": "Mine"}), 403)
    problem(ada.post("/projects", json={"name": "Signs"}), 409)
    copy = ada.post("/projects/signs/duplicate", json={"name": "Signs 2"}).json()
    assert (copy["documents"], copy["schema"]) == (0, ada.get("/projects/signs").json()["schema"])
    entry = bo.post("/projects/signs/entries").json()["key"]
    bo.patch(f"/projects/signs/entries/{entry}", json={"version": 1, "changes": {"evidence": [EVIDENCE]}})
    bo.put("/projects/signs/queries/q1/judgements/d2", json={"grade": 1})
    assert "1 pieces of evidence" in problem(ada.delete("/projects/signs/documents/d1"), 422)
    assert ada.delete("/projects/signs/documents/d3").status_code == 204
    assert "confirm with its name" in problem(ada.delete("/projects/signs", params={"confirm": "yes"}), 403)
    assert ada.delete("/projects/signs", params={"confirm": "Signs"}).status_code == 204
    problem(ada.get("/projects/signs"), 404)


def test_another_persons_entry_is_not_there(tool, project):
    bo, cy, ada = (client(tool, name) for name in ("Bo", "Cy", "Ada"))
    place = f"/projects/signs/entries/{bo.post('/projects/signs/entries').json()['key']}"
    problem(cy.get(place), 404)
    problem(cy.patch(place, json={"version": 1, "changes": {"notes": "mine"}}), 404)
    assert ada.get(place).json()["author"] == "Bo"
    problem(ada.patch(place, json={"version": 1, "changes": {"notes": "mine"}}), 403)
    assert cy.get("/projects/signs/entries").json() == []


def test_tokens_expire_refresh_once_and_end(tool, project):
    app = TestClient(build_app(tool), base_url="http://testserver" + PREFIX)
    told = app.post("/login", json={"name": "Bo", "password": "password-of-Bo"}).json()
    bearer = {"authorization": f"Bearer {told['access_token']}"}
    assert app.get("/me", headers=bearer).json() == {"name": "Bo", "role": "annotator", "alone": False}
    with tool.database.writing() as session:
        session.execute(update(Session).values(expires_at=now() - timedelta(seconds=1)))
    assert "expired" in problem(app.get("/me", headers=bearer), 401)
    fresh = app.post("/refresh", json={"refresh_token": told["refresh_token"]}).json()
    problem(app.post("/refresh", json={"refresh_token": told["refresh_token"]}), 401)
    bearer = {"authorization": f"Bearer {fresh['access_token']}"}
    assert app.get("/me", headers=bearer).status_code == 200
    assert app.post("/logout", headers=bearer).status_code == 204
    problem(app.get("/me", headers=bearer), 401)
    problem(app.get("/me", headers={"authorization": "Bearer forged"}), 401)
    problem(app.get("/me"), 401)


def test_wrong_passwords_are_limited_by_name_and_address(tool, project, monkeypatch):
    monkeypatch.setattr(people, "CROWD", 5)
    app = TestClient(build_app(tool), base_url="http://testserver" + PREFIX)
    for number in range(5):
        problem(app.post("/login", json={"name": f"nobody{number}", "password": "wrong"}), 401)
    problem(app.post("/login", json={"name": "Bo", "password": "password-of-Bo"}), 429)
    with tool.database.writing() as session:
        session.execute(update(LoginFailure).values(at=now() - timedelta(hours=1)))
    assert app.post("/login", json={"name": "Bo", "password": "password-of-Bo"}).status_code == 200


def test_an_invitation_works_once(tool, project):
    ada = client(tool, "Ada")
    token = ada.post("/invitations", json={"project": "signs"}).json()["token"]
    app = TestClient(build_app(tool), base_url="http://testserver" + PREFIX)
    assert "10 to 1000" in problem(app.post("/join", json={"token": token, "name": "Eve", "password": "short"}), 422)
    joined = app.post("/join", json={"token": token, "name": "Eve", "password": "long enough it is"}).json()
    bearer = {"authorization": f"Bearer {joined['access_token']}"}
    assert [row["key"] for row in app.get("/projects", headers=bearer).json()] == ["signs"]
    problem(app.post("/join", json={"token": token, "name": "Eva", "password": "long enough it is"}), 401)
    problem(client(tool, "Bo").post("/invitations", json={}), 403)


def test_somebody_shut_out_is_out_at_once_and_the_last_administrator_stays(tool, project):
    ada, bo = client(tool, "Ada"), client(tool, "Bo")
    assert ada.patch("/people/Bo", json={"version": 1, "active": False}).json()["active"] is False
    problem(bo.get("/me"), 401)
    stale = ada.patch("/people/Bo", json={"version": 1, "role": "reviewer"})
    assert (stale.status_code, stale.json()["current"]["active"]) == (409, False), "somebody else changed them"
    assert ada.patch("/people/Bo", json={"version": 2, "role": "reviewer"}).json()["version"] == 3
    assert "last administrator" in problem(ada.patch("/people/Ada", json={"version": 1, "role": "annotator"}), 422)
    assert ada.get("/me").status_code == 200


def test_llm_keys_never_leave_and_only_administrators_set_urls(tool, project, caplog):
    ada, bo = client(tool, "Ada"), client(tool, "Bo")
    setting = {"name": "local", "model": "openai/x", "api_base": "http://127.0.0.1:1/v1", "key": "sk-very-secret"}
    moved = {"name": "local", "model": "openai/y", "api_base": setting["api_base"], "version": 1}
    told = ada.put("/llms", json=setting)
    assert told.json()["has_key"] is True
    seen = [told.text, ada.get("/llms").text, bo.get("/llms").text, caplog.text]
    assert not any("sk-very-secret" in text for text in seen)
    assert "127.0.0.1" not in bo.get("/llms").text
    problem(bo.put("/llms", json=setting), 403)
    assert problem(bo.post("/llms/local/try"), 403)
    assert "not a base URL" in problem(ada.put("/llms", json={**setting, "api_base": "file:///etc/passwd"}), 422)
    assert "enter the key again" in problem(ada.put("/llms", json={**moved, "api_base": "http://else.where"}), 422)
    assert ada.put("/llms", json=moved).json()["has_key"] is True
    with tool.database.reading() as session:
        from stm_agent.annotate.services.llms import choose

        chosen = choose(session, tool.vault, "")
    assert (chosen.key, chosen.model) == ("sk-very-secret", "openai/y")
    assert "sk-very" not in repr(chosen)


def test_alone_on_a_machine_the_token_of_the_url_is_all(tmp_path):
    alone = open_tool(tmp_path)
    app = TestClient(build_app(alone), base_url="http://testserver" + PREFIX)
    problem(app.get("/me"), 401)
    assert app.get("/me", headers={"authorization": f"Bearer {alone.token}"}).json()["role"] == "admin"
    assert alone.token not in repr(alone)
    assert (tmp_path / "annotations" / "secret.key").stat().st_mode & 0o777 == 0o600
    alone.close()
    again = open_tool(tmp_path)
    assert again.token != alone.token, "every start has a token of its own"
    again.close()


def test_openapi_says_what_each_answer_holds(small):
    """An answer that is only an object has no keys that a client could be written against."""
    bare = set()
    for path, methods in build_app(small).openapi()["paths"].items():
        for method, operation in methods.items():
            for status, answer in operation["responses"].items():
                schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
                schema = schema.get("items", schema)
                if status.startswith("2") and schema.get("additionalProperties") is True:
                    bare.add(f"{method} {path}")
    assert not bare
