"""Queries: objects of their own, written by hand, taken from entries, or imported; judged by many."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import func, select, true
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.base import new_key
from stm_agent.annotate.faults import Forbidden, Invalid, Stale, Taken
from stm_agent.annotate.people_tables import Person
from stm_agent.annotate.reading import key_fault
from stm_agent.annotate.services import splitting
from stm_agent.annotate.services.keyed import keyed
from stm_agent.annotate.services.recording import record
from stm_agent.annotate.splits import SPLITS
from stm_agent.annotate.storable import words
from stm_agent.annotate.tables import Change, Document, Entry, Judgement, Project, Query

SAVED = "query.save"
"""Kind of the changes that somebody makes of a query by hand."""
LONGEST = {"text": 20_000, "answer": 100_000, "split": 20}
"""Largest number of characters of each part of a query that people write; files may bring longer ones."""


class QueryView(TypedDict):
    """A query as JSON."""

    key: str
    text: str
    answer: str
    split: str
    version: int
    from_entry: bool


class ListedQuery(QueryView):
    """A query and the number of its judgements."""

    judgements: int


def find(session: Session, project: Project, key: str) -> Query:
    """Return a query.

    Raises:
        NotFound: The project has none of that key.
    """
    return keyed(session, project, Query, key, "query")


def view(query: Query) -> QueryView:
    """Return a query as JSON."""
    return {
        "key": query.key,
        "text": query.text,
        "answer": query.answer,
        "split": query.split,
        "version": query.version,
        "from_entry": query.entry_id is not None,
    }


def listed(session: Session, project: Project, *, of: Actor | None = None) -> list[ListedQuery]:
    """Return the queries of a project with the number of judgements, of one person or of all, in order."""
    whose = true() if of is None else Judgement.person_id == of.id
    rows = session.execute(
        select(Query, func.count(Judgement.id))
        .outerjoin(Judgement, (Judgement.query_id == Query.id) & whose)
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
    split: str | None = None,
    key: str | None = None,
    entry: Entry | None = None,
    relevant: Iterable[int] = (),
) -> Query:
    """Write a query.

    Without a ``split`` the project's shares decide, and what it has in common with other queries: its text, or one of
    the ``relevant`` documents, given by number.

    Raises:
        Invalid: No text, or no such split.
        Taken: The key is there.
    """
    clean = words(text, "a query's text", LONGEST["text"]).strip()
    words(answer, "a query's answer", LONGEST["answer"])
    if not clean:
        raise Invalid("a query needs a text")
    if split is not None and split not in SPLITS:
        raise Invalid(f"there is no split '{split}'; use {', '.join(SPLITS)}")
    if key and (fault := key_fault(key, ())):
        raise Invalid(f"a query {fault}; choose another one, or none")
    if key and session.scalar(select(Query.id).where(Query.project_id == project.id, Query.key == key)):
        raise Taken(f"a query '{key}' already exists")
    query = Query(
        key=key or new_key(),
        project_id=project.id,
        text=clean,
        answer=answer,
        split=split or splitting.split_of(session, project, clean, relevant),
        entry_id=entry.id if entry else None,
    )
    session.add(query)
    session.flush()
    record(session, project, actor, "query.create", query.key, None, view(query))
    return query


def add(session: Session, actor: Actor, project: Project, rows: Iterable[tuple[str, str, str, str]]) -> int:
    """Write many queries at once, of new keys, texts, answers and splits that were checked; return how many."""
    made = [
        Query(key=key, project_id=project.id, text=text.strip(), answer=answer.strip(), split=split)
        for key, text, answer, split in rows
    ]
    session.add_all(made)
    session.flush()
    for query in made:
        record(session, project, actor, "query.create", query.key, None, view(query))
    return len(made)


def save(
    session: Session, actor: Actor, project: Project, query: Query, changes: Mapping[str, object], *, version: int
) -> Query:
    """Change a query's text, answer or split.

    Raises:
        Forbidden: Others judged it as it is, and an annotator changes it.
        Stale: It was changed since ``version``.
        Invalid: An unknown part, no text, or no such split.
    """
    session.refresh(query, with_for_update=True)
    check_rewording(session, actor, query)
    if query.version != version:
        raise Stale("this query", view(query))
    if unknown := sorted(set(changes) - {"text", "answer", "split"}):
        raise Invalid(f"a query has no '{unknown[0]}'")
    parts = {part: words(value, f"a query's {part}", LONGEST[part]).strip() for part, value in changes.items()}
    if not parts.get("text", "some"):
        raise Invalid("a query needs a text")
    if parts.get("split", "dev") not in SPLITS:
        raise Invalid(f"there is no split '{parts['split']}'; use {', '.join(SPLITS)}")
    before = view(query)
    for part, value in parts.items():
        setattr(query, part, value)
    query.version += 1
    session.flush()
    record(session, project, actor, SAVED, query.key, before, view(query))
    return query


def check_rewording(session: Session, actor: Actor, query: Query) -> None:
    """Check that a person may change a query that others may have judged.

    Raises:
        Forbidden: Others judged it as it is, and the person is an annotator.
    """
    if actor.role == "annotator" and _judged_by_others(session, actor, query):
        raise Forbidden("others have judged this query; ask a reviewer to change it")


def _judged_by_others(session: Session, actor: Actor, query: Query) -> bool:
    others = select(Judgement.id).where(Judgement.query_id == query.id, Judgement.person_id != actor.id)
    return session.scalar(others.limit(1)) is not None


def remove(session: Session, actor: Actor, project: Project, query: Query) -> None:
    """Delete a query with its judgements, which the record keeps.

    Raises:
        Forbidden: Somebody else wrote it, or judged it, and the person is not an administrator.
    """
    session.refresh(query, with_for_update=True)
    if actor.role != "admin":
        if actor.id != _author(session, project, query):
            raise Forbidden("somebody else wrote this query; ask an administrator to delete it")
        if _judged_by_others(session, actor, query):
            raise Forbidden("others have judged this query; ask an administrator to delete it")
    rows = session.execute(
        select(Document.key, Person.name, Judgement.grade, Judgement.note)
        .join(Judgement, Judgement.document_id == Document.id)
        .join(Person, Person.id == Judgement.person_id)
        .where(Judgement.query_id == query.id)
        .order_by(Judgement.id)
    )
    judgements = [{"document": key, "person": name, "grade": grade, "note": note} for key, name, grade, note in rows]
    record(session, project, actor, "query.delete", query.key, {**view(query), "judgements": judgements}, None)
    session.delete(query)


def _author(session: Session, project: Project, query: Query) -> int | None:
    """Return who wrote a query: the entry it came from, or, as the record says, the query itself."""
    if query.entry_id is not None:
        return session.scalar(select(Entry.person_id).where(Entry.id == query.entry_id))
    made = select(Change.person_id).where(Change.project_id == project.id, Change.target == query.key)
    return session.scalar(made.where(Change.kind == "query.create").order_by(Change.id.desc()).limit(1))
