"""The LLM as second judge: what it is asked of a pool, and what it said."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from stm_agent.annotate import answers, drafting
from stm_agent.annotate.actor import Actor
from stm_agent.annotate.database import Database
from stm_agent.annotate.faults import Invalid, NotFound
from stm_agent.annotate.schema import ProjectSchema
from stm_agent.annotate.services import documents, drafts, projects, queries
from stm_agent.annotate.services.ceilings import partial_usd
from stm_agent.annotate.services.hearing import Came, Hearing
from stm_agent.annotate.services.judging import DEPTH
from stm_agent.annotate.tables import Document, LlmGrade, Project, Query, Ranking

if TYPE_CHECKING:
    from stm_agent.llm.client import LlmClient

GRADE_TOKENS = 8
THINKING_TOKENS = 4096
"""Token limit of a grade by a model that thinks in its answer."""


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
    max_tokens: int = GRADE_TOKENS


def to_grade(session: Session, project: Project, query: Query, *, depth: int = DEPTH) -> list[ToGrade]:
    """Return the passages of a query's pool that no LLM has graded."""
    schema = ProjectSchema.model_validate(project.schema)
    known = select(LlmGrade.document_id).where(LlmGrade.query_id == query.id)
    pooled = select(Ranking.document_id).where(Ranking.query_id == query.id, Ranking.rank <= depth)
    rows = session.scalars(select(Document).where(Document.id.in_(pooled), Document.id.not_in(known)))
    return [
        ToGrade(row.key, drafting.judge_chat(schema, query.text, documents.text_of(schema, row.fields))) for row in rows
    ]


def count(session: Session, project: Project, keys: Sequence[str] = (), *, depth: int = DEPTH) -> int:
    """Return how many passages no LLM has graded: of the pools of some queries, or of all where none are named."""
    graded = select(LlmGrade.id).where(
        LlmGrade.query_id == Ranking.query_id, LlmGrade.document_id == Ranking.document_id
    )
    pooled = select(Ranking.query_id, Ranking.document_id).distinct().join(Query, Query.id == Ranking.query_id)
    pooled = pooled.where(Query.project_id == project.id, Ranking.rank <= depth, ~graded.exists())
    if keys:
        pooled = pooled.where(Query.key.in_(keys))
    return session.scalar(select(func.count()).select_from(pooled.subquery())) or 0


def in_turn(
    database: Database, actor: Actor, project: str, keys: Sequence[str], *, depth: int
) -> Iterator[tuple[str, ToGrade]]:
    """Yield the passages of many queries' pools with the query's key; each pool is read when its turn comes."""
    for key in keys:
        wanted: list[ToGrade] = []
        # A query may be deleted before its turn.
        with contextlib.suppress(NotFound), database.reading() as session:
            row = projects.find(session, actor, project)
            wanted = to_grade(session, row, queries.find(session, row, key), depth=depth)
        # No transaction is open while an LLM thinks.
        yield from ((key, one) for one in wanted)


def ask_grade(
    door: LlmClient, one: ToGrade, schema: ProjectSchema, stopped: Callable[[], bool] = lambda: False
) -> Given:
    """Ask for one grade; an answer without one is reported, never guessed.

    A model that thinks in its answer uses up the few tokens of a grade, so it is asked again with room for thoughts.
    """
    tokens = GRADE_TOKENS
    came = _heard(door, one, tokens, stopped)
    if came.cut and not came.text.strip() and not stopped():
        tokens = THINKING_TOKENS
        came = _heard(door, one, tokens, stopped)
    if came.done is None:
        return Given(None, came, came.error or "the grading was stopped before the LLM answered", tokens)
    try:
        return Given(answers.read_grade(schema, came.text), came, "", tokens)
    except Invalid as fault:
        reason = f"the answer was cut off at {tokens} tokens" if came.cut and not came.text.strip() else str(fault)
        return Given(None, came, reason, tokens)


def _heard(door: LlmClient, one: ToGrade, tokens: int, stopped: Callable[[], bool]) -> Came:
    stream = door.stream(one.chat, temperature=0.0, max_tokens=tokens, again=True)
    return Hearing(stream, partial(partial_usd, door, one.chat)).whole(stopped)


def keep_grades(
    session: Session, project: Project, query: Query, model: str, graded: Sequence[tuple[ToGrade, Given]]
) -> dict[str, int]:
    """Write down an LLM's grades, each with its draft; return how many were ``graded`` and how many ``failed``."""
    counts = {"graded": 0, "failed": 0}
    for one, given in graded:
        parameters = {"temperature": 0.0, "max_tokens": given.max_tokens, "query": query.key, "document": one.document}
        draft = drafts.write(session, project, None, "", model, parameters, one.chat, given.came.done, given.error)
        draft.answer = given.came.text
        if given.grade is None:
            counts["failed"] += 1
            continue
        row = documents.get(session, project, one.document)
        session.add(LlmGrade(query_id=query.id, document_id=row.id, grade=given.grade, draft_id=draft.id))
        counts["graded"] += 1
    return counts
