"""What is asked for is kept and given out whole, and what is left out is told."""

from __future__ import annotations

import pytest

from stm_agent.annotate.services import documents, projects, searching
from stm_agent.testing.annotate import client

MANY = 1100


@pytest.fixture
def ada(tool, project):
    """The administrator of a project of more documents than a run may have."""
    from stm_agent.annotate.actor import Actor

    with tool.database.writing() as session:
        row = projects.find(session, Actor(1, "Ada", "admin"), project)
        documents.add(session, row, ((f"m{number}", {"text": f"temperature {number}"}) for number in range(MANY)))
    return client(tool, "Ada")


def pool(ada):
    """Return the first query's passages."""
    return ada.get("/projects/signs/queries/q1/pool", params={"depth": 2000}).json()


def test_a_run_is_as_deep_as_was_asked(ada):
    told = ada.post("/projects/signs/runs", json={"retrievers": ["bm25"], "depth": 500}).json()["bm25"]
    assert (told["documents"], told["cut"], len(pool(ada))) == (501, 0, 500), "the other query finds one"


@pytest.mark.parametrize(("lines", "kept"), [(500, 500), (MANY, searching.DEPTH)])
def test_a_trec_run_is_kept_and_what_is_cut_is_told(ada, lines, kept):
    text = "".join(f"q1 Q0 m{number} {number + 1} {MANY - number} mine\n" for number in range(lines))
    told = ada.post("/projects/signs/runs/trec", files={"file": ("mine.run", text)}).json()
    assert (told["documents"], told["unknown_documents"], told["cut"]) == (kept, 0, lines - kept)
    assert len(pool(ada)) == kept


def test_a_page_that_is_too_long_is_refused(ada):
    assert len(ada.get("/projects/signs/documents", params={"limit": 500}).json()["documents"]) == 500
    refused = ada.get("/projects/signs/documents", params={"limit": 501})
    assert (refused.status_code, refused.headers["content-type"]) == (422, "application/problem+json")


def test_a_final_grade_of_what_nobody_judges_goes_out(ada):
    assert ada.put("/projects/signs/queries/q1/final/d2", json={"grade": 1}).status_code == 200
    ada.put("/projects/signs/queries/q1/judgements/d1", json={"grade": 1})
    assert ada.put("/projects/signs/queries/q1/final/d1", json={"grade": 0}).status_code == 200
    ada.put("/projects/signs/queries/q1/judgements/d1", json={"grade": None, "version": 1})
    lines = ada.get("/projects/signs/export/qrels").text.splitlines()
    assert sorted(line.split() for line in lines) == [["q1", "0", "d1", "0"], ["q1", "0", "d2", "1"]]


def test_after_a_big_import_postgresql_counts_without_reading_all(tool, project):
    from sqlalchemy import text

    from stm_agent.annotate.actor import Actor

    if tool.database.engine.dialect.name != "postgresql":
        pytest.skip("SQLite needs no such help")
    with tool.database.writing() as session:
        row = projects.find(session, Actor(1, "Ada", "admin"), project)
        many = ((f"m{number}", {"text": "temperature " * 40}) for number in range(documents.AT_ONCE))
        documents.add(session, row, many)
    with tool.database.reading() as session:
        plan = "\n".join(session.scalars(text("EXPLAIN SELECT count(*) FROM documents WHERE project_id = 1")))
    assert "Index Only Scan" in plan
