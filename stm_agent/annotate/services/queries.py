"""Queries: objects of their own, written by hand, taken from entries, or imported; judged by many."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.base import new_key
from stm_agent.annotate.faults import Invalid, Stale, Taken
from stm_agent.annotate.schema import ProjectSchema
from stm_agent.annotate.services.keyed import keyed
from stm_agent.annotate.services.recording import record
from stm_agent.annotate.storable import words
from stm_agent.annotate.tables import Document, Entry, Evidence, Judgement, Project, Query

SPLITS = ("train", "dev", "test")


def find(session: Session, project: Project, key: str) -> Query:
    """Return a query.

    Raises:
        NotFound: The project has none of that key.
    """
    return keyed(session, project, Query, key, "query")


def view(query: Query) -> dict[str, Any]:
    """Return a query as JSON."""
    return {
        "key": query.key,
        "text": query.text,
        "answer": query.answer,
        "split": query.split,
        "version": query.version,
        "from_entry": query.entry_id is not None,
    }


def listed(session: Session, project: Project) -> list[dict[str, Any]]:
    """Return the queries of a project with the number of judgements, in order."""
    rows = session.execute(
        select(Query, func.count(Judgement.id))
        .outerjoin(Judgement, Judgement.query_id == Query.id)
        .where(Query.project_id == project.id)
        .group_by(Query.id)
        .order_by(Query.id)
    )
    return [{**view(query), "judgements": count} for query, count in rows]


def create(
    session: Session,
    actor: Actor,
    project: Project,
    *,
    text: str,
    answer: str = "",
    split: str = "dev",
    key: str | None = None,
    entry: Entry | None = None,
) -> Query:
    """Write a query.

    Raises:
        Invalid: No text, or no such split.
        Taken: The key is there.
    """
    clean = text.strip()
    if not clean:
        raise Invalid("a query needs a text")
    if split not in SPLITS:
        raise Invalid(f"there is no split '{split}'; use {', '.join(SPLITS)}")
    words(key or "", "a query's key", 200)
    if key and session.scalar(select(Query.id).where(Query.project_id == project.id, Query.key == key)):
        raise Taken(f"there is a query '{key}'")
    query = Query(
        key=key or new_key(),
        project_id=project.id,
        text=clean,
        answer=answer,
        split=split,
        entry_id=entry.id if entry else None,
    )
    session.add(query)
    session.flush()
    record(session, project, actor, "query.create", query.key, None, view(query))
    return query


def save(
    session: Session, actor: Actor, project: Project, query: Query, changes: dict[str, Any], *, version: int
) -> Query:
    """Change a query's text, answer or split.

    Raises:
        Stale: It was changed since ``version``.
        Invalid: An unknown part, no text, or no such split.
    """
    session.refresh(query, with_for_update=True)
    if query.version != version:
        raise Stale("this query", view(query))
    if unknown := sorted(set(changes) - {"text", "answer", "split"}):
        raise Invalid(f"a query has no '{unknown[0]}'")
    parts = {part: words(value, f"a query's {part}").strip() for part, value in changes.items()}
    if not parts.get("text", "some"):
        raise Invalid("a query needs a text")
    if parts.get("split", "dev") not in SPLITS:
        raise Invalid(f"there is no split '{parts['split']}'; use {', '.join(SPLITS)}")
    before = view(query)
    for part, value in parts.items():
        setattr(query, part, value)
    query.version += 1
    session.flush()
    record(session, project, actor, "query.save", query.key, before, view(query))
    return query


def of_entry(session: Session, actor: Actor, project: Project, entry: Entry, *, split: str = "dev") -> Query:
    """Make a query of a finished entry: its query block, its answer block, and its evidence as judgements.

    A document's grade is the highest score of the evidence in it. An entry that made a query before changes that one.

    Raises:
        Invalid: The entry is not done, or the project has no block for the query.
    """
    schema = ProjectSchema.model_validate(project.schema)
    by_role = {block.role: str(entry.values.get(block.id, "")) for block in reversed(schema.blocks)}
    if entry.state != "done":
        raise Invalid("only an entry that is done makes a query; finish it first")
    if "query" not in by_role:
        raise Invalid("no block of this project holds a query; give one the role 'query'")
    if not by_role["query"].strip():
        raise Invalid("this entry's query is empty; write one first")
    query = session.scalar(select(Query).where(Query.entry_id == entry.id).with_for_update())
    if query is None:
        answer = by_role.get("answer", "")
        query = create(session, actor, project, text=by_role["query"], answer=answer, split=split, entry=entry)
    else:
        before = view(query)
        query.text, query.answer = by_role["query"].strip(), by_role.get("answer", "")
        query.version += 1
        record(session, project, actor, "query.save", query.key, before, view(query))
    scores = {level.id: level.score for level in schema.levels}
    grades: dict[int, int] = {}
    rows = session.scalars(
        select(Evidence).join(Document, Document.id == Evidence.document_id).where(Evidence.entry_id == entry.id)
    )
    for row in rows:
        grades[row.document_id] = max(grades.get(row.document_id, 0), scores.get(row.level, 0))
    for document, grade in grades.items():
        known = session.scalar(
            select(Judgement).where(
                Judgement.query_id == query.id,
                Judgement.document_id == document,
                Judgement.person_id == entry.person_id,
            )
        )
        if known is None:
            session.add(Judgement(query_id=query.id, document_id=document, person_id=entry.person_id, grade=grade))
        else:
            known.grade, known.version = grade, known.version + 1
    session.flush()
    return query
