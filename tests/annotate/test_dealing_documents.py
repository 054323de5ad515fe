"""Documents are dealt out to be written about, evenly, and are done when something finished stands on them."""

from __future__ import annotations

import io
import time
import zipfile
from collections import Counter

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text

from stm_agent.annotate.database import MIGRATIONS, migrate
from stm_agent.annotate.formats import archive
from stm_agent.annotate.services import dealing, documents, entries, people, projects
from stm_agent.testing.annotate import client, fill, person

PLACE = "/projects/signs"


@pytest.fixture
def ada(tool):
    """Ada administers a project for writing and is in no team; Bo and Cy write."""
    fill(tool, "qa")
    ada = client(tool, "Ada")
    ada.delete(f"{PLACE}/members/Ada")
    return ada


def deal(ada, **asked):
    return ada.post(f"{PLACE}/deal", json={"what": "documents", **asked}).json()["dealt"]


def overlap(ada, number):
    version = ada.get(PLACE).json()["version"]
    assert ada.patch(PLACE, json={"version": version, "changes": {"overlap": number}}).is_success


def theirs(who):
    """The documents dealt to somebody, with whether each is done."""
    told = who.get(f"{PLACE}/documents", params={"mine": True}).json()
    rows = {row["key"]: row["done"] for row in told["documents"]}
    assert (told["total"], told["open"]) == (len(rows), list(rows.values()).count(False))
    return rows


def write(who, document, state="done"):
    entry = who.post(f"{PLACE}/entries").json()
    mark = {"document": document, "field": "text", "start": 0, "end": 3, "level": "relevant"}
    changes = {"values": {"question": "why", "answer": "so"}, "evidence": [mark], "state": state}
    told = who.patch(f"{PLACE}/entries/{entry['key']}", json={"version": 1, "changes": changes})
    assert told.is_success, told.text
    return told.json()


def progress(ada):
    rows = ada.get(f"{PLACE}/progress").json()
    return {row["name"]: (row["documents_done"], row["documents_given"]) for row in rows}


def test_documents_are_dealt_evenly_each_to_as_many_as_the_overlap(tool, ada):
    bo, cy = client(tool, "Bo"), client(tool, "Cy")
    assert theirs(bo) == {}
    assert progress(ada) == {"Bo": (0, 0), "Cy": (0, 0)}
    assert (deal(ada), deal(ada)) == (3, 0)
    assert sorted([*theirs(bo), *theirs(cy)]) == ["d1", "d2", "d3"]
    assert {len(theirs(bo)), len(theirs(cy))} == {1, 2}
    overlap(ada, 2)
    assert deal(ada) == 3
    assert list(theirs(bo)) == list(theirs(cy)) == ["d1", "d2", "d3"]
    assert progress(ada) == {"Bo": (0, 3), "Cy": (0, 3)}
    assert bo.post(f"{PLACE}/deal", json={"what": "documents"}).status_code == 403
    overlap(ada, 3)
    told = ada.post(f"{PLACE}/deal", json={"what": "documents"})
    assert (told.status_code, told.json()["title"]) == (
        422,
        "3 people for each document, but there are only 2; add people or choose fewer",
    )


def test_only_some_documents_are_dealt_by_tag_or_filter(tool, ada):
    ada.patch(f"{PLACE}/tags/d2", json={"add": ["pilot"]})
    bo, cy = client(tool, "Bo"), client(tool, "Cy")
    assert deal(ada, tag="pilot") == 1
    assert [*theirs(bo), *theirs(cy)] == ["d2"]
    assert deal(ada, filters=["title~a", "title!=Rash"]) == 0
    assert deal(ada, filters=["title~a"]) == 1
    assert {**theirs(bo), **theirs(cy)} == {"d2": False, "d3": False}
    assert ada.post(f"{PLACE}/deal", json={"what": "documents", "filters": ["??"]}).status_code == 422
    told = ada.post(f"{PLACE}/deal", json={"tag": "pilot"})
    assert "choose documents" in told.json()["title"]


def test_queries_are_dealt_where_nothing_else_is_said(tool, ada):
    assert ada.post(f"{PLACE}/deal").json() == {"dealt": 2, "of": 2}
    assert ada.post(f"{PLACE}/deal", json={}).json() == {"dealt": 0, "of": 2}
    assert theirs(client(tool, "Bo")) == {}


def test_a_finished_entry_makes_its_documents_done_for_its_author(tool, ada):
    overlap(ada, 2)
    deal(ada)
    bo, cy = client(tool, "Bo"), client(tool, "Cy")
    write(bo, "d1", "draft")
    assert theirs(bo)["d1"] is False
    entry = write(bo, "d1")
    assert theirs(bo) == {"d2": False, "d3": False, "d1": True}
    assert list(theirs(bo)) == ["d2", "d3", "d1"], "open ones first"
    assert list(theirs(cy)) == ["d1", "d2", "d3"]
    assert bo.get(f"{PLACE}/documents/d1").json()["done"] is True
    assert cy.get(f"{PLACE}/documents/d1").json()["done"] is False
    assert ada.get(f"{PLACE}/documents/d1").json()["done"] is None
    assert progress(ada) == {"Bo": (1, 3), "Cy": (0, 3)}
    place = f"{PLACE}/entries/{entry['key']}"
    undone = bo.post(f"{place}/undo", json={"version": entry["version"]}).json()
    assert theirs(bo)["d1"] is False
    bo.put(f"{PLACE}/documents/d3/done", json={})
    redone = bo.post(f"{place}/redo", json={"version": undone["version"]}).json()
    assert theirs(bo) == {"d1": True, "d2": False, "d3": True}
    other = write(bo, "d1")
    bo.patch(place, json={"version": redone["version"], "changes": {"state": "draft"}})
    assert theirs(bo)["d1"] is True, "the other entry is finished still"
    bo.delete(f"{PLACE}/entries/{other['key']}")
    assert theirs(bo)["d1"] is False


def test_an_entry_that_was_begun_for_a_document_makes_it_done_without_evidence(tool, ada):
    overlap(ada, 2)
    deal(ada)
    with tool.database.writing() as session:
        bo = people.actor_of(people.named(session, "Bo"))
        row = projects.find(session, bo, "signs")
        entry = entries.create(session, bo, row, document="d2")
        entries.save(session, bo, row, entry, {"values": {"question": "q", "answer": "a"}, "state": "done"}, version=1)
    bo = client(tool, "Bo")
    assert [key for key, done in theirs(bo).items() if done] == ["d2"]
    begun = bo.post(f"{PLACE}/entries", json={"document": "d1"}).json()
    assert begun["about"] == "d1"
    mark = {"document": "d3", "field": "text", "start": 0, "end": 8, "level": "relevant"}
    changes = {"values": {"question": "q", "answer": "a"}, "evidence": [mark], "state": "done"}
    bo.patch(f"{PLACE}/entries/{begun['key']}", json={"version": 1, "changes": changes})
    assert {key for key, done in theirs(bo).items() if done} == {"d2", "d3"}, "evidence says what it is about"
    assert bo.post(f"{PLACE}/entries", json={"document": "gone"}).status_code == 404


def test_a_person_says_by_hand_that_a_document_is_done(tool, ada):
    overlap(ada, 2)
    deal(ada)
    bo, cy = client(tool, "Bo"), client(tool, "Cy")
    assert bo.put(f"{PLACE}/documents/d3/done", json={}).status_code == 204
    assert (theirs(bo)["d3"], theirs(cy)["d3"]) == (True, False)
    assert bo.put(f"{PLACE}/documents/d3/done", json={"done": False}).status_code == 204
    assert theirs(bo)["d3"] is False
    told = ada.put(f"{PLACE}/documents/d3/done", json={})
    assert (told.status_code, "not assigned to you" in told.json()["title"]) == (422, True)
    assert bo.put(f"{PLACE}/documents/gone/done", json={}).status_code == 404


def test_who_wrote_before_the_dealing_is_one_of_the_documents_people(tool, ada):
    bo, cy = client(tool, "Bo"), client(tool, "Cy")
    write(cy, "d1")
    assert deal(ada) == 2
    assert theirs(cy)["d1"] is True
    assert "d1" not in theirs(bo)


def test_what_somebody_who_is_gone_left_open_is_dealt_again(tool, ada):
    deal(ada)
    bo, cy = client(tool, "Bo"), client(tool, "Cy")
    mine = theirs(bo)
    first = next(iter(mine))
    bo.put(f"{PLACE}/documents/{first}/done", json={})
    ada.delete(f"{PLACE}/members/Bo")
    assert deal(ada) == len(mine) - 1
    assert sorted(theirs(cy)) == sorted({"d1", "d2", "d3"} - {first})
    ada.post(f"{PLACE}/members", json={"name": "Bo"})
    ada.patch("/people/Cy", json={"version": 1, "active": False})
    assert deal(ada) == 2
    assert set(theirs(bo)) == {"d1", "d2", "d3"}


def test_entries_of_others_stay_hidden_from_annotators_and_open_to_reviewers(tool, ada):
    overlap(ada, 2)
    deal(ada)
    bo, cy = client(tool, "Bo"), client(tool, "Cy")
    entry = write(bo, "d1")
    assert cy.get(f"{PLACE}/entries").json() == []
    assert cy.get(f"{PLACE}/entries/{entry['key']}").status_code == 404
    person(tool, "Rex", "reviewer")
    ada.post(f"{PLACE}/members", json={"name": "Rex"})
    rex = client(tool, "Rex")
    write(cy, "d1")
    assert [row["author"] for row in rex.get(f"{PLACE}/entries").json()] == ["Cy", "Bo"]


def test_what_was_dealt_goes_along_in_an_archive(tool, ada):
    overlap(ada, 2)
    deal(ada)
    write(client(tool, "Bo"), "d2")
    whole = ada.get(f"{PLACE}/export/archive").content
    _, parts = archive.unpack(whole)
    assert Counter(row["person_id"] for row in parts["document_assignments"]) == {"Bo": 3, "Cy": 3}
    assert {row["document_id"] for row in parts["document_assignments"] if row["done"]} == {"d2"}
    assert ada.delete(PLACE, params={"confirm": "Signs"}).status_code == 204
    assert ada.post("/projects/import", files={"file": ("a.zip", whole)}).status_code == 201
    assert ada.get(f"{PLACE}/export/archive").content == whole


def test_an_archive_from_before_documents_were_dealt_comes_in(small):
    fill(small)
    ada = client(small, "Ada")
    whole = ada.get(f"{PLACE}/export/archive").content
    ada.delete(PLACE, params={"confirm": "Signs"})
    there, older = zipfile.ZipFile(io.BytesIO(whole)), io.BytesIO()
    with zipfile.ZipFile(older, "w") as packed:
        for name in there.namelist():
            if name != "document_assignments.jsonl":
                packed.writestr(name, there.read(name))
    assert ada.post("/projects/import", files={"file": ("a.zip", older.getvalue())}).status_code == 201
    assert ada.get(f"{PLACE}/export/archive").content == whole


def test_a_database_of_an_earlier_version_gets_the_table_and_keeps_its_documents(tool, ada):
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    engine = tool.database.engine
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        config.attributes["connection"] = connection
        command.downgrade(config, "0003")
    migrate(engine)
    assert deal(ada) == 3
    with tool.database.reading() as session:
        assert session.execute(text("SELECT count(*) FROM document_assignments")).scalar() == 3


def test_many_documents_are_dealt_in_seconds(tool, ada):
    overlap(ada, 2)
    with tool.database.writing() as session:
        row = projects.find(session, people.actor_of(people.named(session, "Ada")), "signs")
        documents.add(session, row, ((f"n{number}", {"text": "t"}) for number in range(20_000)))
    begun = time.monotonic()
    assert deal(ada) == 40_006
    assert time.monotonic() - begun < 10
    assert client(tool, "Bo").get(f"{PLACE}/documents", params={"mine": True}).json()["open"] == 20_003


def test_shares_go_to_whoever_has_the_fewest():
    assert dealing.shares([1, 2, 3], [], [7, 8], 1) == [(1, 7), (2, 8), (3, 7)]
    assert dealing.shares([1, 2], [(1, 7), (5, 7)], [7, 8], 1) == [(2, 8)]
    assert dealing.shares([1, 2], [(1, 7)], [7, 8], 2) == [(1, 8), (2, 7), (2, 8)]
    assert dealing.shares([1], [(1, 7)], [7], 2) == []


def test_what_was_dealt_by_mistake_is_taken_back_but_not_what_is_done(tool, ada):
    overlap(ada, 2)
    assert deal(ada) == 6
    bo = client(tool, "Bo")
    write(bo, "d1")
    told = ada.post(f"{PLACE}/undeal", json={"what": "documents", "filters": ["year<2005"]})
    assert told.json() == {"taken": 3}
    assert theirs(bo) == {"d1": True, "d3": False}
    assert ada.post(f"{PLACE}/undeal", json={"what": "documents"}).json() == {"taken": 2}
    assert (ada.post(f"{PLACE}/deal").json(), ada.post(f"{PLACE}/undeal").json()) == (
        {"dealt": 4, "of": 2},
        {"taken": 4},
    )
    assert bo.post(f"{PLACE}/undeal").status_code == 403
    assert ada.post(f"{PLACE}/undeal", json={"tag": "x"}).status_code == 422


def test_it_is_dealt_to_whom_and_to_how_many_one_says(tool, ada):
    bo, cy = client(tool, "Bo"), client(tool, "Cy")
    assert (deal(ada, people=["Cy"]), len(theirs(bo)), len(theirs(cy))) == (3, 0, 3)
    assert (deal(ada, people=["Cy"]), deal(ada, each=2)) == (0, 3)
    assert len(theirs(bo)) == 3
    for asked, status in (({"people": ["Ada"]}, 404), ({"people": ["Bo"], "each": 2}, 422), ({"each": 0}, 422)):
        assert ada.post(f"{PLACE}/deal", json=asked).status_code == status
    assert ada.post(f"{PLACE}/deal", json={"what": "documents", "tag": "none"}).json() == {"dealt": 0, "of": 0}
    assert ada.post(f"{PLACE}/deal", json={"people": ["Bo"]}).json() == {"dealt": 2, "of": 2}
