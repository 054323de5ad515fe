"""Settling: what people graded differently, the final grade a reviewer gives it, and what was settled before."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.faults import Forbidden, NotFound, Stale
from stm_agent.annotate.people_tables import Person
from stm_agent.annotate.services import documents
from stm_agent.annotate.services.judging import StoredGrade, blind, check_grade, unveiled
from stm_agent.annotate.services.recording import record
from stm_agent.annotate.storable import words
from stm_agent.annotate.tables import Adjudication, Document, Judgement, Project, Query


class FinalGrade(StoredGrade):
    """The final grade of a pair, and who gave it."""

    person: str


class FinalOfDocument(StoredGrade):
    """The final grade of a document for a query; None: it was taken back."""

    document: str


class Disagreement(TypedDict):
    """A query and a passage, everybody's grades and notes, how far apart the grades are, and the final one if any."""

    query: str
    text: str
    document: str
    final: FinalGrade | None
    grades: dict[str, int]
    notes: dict[str, str]
    gap: int


@dataclass
class _Pair:
    """A query and a passage, who gave what grade, when and with what note, and the final grade if there is one."""

    query: str
    text: str
    document: str
    given: dict[str, tuple[int, datetime]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    final: Adjudication | None = None
    by: str = ""

    @property
    def grades(self) -> list[int]:
        return [grade for grade, _ in self.given.values()]

    @property
    def settled(self) -> bool:
        """Whether it needs nobody: people agree, or what they said was there when it was settled."""
        if self.final is None:
            return len(set(self.grades)) < 2
        return all(grade == self.final.grade or at <= self.final.updated_at for grade, at in self.given.values())

    def told(self) -> Disagreement:
        final: FinalGrade | None = None if self.final is None else {**_view(self.final), "person": self.by}
        return {
            "query": self.query,
            "text": self.text,
            "document": self.document,
            "final": final,
            "grades": {name: grade for name, (grade, _) in self.given.items()},
            "notes": self.notes,
            "gap": max(self.grades) - min(self.grades),
        }


def disagreements(session: Session, actor: Actor, project: Project, *, settled: bool = False) -> list[Disagreement]:
    """Return the pairs to settle, the widest apart first; or, with ``settled``, those that were settled.

    To settle is what people graded differently and nobody settled, and what somebody graded otherwise since it was
    settled. Queries that this person is still to judge are left out.
    """
    actor.needs("reviewer")
    pairs = _pairs(session, actor, project)
    shown = [one for one in pairs if one.settled == settled and (one.final is not None or not settled)]
    return sorted((one.told() for one in shown), key=lambda one: (-one["gap"], one["query"], one["document"]))


def _pairs(session: Session, actor: Actor, project: Project) -> list[_Pair]:
    pairs: dict[tuple[int, int], _Pair] = {}
    rows = session.execute(
        select(Judgement, Person.name, Query.key, Query.text, Document.key)
        .join(Query, Query.id == Judgement.query_id)
        .join(Document, Document.id == Judgement.document_id)
        .join(Person, Person.id == Judgement.person_id)
        .where(Query.project_id == project.id, Query.id.not_in(blind(actor)))
        .order_by(Person.name)
    )
    for judgement, name, query, text, document in rows:
        pair = pairs.setdefault((judgement.query_id, judgement.document_id), _Pair(query, text, document))
        pair.given[name] = (judgement.grade, judgement.updated_at)
        if judgement.note:
            pair.notes[name] = judgement.note
    finals = session.execute(
        select(Adjudication, Person.name)
        .join(Query, Query.id == Adjudication.query_id)
        .join(Person, Person.id == Adjudication.person_id)
        .where(Query.project_id == project.id)
    )
    for final, name in finals:
        if (found := pairs.get((final.query_id, final.document_id))) is not None:
            found.final, found.by = final, name
    return list(pairs.values())


def _view(row: Adjudication | None) -> StoredGrade:
    if row is None:
        return {"grade": None, "note": "", "version": 0}
    return {"grade": row.grade, "note": row.note, "version": row.version}


def adjudicate(
    session: Session,
    actor: Actor,
    project: Project,
    query: Query,
    document: str,
    value: int,
    *,
    version: int = 0,
    note: str = "",
) -> FinalOfDocument:
    """Set or change the final grade of a pair; exports use it.

    Raises:
        Invalid: No level has that score.
        Stale: Somebody settled it, or opened it again, since ``version``.
    """
    _check_unveiled(session, actor, query)
    check_grade(project, value)
    words(note, "a note", 10_000)
    known = _known(session, project, query, document, version)
    before = None if known is None else _view(known)
    if known is None:
        row = documents.get(session, project, document)
        known = Adjudication(query_id=query.id, document_id=row.id, person_id=actor.id, grade=value, note=note)
        try:
            with session.begin_nested():
                session.add(known)
        except IntegrityError:
            # Two reviewers settled it at the same moment.
            known = _known(session, project, query, document, None)
            raise Stale(f"the final grade of '{document}'", _view(known)) from None
    else:
        known.grade, known.note, known.person_id, known.version = value, note, actor.id, known.version + 1
    session.flush()
    record(session, project, actor, "adjudication", f"{query.key}/{document}", before, _view(known))
    return {"document": document, **_view(known)}


def reopen(
    session: Session, actor: Actor, project: Project, query: Query, document: str, *, version: int
) -> FinalOfDocument:
    """Take a final grade back; where people differ the pair is to be settled again.

    Raises:
        NotFound: Nobody settled it.
        Stale: Somebody settled it again since ``version``.
    """
    _check_unveiled(session, actor, query)
    known = _known(session, project, query, document, version)
    if known is None:
        raise NotFound(f"nobody settled '{document}' of this query")
    session.delete(known)
    record(session, project, actor, "adjudication", f"{query.key}/{document}", _view(known), None)
    return {"document": document, **_view(None)}


def _check_unveiled(session: Session, actor: Actor, query: Query) -> None:
    actor.needs("reviewer")
    if not unveiled(session, actor, query):
        raise Forbidden("finish this query, which is assigned to you, first; until then others' grades are hidden")


def _known(session: Session, project: Project, query: Query, document: str, version: int | None) -> Adjudication | None:
    """Return the final grade of a pair, held until the transaction ends, if it is the one of ``version``."""
    row = documents.get(session, project, document)
    wanted = select(Adjudication).where(Adjudication.query_id == query.id, Adjudication.document_id == row.id)
    known = session.scalar(wanted.with_for_update())
    if version is not None and (known.version if known else 0) != version:
        raise Stale(f"the final grade of '{document}'", _view(known))
    return known
