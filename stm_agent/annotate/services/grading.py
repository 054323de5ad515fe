"""The LLM as second judge: what it is asked of a pool, and what it said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.orm import Session

from stm_agent.annotate import answers, drafting
from stm_agent.annotate.faults import Invalid
from stm_agent.annotate.schema import ProjectSchema
from stm_agent.annotate.services import documents, drafts
from stm_agent.annotate.services.hearing import Came, Hearing
from stm_agent.annotate.services.judging import DEPTH
from stm_agent.annotate.tables import Document, LlmGrade, Project, Query, Ranking

if TYPE_CHECKING:
    from stm_agent.llm.door import Door

GRADE_TOKENS = 8


@dataclass(frozen=True)
class ToGrade:
    """A passage an LLM is to grade."""

    document: str
    chat: list[dict[str, str]]


@dataclass(frozen=True)
class Given:
    """What an LLM said of it: the grade, or why there is none."""

    grade: int | None
    came: Came
    error: str = ""


def to_grade(session: Session, project: Project, query: Query, *, depth: int = DEPTH) -> list[ToGrade]:
    """Return the passages of a query's pool that no LLM has graded."""
    schema = ProjectSchema.model_validate(project.schema)
    known = select(LlmGrade.document_id).where(LlmGrade.query_id == query.id)
    pooled = select(Ranking.document_id).where(Ranking.query_id == query.id, Ranking.rank <= depth)
    rows = session.scalars(select(Document).where(Document.id.in_(pooled), Document.id.not_in(known)))
    return [
        ToGrade(row.key, drafting.judge_chat(schema, query.text, documents.text_of(schema, row.fields))) for row in rows
    ]


def ask_grade(door: Door, one: ToGrade, schema: ProjectSchema, stopped: Callable[[], bool] = lambda: False) -> Given:
    """Ask for one grade; an answer without one is told, never guessed."""
    came = Hearing(door.stream(one.chat, temperature=0.0, max_tokens=GRADE_TOKENS)).whole(stopped)
    if came.done is None:
        return Given(None, came, came.error or "the grading was stopped before the LLM answered")
    try:
        return Given(answers.read_grade(schema, came.text), came)
    except Invalid as fault:
        return Given(None, came, str(fault))


def keep_grades(
    session: Session, project: Project, query: Query, model: str, graded: Sequence[tuple[ToGrade, Given]]
) -> dict[str, int]:
    """Write down an LLM's grades, each with its draft; return how many were ``graded`` and how many ``failed``."""
    counts = {"graded": 0, "failed": 0}
    for one, given in graded:
        parameters = {"temperature": 0.0, "max_tokens": GRADE_TOKENS, "query": query.key, "document": one.document}
        draft = drafts.write(session, project, None, "", model, parameters, one.chat, given.came.done, given.error)
        draft.answer = given.came.text
        if given.grade is None:
            counts["failed"] += 1
            continue
        row = documents.get(session, project, one.document)
        session.add(LlmGrade(query_id=query.id, document_id=row.id, grade=given.grade, draft_id=draft.id))
        counts["graded"] += 1
    return counts
