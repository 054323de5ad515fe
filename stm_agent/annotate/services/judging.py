"""Judging: a blind pool, one grade a person, the LLM's shown after one's own, the others' when one is done."""

from __future__ import annotations

from sqlalchemy import Select, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.faults import Forbidden, Invalid, NotFound, Stale
from stm_agent.annotate.people_tables import Person
from stm_agent.annotate.schema import ProjectSchema
from stm_agent.annotate.services import documents
from stm_agent.annotate.services.recording import record
from stm_agent.annotate.storable import words
from stm_agent.annotate.tables import Assignment, Change, Document, Judgement, LlmGrade, Project, Query, Ranking
from stm_agent.files import sha256_text

DEPTH = 10
BY_HAND = "judgement"
"""Kind of the changes that a person makes of their grades."""


class PassageToJudge(TypedDict):
    """A passage of a pool, one's own grade (None: unjudged) and, only beside that, the LLM's."""

    document: str
    text: str
    fields: dict[str, object]
    grade: int | None
    note: str
    version: int
    llm_grade: int | None


class SavedGrade(TypedDict):
    """A grade that was saved, or taken back (None), and the LLM's beside it."""

    document: str
    grade: int | None
    version: int
    llm_grade: int | None


class StoredGrade(TypedDict):
    """A grade as it is stored; ``version`` 0: there is none."""

    grade: int | None
    note: str
    version: int


class GivenGrade(TypedDict):
    """Somebody's grade of a passage."""

    document: str
    person: str
    grade: int
    note: str


def pool(session: Session, actor: Actor, project: Project, query: Query, *, depth: int = DEPTH) -> list[PassageToJudge]:
    """Return the passages to judge: the first ``depth`` of every run, and what was judged beside them.

    The order is a seeded shuffle of this person's own, so that it reveals no ranks, runs or people. Grades of
    others are not in it; the LLM's grade only where the person has given theirs.
    """
    schema = ProjectSchema.model_validate(project.schema)
    in_runs = select(Ranking.document_id).where(Ranking.query_id == query.id, Ranking.rank <= depth)
    judged = select(Judgement.document_id).where(Judgement.query_id == query.id, Judgement.person_id == actor.id)
    rows = session.scalars(select(Document).where(Document.id.in_(in_runs.union(judged))))
    own = {
        row.document_id: row
        for row in session.scalars(
            select(Judgement).where(Judgement.query_id == query.id, Judgement.person_id == actor.id)
        )
    }
    asked = dict(
        session.execute(select(LlmGrade.document_id, LlmGrade.grade).where(LlmGrade.query_id == query.id)).all()
    )
    shown: list[PassageToJudge] = [
        {
            "document": row.key,
            "text": documents.text_of(schema, row.fields),
            "fields": row.fields,
            "grade": own[row.id].grade if row.id in own else None,
            "note": own[row.id].note if row.id in own else "",
            "version": own[row.id].version if row.id in own else 0,
            "llm_grade": asked.get(row.id) if row.id in own else None,
        }
        for row in rows
    ]
    return sorted(shown, key=lambda one: sha256_text(f"{actor.id} {query.key} {one['document']}"))


def grade(
    session: Session,
    actor: Actor,
    project: Project,
    query: Query,
    document: str,
    value: int | None,
    *,
    version: int = 0,
    note: str = "",
) -> SavedGrade:
    """Give a passage a grade (a level's score), change it, or with None take it back: unjudged is not judged 0.

    Raises:
        Invalid: No level has that score, or the person said they were done.
        Stale: The same person graded it elsewhere since ``version``.
    """
    words(note, "a note", 10_000)
    if value is not None:
        check_grade(project, value)
    check_open(session, actor.id, query)
    row = documents.get(session, project, document)
    known = session.scalar(_own(actor, query, row))
    if (known.version if known else 0) != version:
        raise _stale(document, known)
    before = {"grade": known.grade, "note": known.note} if known else None
    if value is not None and known is None:
        known = Judgement(query_id=query.id, document_id=row.id, person_id=actor.id, grade=value, note=note)
        _add(session, actor, project, query, row, known)
    elif value is not None and known is not None:
        known.grade, known.note, known.version = value, note, known.version + 1
    elif known is not None:
        session.delete(known)
    session.flush()
    target = f"{query.key}/{document}"
    if known is None or value is None:
        record(session, project, actor, BY_HAND, target, before, None)
        return {"document": document, "grade": None, "version": 0, "llm_grade": None}
    record(session, project, actor, BY_HAND, target, before, {"grade": value, "note": note})
    asked = session.scalar(select(LlmGrade.grade).where(LlmGrade.query_id == query.id, LlmGrade.document_id == row.id))
    return {"document": document, "grade": value, "version": known.version, "llm_grade": asked}


def _add(session: Session, actor: Actor, project: Project, query: Query, document: Document, fresh: Judgement) -> None:
    """Add a person's first grade of a passage; one that they took back before stays what they said first."""
    first = _first(session, actor, project, query, document.key)
    fresh.first_grade = fresh.grade if first is None else first
    try:
        with session.begin_nested():
            session.add(fresh)
    except IntegrityError:
        # Two windows gave the first grade at the same moment.
        raise _stale(document.key, session.scalar(_own(actor, query, document))) from None


def check_grade(project: Project, value: int) -> None:
    """Check that a project has a grade.

    Raises:
        Invalid: No level has that score.
    """
    scores = sorted({level.score for level in ProjectSchema.model_validate(project.schema).levels})
    if value not in scores:
        raise Invalid(f"there is no grade {value}; this project has {', '.join(map(str, scores))}")


def check_open(session: Session, person: int, query: Query) -> None:
    """Check that a person is not done with a query: until then the others' grades are hidden from them.

    Raises:
        Invalid: They are.
    """
    if is_done(session, person, query):
        raise Invalid("you have finished this query; reopen it to change a grade")


def _first(session: Session, actor: Actor, project: Project, query: Query, document: str) -> int | None:
    """Return the grade a person gave before they took it back; the LLM's was shown to them since."""
    wanted = select(Change.before, Change.after).where(
        Change.project_id == project.id,
        Change.target == f"{query.key}/{document}",
        Change.kind == BY_HAND,
        Change.person_id == actor.id,
        Change.at >= query.created_at,
    )
    changes = session.execute(wanted.order_by(Change.id))
    return next((state["grade"] for change in changes for state in change if state is not None), None)


def _own(actor: Actor, query: Query, row: Document) -> Select[Judgement]:
    wanted = select(Judgement).where(Judgement.query_id == query.id, Judgement.document_id == row.id)
    return wanted.where(Judgement.person_id == actor.id).with_for_update()


def _stale(document: str, known: Judgement | None) -> Stale:
    current: StoredGrade = {"grade": None, "note": "", "version": 0}
    if known is not None:
        current = {"grade": known.grade, "note": known.note, "version": known.version}
    return Stale(f"your grade of '{document}'", current)


def is_done(session: Session, person: int, query: Query) -> bool:
    """Return whether a person said that they are done with a query."""
    wanted = select(Assignment.done).where(Assignment.query_id == query.id, Assignment.person_id == person)
    return bool(session.scalar(wanted))


def done(session: Session, actor: Actor, query: Query, *, yes: bool = True, person: str | None = None) -> None:
    """Say that one is done with a query; from then on the others' grades can be seen and one's own stand.

    Args:
        session: The database.
        actor: Who says so.
        query: The query.
        yes: False opens it again.
        person: Whose; None is one's own. Reviewers open others' queries again.

    Raises:
        Forbidden: An annotator who could have seen the others' grades opens it again.
        NotFound: There is nobody of that name.
    """
    whose = actor.id
    if person is not None and person != actor.name:
        actor.needs("reviewer")
        found = session.scalar(select(Person.id).where(Person.name == person))
        if found is None:
            raise NotFound(f"there is nobody called '{person}'")
        whose = found
    elif not yes and actor.role == "annotator" and is_done(session, whose, query):
        others = select(Judgement.id).where(Judgement.query_id == query.id, Judgement.person_id != actor.id)
        if session.scalar(others.limit(1)) is not None:
            raise Forbidden("you have seen the others' grades; ask a reviewer to reopen this query")
    row = session.scalar(select(Assignment).where(Assignment.query_id == query.id, Assignment.person_id == whose))
    if row is None:
        row = Assignment(query_id=query.id, person_id=whose, dealt=False)
        session.add(row)
    row.done = yes
    session.flush()


def blind(actor: Actor) -> Select[int]:
    """Select the queries that were dealt to a person, of any role, who is not done with them."""
    return select(Assignment.query_id).where(Assignment.person_id == actor.id, Assignment.dealt, ~Assignment.done)


def sighted(session: Session, actor: Actor, project: Project) -> bool:
    """Return whether a person may see measures of everybody's grades: nothing dealt to them waits for their own.

    Administrators always may.
    """
    waiting = blind(actor).join(Query, Query.id == Assignment.query_id).where(Query.project_id == project.id)
    return actor.role == "admin" or session.scalar(waiting.limit(1)) is None


def check_sighted(session: Session, actor: Actor, project: Project) -> None:
    """Check that a person may see measures of everybody's grades.

    Raises:
        Forbidden: Queries dealt to this person still wait for their grades.
    """
    if not sighted(session, actor, project):
        raise Forbidden("finish the queries assigned to you first; until then others' grades are hidden")


def unveiled(session: Session, actor: Actor, query: Query) -> bool:
    """Return whether a person may see what others say of a query: their own grades of it do not wait any more."""
    to_judge = session.scalar(blind(actor).where(Assignment.query_id == query.id)) is not None
    return not to_judge and (actor.role != "annotator" or is_done(session, actor.id, query))


def others(session: Session, actor: Actor, query: Query) -> list[GivenGrade]:
    """Return everybody's grades of a query.

    Raises:
        Forbidden: An annotator, or whoever is to judge the query, is not done yet: what others said must not lead them.
    """
    if not unveiled(session, actor, query):
        raise Forbidden("finish this query first; until then others' grades are hidden")
    rows = session.execute(
        select(Document.key, Person.name, Judgement.grade, Judgement.note)
        .join(Judgement, Judgement.document_id == Document.id)
        .join(Person, Person.id == Judgement.person_id)
        .where(Judgement.query_id == query.id)
        .order_by(Document.position, Person.name)
    )
    return [{"document": key, "person": name, "grade": value, "note": note} for key, name, value, note in rows]
