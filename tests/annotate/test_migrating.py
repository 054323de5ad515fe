"""Schemas that are edited: documents, evidence, grades and values come along, and come back."""

from __future__ import annotations

import pytest

from stm_agent.annotate.services import documents, projects
from stm_agent.annotate.tables import Document, Draft, LlmGrade, Project, Query
from stm_agent.testing.annotate import client, fill, person

OPTIONS = ["red", "green"]


@pytest.fixture
def marked(tool):
    """The place of Bo's entry, with evidence in d1."""
    fill(tool, "qa")
    bo = client(tool, "Bo")
    place = f"/projects/signs/entries/{bo.post('/projects/signs/entries').json()['key']}"
    mark = {"key": "m", "document": "d1", "field": "text", "start": 0, "end": 5, "level": "relevant"}
    assert bo.patch(place, json={"version": 1, "changes": {"evidence": [mark]}}).status_code == 200
    return place


def edited(ada, change, **more):
    """Change the schema of project Signs."""
    now = ada.get("/projects/signs").json()
    schema = now["schema"]
    change(schema)
    return ada.patch("/projects/signs", json={"version": now["version"], "changes": {"schema": schema, **more}})


def named(**names):
    """Give fields, by id, other names."""

    def change(schema):
        for field in schema["fields"]:
            field["name"] = names.get(field["id"], field["name"])

    return change


def test_a_renamed_field_takes_its_texts_and_evidence_along_and_back(tool, marked):
    ada, bo = client(tool, "Ada"), client(tool, "Bo")
    before = ada.get("/projects/signs/documents/d1").json()["fields"]
    assert edited(ada, named(text="body")).status_code == 200
    fields = ada.get("/projects/signs/documents/d1").json()["fields"]
    assert (fields["body"], "text" in fields) == (before["text"], False)
    assert ada.get("/projects/signs/search", params={"q": "temperature"}).json()[0]["key"] == "d1"
    entry = bo.get(marked).json()
    assert entry["evidence"][0]["field"] == "body"
    undone = bo.post(f"{marked}/undo", json={"version": entry["version"]}).json()
    again = bo.post(f"{marked}/redo", json={"version": undone["version"]}).json()
    assert again["evidence"][0]["field"] == "body", "the record's name of then is read as that of now"
    assert edited(ada, named(text="text")).status_code == 200
    assert ada.get("/projects/signs/documents/d1").json()["fields"] == before
    assert bo.get(marked).json()["evidence"][0]["field"] == "text"


def test_a_new_name_that_holds_something_else_is_refused_and_two_names_may_change_places(tool, marked):
    ada, bo = client(tool, "Ada"), client(tool, "Bo")
    before = ada.get("/projects/signs/documents/d1").json()["fields"]
    told = edited(ada, named(text="year"))
    assert told.status_code == 422 and "has a 'year' that is not its 'text'" in told.json()["title"]
    assert ada.get("/projects/signs/documents/d1").json()["fields"] == before
    assert edited(ada, named(text="title", title="text")).status_code == 200
    fields = ada.get("/projects/signs/documents/d1").json()["fields"]
    assert (fields["title"], fields["text"]) == (before["text"], before["title"])
    assert bo.get(marked).json()["evidence"][0]["field"] == "title"


def test_many_documents_are_renamed_page_by_page(small, monkeypatch):
    ada = person(small, "Ada", "admin")
    monkeypatch.setattr("stm_agent.annotate.services.renaming.AT_ONCE", 2)
    with small.database.writing() as session:
        made = projects.create(session, ada, name="Many", template="qa", key="many")
        documents.add(session, made, [(f"d{number}", {"text": f"t{number}"}) for number in range(5)])
    with small.database.writing() as session:
        row = session.query(Project).filter_by(key="many").one()
        schema = {**row.schema, "fields": [{**one, "name": one["name"].upper()} for one in row.schema["fields"]]}
        projects.edit(session, ada, row, {"schema": schema}, version=row.version)
    with small.database.reading() as session:
        rows = session.query(Document).order_by(Document.id)
        assert [row.fields for row in rows] == [{"TEXT": f"t{number}"} for number in range(5)]


def scored(**scores):
    """Give levels, by id, other scores."""

    def change(schema):
        for level in schema["levels"]:
            level["score"] = scores.get(f"l{level['id']}", level["score"])

    return change


def without(score):
    """Take a level away."""

    def change(schema):
        schema["levels"] = [one for one in schema["levels"] if one["score"] != score]

    return change


def test_grades_follow_the_score_of_their_level(tool, project):
    ada, bo = client(tool, "Ada"), client(tool, "Bo")
    bo.put("/projects/signs/queries/q1/judgements/d1", json={"grade": 3})
    bo.put("/projects/signs/queries/q1/judgements/d2", json={"grade": 2})
    with tool.database.writing() as session:
        query = session.query(Query).filter_by(key="q1").one()
        judged = session.query(Document).filter_by(key="d1").one()
        said = Draft(project_id=query.project_id, block="", model="m", parameters={}, messages=[])
        session.add(said)
        session.flush()
        session.add(LlmGrade(query_id=query.id, document_id=judged.id, grade=3, draft_id=said.id))
    assert edited(ada, scored(l3=4)).status_code == 200
    assert edited(ada, scored(l3=2, l2=4)).status_code == 200, "two scores may change places"
    assert ada.get("/projects/signs/export/qrels").text == "q1 0 d1 2\nq1 0 d2 4\n"
    with tool.database.reading() as session:
        assert session.query(LlmGrade).one().grade == 2
    told = bo.put("/projects/signs/queries/q1/judgements/d1", json={"grade": 0, "version": 1})
    assert told.status_code == 409, "who has the old grade open does not save over it"


def test_no_grade_is_left_without_a_level_or_put_with_another_unasked(tool, project):
    ada, bo = client(tool, "Ada"), client(tool, "Bo")
    bo.put("/projects/signs/queries/q1/judgements/d1", json={"grade": 3})
    bo.put("/projects/signs/queries/q1/judgements/d2", json={"grade": 2})
    told = edited(ada, without(3))
    assert told.status_code == 422 and "1 judgements of grade 3 ('Answers it')" in told.json()["title"]
    assert told.json()["unplaced"] == [{"grade": 3, "name": "Answers it", "count": 1, "goal": 2}]
    told = edited(ada, lambda schema: schema.update(levels=schema["levels"][:1]))
    assert [row["grade"] for row in told.json()["unplaced"]] == [2, 3], "all are told at once"
    told = edited(ada, scored(l3=2))
    assert told.status_code == 422 and "grades 2 and 3 would both be 2" in told.json()["title"]
    assert edited(ada, without(1)).status_code == 200, "nobody gave it"
    for wrong in ({"3": 7}, {"3": "x"}, [3]):
        assert edited(ada, without(3), grades=wrong).status_code == 422
    assert ada.get("/projects/signs/export/qrels").text == "q1 0 d1 3\nq1 0 d2 2\n"
    assert edited(ada, without(3), grades={"3": 2}).status_code == 200
    assert ada.get("/projects/signs/export/qrels").text == "q1 0 d1 2\nq1 0 d2 2\n"


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [("boolean", False, "False"), ("number", 2.5, "2.5"), ("multiselect", OPTIONS, "red; green")],
)
def test_a_value_comes_back_as_it_was_when_its_block_is_what_it_was(tool, marked, kind, value, text):
    ada, bo = client(tool, "Ada"), client(tool, "Bo")

    def to(type_):
        def change(schema):
            schema["blocks"] = [one for one in schema["blocks"] if one["id"] != "sure"]
            schema["blocks"].append({"id": "sure", "name": "Sure", "type": type_, "options": OPTIONS})

        return change

    def there():
        return bo.get(marked).json()["values"].get("sure")

    assert edited(ada, to(kind)).status_code == 200
    entry = bo.get(marked).json()
    assert (
        bo.patch(marked, json={"version": entry["version"], "changes": {"values": {"sure": value}}}).status_code == 200
    )
    for type_, held in (("text", text), (kind, value), ("date", None), (kind, value)):
        assert edited(ada, to(type_)).status_code == 200
        assert there() == held
    edited(ada, to("text"))
    entry = bo.get(marked).json()
    bo.patch(marked, json={"version": entry["version"], "changes": {"values": {"sure": "written since"}}})
    edited(ada, to(kind))
    assert there() is None
    edited(ada, to("longtext"))
    assert there() == "written since"
