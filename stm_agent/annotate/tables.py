"""The tables of work: projects, documents, entries, queries, judgements, drafts."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeAlias

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.engine.default import DefaultExecutionContext
from sqlalchemy.orm import Mapped, mapped_column

from stm_agent.annotate.base import Base, Json, Keyed, Stamped, Utc, now
from stm_agent.annotate.splits import SplitShares

Recorded: TypeAlias = dict[str, Any]
"""What a change was before or after; its keys depend on the kind of the change."""


class Project(Keyed, Stamped, Base):
    """A corpus, what is asked about it (``schema``, a ``ProjectSchema`` as JSON), and how.

    ``llm_calls`` and ``llm_usd`` are the ceilings of what people who are not administrators spend on LLMs; None: none.
    ``splits`` are the shares by which its queries train, tune and test (a ``SplitShares`` as JSON).
    ``extra`` is what another tool's file had beside it, kept for the way back.
    """

    __tablename__ = "projects"
    name: Mapped[str] = mapped_column(String(200), unique=True)
    description: Mapped[str] = mapped_column(Text, default="")
    guidelines: Mapped[str] = mapped_column(Text, default="")
    tags: Mapped[list[str]] = mapped_column(Json, default=list)
    schema: Mapped[dict[str, object]] = mapped_column(Json, default=dict)
    overlap: Mapped[int] = mapped_column(default=1)
    archived: Mapped[bool] = mapped_column(default=False)
    llm_calls: Mapped[int | None] = mapped_column(default=1000)
    llm_usd: Mapped[float | None] = mapped_column(default=None)
    splits: Mapped[dict[str, object]] = mapped_column(Json, default=lambda: SplitShares().model_dump())
    extra: Mapped[dict[str, object]] = mapped_column(Json, default=dict)
    version: Mapped[int] = mapped_column(default=1)


class Member(Base):
    """A person's place in a project."""

    __tablename__ = "members"
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id", ondelete="CASCADE"), primary_key=True, index=True)


class Document(Keyed, Base):
    """A document with every field it came with; ``key`` is the id its owner gave it."""

    __tablename__ = "documents"
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    position: Mapped[int]
    fields: Mapped[dict[str, object]] = mapped_column(Json)
    tags: Mapped[list[str]] = mapped_column(Json, default=list)
    __table_args__ = (
        UniqueConstraint("project_id", "key"),
        Index("ix_documents_order", "project_id", "position"),
    )


class Entry(Keyed, Stamped, Base):
    """What one person wrote into the blocks, and the evidence for it. ``values`` maps block id to value.

    ``migrated`` keeps, by block id, values that a later schema has no place for.
    """

    __tablename__ = "entries"
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), index=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id"), index=True)
    name: Mapped[str] = mapped_column(String(300), default="")
    notes: Mapped[str] = mapped_column(Text, default="")
    values: Mapped[dict[str, object]] = mapped_column(Json, default=dict)
    migrated: Mapped[dict[str, object]] = mapped_column(Json, default=dict)
    extra: Mapped[dict[str, object]] = mapped_column(Json, default=dict)
    state: Mapped[str] = mapped_column(String(20), default="draft")  # draft, done, skipped, flagged
    version: Mapped[int] = mapped_column(default=1)


class Evidence(Keyed, Base):
    """A span of a document's field that supports an entry: ``[start, end)`` in Unicode code points."""

    __tablename__ = "evidence"
    entry_id: Mapped[int] = mapped_column(ForeignKey("entries.id", ondelete="CASCADE"), index=True)
    document_id: Mapped[int] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"), index=True)
    field: Mapped[str] = mapped_column(String(200), default="text")
    start: Mapped[int]
    end: Mapped[int]
    text: Mapped[str] = mapped_column(Text)
    level: Mapped[str] = mapped_column(String(64))


class Query(Keyed, Stamped, Base):
    """A query, shared by everybody who judges it; ``entry_id`` where it came from an entry."""

    __tablename__ = "queries"
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    entry_id: Mapped[int | None] = mapped_column(ForeignKey("entries.id", ondelete="SET NULL"), index=True)
    text: Mapped[str] = mapped_column(Text)
    answer: Mapped[str] = mapped_column(Text, default="")
    split: Mapped[str] = mapped_column(String(20), default="dev")  # train, dev, test
    version: Mapped[int] = mapped_column(default=1)
    __table_args__ = (UniqueConstraint("project_id", "key"),)


def _as_graded(context: DefaultExecutionContext) -> int:
    return int(context.get_current_parameters()["grade"])  # type: ignore[no-untyped-call]


class Judgement(Stamped, Base):
    """One person's grade of one passage for one query: a level's score. No row is *unjudged*, 0 is judged.

    ``first_grade`` is what they said before an LLM's grade was shown to them, whatever they make of it later.
    """

    __tablename__ = "judgements"
    id: Mapped[int] = mapped_column(primary_key=True)
    query_id: Mapped[int] = mapped_column(ForeignKey("queries.id", ondelete="CASCADE"))
    document_id: Mapped[int] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"), index=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id"), index=True)
    grade: Mapped[int]
    first_grade: Mapped[int] = mapped_column(default=_as_graded)
    note: Mapped[str] = mapped_column(Text, default="")
    version: Mapped[int] = mapped_column(default=1)
    __table_args__ = (UniqueConstraint("query_id", "document_id", "person_id"),)


class Adjudication(Stamped, Base):
    """The final grade where people differed."""

    __tablename__ = "adjudications"
    id: Mapped[int] = mapped_column(primary_key=True)
    query_id: Mapped[int] = mapped_column(ForeignKey("queries.id", ondelete="CASCADE"))
    document_id: Mapped[int] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"), index=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id"))
    grade: Mapped[int]
    note: Mapped[str] = mapped_column(Text, default="")
    version: Mapped[int] = mapped_column(default=1)
    __table_args__ = (UniqueConstraint("query_id", "document_id"),)


class LlmGrade(Base):
    """An LLM's grade, asked beforehand and shown only after the person's own."""

    __tablename__ = "llm_grades"
    id: Mapped[int] = mapped_column(primary_key=True)
    query_id: Mapped[int] = mapped_column(ForeignKey("queries.id", ondelete="CASCADE"))
    document_id: Mapped[int] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"), index=True)
    grade: Mapped[int]
    draft_id: Mapped[int] = mapped_column(ForeignKey("drafts.id", ondelete="CASCADE"), index=True)
    __table_args__ = (UniqueConstraint("query_id", "document_id"),)


class Ranking(Base):
    """One line of a run: BM25, a model, or an imported TREC run."""

    __tablename__ = "rankings"
    id: Mapped[int] = mapped_column(primary_key=True)
    query_id: Mapped[int] = mapped_column(ForeignKey("queries.id", ondelete="CASCADE"))
    document_id: Mapped[int] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"), index=True)
    run: Mapped[str] = mapped_column(String(200))
    rank: Mapped[int]
    score: Mapped[float]
    __table_args__ = (UniqueConstraint("query_id", "run", "document_id"),)


class Assignment(Base):
    """A query given to a person to judge; ``done`` when they say so, and only then do they see the others' grades.

    Not ``dealt`` is that of somebody who judged the query of their own accord.
    """

    __tablename__ = "assignments"
    id: Mapped[int] = mapped_column(primary_key=True)
    query_id: Mapped[int] = mapped_column(ForeignKey("queries.id", ondelete="CASCADE"))
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id", ondelete="CASCADE"), index=True)
    dealt: Mapped[bool] = mapped_column(default=True)
    done: Mapped[bool] = mapped_column(default=False)
    __table_args__ = (UniqueConstraint("query_id", "person_id"),)


class DocumentAssignment(Base):
    """A document given to a person to write about; ``done`` when an entry of theirs on it is, or when they say so."""

    __tablename__ = "document_assignments"
    id: Mapped[int] = mapped_column(primary_key=True)
    document_id: Mapped[int] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"))
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id", ondelete="CASCADE"), index=True)
    done: Mapped[bool] = mapped_column(default=False)
    __table_args__ = (UniqueConstraint("document_id", "person_id"),)


class Draft(Keyed, Base):
    """An LLM's draft and what became of it: the whole provenance of one AI answer."""

    __tablename__ = "drafts"
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), index=True)
    entry_key: Mapped[str | None] = mapped_column(String(200), index=True)
    block: Mapped[str] = mapped_column(String(64))
    model: Mapped[str] = mapped_column(String(300))
    parameters: Mapped[dict[str, object]] = mapped_column(Json)
    messages: Mapped[list[dict[str, str]]] = mapped_column(Json)
    # Of the messages; None in what an earlier version wrote.
    chat_hash: Mapped[str | None] = mapped_column(String(64), index=True)
    answer: Mapped[str] = mapped_column(Text, default="")
    error: Mapped[str] = mapped_column(Text, default="")
    prompt_tokens: Mapped[int] = mapped_column(default=0)
    completion_tokens: Mapped[int] = mapped_column(default=0)
    usd: Mapped[float | None]
    # offered, superseded, accepted, edited, rejected; failed and stopped ones hold what had come.
    state: Mapped[str] = mapped_column(String(20), default="offered")
    asked_by: Mapped[str | None] = mapped_column(String(200))
    decided_by: Mapped[str | None] = mapped_column(String(200))
    final: Mapped[str | None] = mapped_column(Text)
    edit_distance: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(Utc, default=now)


class Doubt(Keyed, Stamped, Base):
    """A doubtful negative of the loop: a person says ``negative``, ``false_negative`` or ``broken``."""

    __tablename__ = "doubts"
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), index=True)
    query: Mapped[str] = mapped_column(Text)
    positive: Mapped[str] = mapped_column(Text)
    negative: Mapped[str] = mapped_column(Text)
    origin: Mapped[str] = mapped_column(String(100))
    doubt: Mapped[float] = mapped_column(default=0.0)
    answer: Mapped[str | None] = mapped_column(String(20))
    person_id: Mapped[int | None] = mapped_column(ForeignKey("people.id"))
    version: Mapped[int] = mapped_column(default=1)


class Change(Base):
    """The record of every change, append-only; undo reads ``before``."""

    __tablename__ = "changes"
    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id"))
    kind: Mapped[str] = mapped_column(String(50))
    target: Mapped[str] = mapped_column(String(500))
    before: Mapped[Recorded | None] = mapped_column(Json)
    after: Mapped[Recorded | None] = mapped_column(Json)
    at: Mapped[datetime] = mapped_column(Utc, default=now)
    __table_args__ = (Index("ix_changes_target", "project_id", "target"),)
