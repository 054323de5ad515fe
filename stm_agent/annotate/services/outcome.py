"""What people agreed on: one grade for each query and document, ready for every export."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from statistics import median_low

from sqlalchemy import select
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from stm_agent.annotate.schema import ProjectSchema
from stm_agent.annotate.services.documents import passage_of
from stm_agent.annotate.services.evidence import Span
from stm_agent.annotate.splits import NEEDED
from stm_agent.annotate.tables import Adjudication, Document, Evidence, Judgement, Project, Query
from stm_agent.domain.collection import Collection, Split


@dataclass(frozen=True)
class Graded:
    """A project's outcome.

    Attributes:
        queries: Query -> text.
        answers: Query -> answer, where there is one.
        splits: Query -> split.
        grades: Query -> document -> grade; judged 0 is 0, unjudged is not there.
    """

    queries: dict[str, str]
    answers: dict[str, str]
    splits: dict[str, str]
    grades: dict[str, dict[str, int]]


class QueryMetadata(TypedDict, total=False):
    """What exports have of a query beside its text and grades."""

    answer: str
    evidence: list[Span]


def graded(session: Session, project: Project) -> Graded:
    """Return the final grades: adjudicated ones, judged or not, else the lower median of what people gave."""
    queries = list(session.scalars(select(Query).where(Query.project_id == project.id).order_by(Query.id)))
    given: dict[tuple[str, str], list[int]] = defaultdict(list)
    rows = session.execute(
        select(Query.key, Document.key, Judgement.grade)
        .join(Judgement, Judgement.query_id == Query.id)
        .join(Document, Document.id == Judgement.document_id)
        .where(Query.project_id == project.id)
        .order_by(Query.id, Document.position, Judgement.id)
    )
    for query, document, grade in rows:
        given[query, document].append(grade)
    final = {
        (query, document): grade
        for query, document, grade in session.execute(
            select(Query.key, Document.key, Adjudication.grade)
            .join(Adjudication, Adjudication.query_id == Query.id)
            .join(Document, Document.id == Adjudication.document_id)
            .where(Query.project_id == project.id)
            .order_by(Query.id, Document.position)
        )
    }
    grades: dict[str, dict[str, int]] = {query.key: {} for query in queries}
    agreed = {pair: median_low(values) for pair, values in given.items()}
    for (query, document), grade in (agreed | final).items():
        grades[query][document] = grade
    return Graded(
        {query.key: query.text for query in queries},
        {query.key: query.answer for query in queries if query.answer},
        {query.key: query.split for query in queries},
        grades,
    )


def left_out(told: Graded) -> str | None:
    """Return in a line which queries no collection has, since nothing can be scored on them; None: it has all."""
    count = sum(not any(grade > 0 for grade in grades.values()) for grades in told.grades.values())
    if not count:
        return None
    return f"{count:,} {'query' if count == 1 else 'queries'} without a passage judged above 0"


def without(collection: Collection) -> str | None:
    """Return in a line which splits a collection lacks that ``stm-agent optimize`` needs; None: none."""
    missing = [split for split in NEEDED if split not in collection.splits]
    if not missing:
        return None
    return (
        f"no {' and no '.join(missing)} split, which stm-agent optimize needs; give {' and '.join(missing)} a share "
        "under Splits in the project's settings, and judge more queries"
    )


def judged_pairs(session: Session, project: Project) -> set[tuple[int, int]]:
    """Return the numbers of the queries and documents that have a grade: somebody's, or a reviewer's final one."""
    found: set[tuple[int, int]] = set()
    for table in (Judgement, Adjudication):
        rows = select(table.query_id, table.document_id).join(Query, Query.id == table.query_id)
        pairs = session.execute(rows.where(Query.project_id == project.id))
        found.update((query, document) for query, document in pairs)
    return found


def beside(session: Session, project: Project, told: Graded) -> dict[str, QueryMetadata]:
    """Return what exports have of a query beside its text and grades: its answer, and the evidence of its entry."""
    levels = {level.id: level.name for level in ProjectSchema.model_validate(project.schema).levels}
    found: dict[str, QueryMetadata] = {key: {"answer": answer} for key, answer in told.answers.items()}
    rows = session.execute(
        select(Query.key, Document.key, Evidence)
        .join(Evidence, Evidence.entry_id == Query.entry_id)
        .join(Document, Document.id == Evidence.document_id)
        .where(Query.project_id == project.id)
        .order_by(Query.id, Document.position, Evidence.start, Evidence.id)
    )
    for query, document, row in rows:
        span: Span = {
            "document": document,
            "field": row.field,
            "start": row.start,
            "end": row.end,
            "text": row.text,
            "level": levels.get(row.level, row.level),
        }
        found.setdefault(query, {}).setdefault("evidence", []).append(span)
    return found


def collection_of(session: Session, project: Project) -> Collection:
    """Return a project as a collection; queries without a relevant passage are left out: nothing is scored on them."""
    schema = ProjectSchema.model_validate(project.schema)
    outcome = graded(session, project)
    rows = session.execute(
        select(Document.key, Document.fields).where(Document.project_id == project.id).order_by(Document.position)
    )
    passages = [passage_of(schema, key, fields) for key, fields in rows]
    splits: dict[str, Split] = {}
    for name in dict.fromkeys(outcome.splits.values()):
        judged = {
            query: grades
            for query, grades in outcome.grades.items()
            if outcome.splits[query] == name and any(grade > 0 for grade in grades.values())
        }
        if judged:
            splits[name] = Split(name, {query: outcome.queries[query] for query in judged}, judged)
    return Collection(project.name, tuple(passages), splits, "not stated", "stm-agent annotate")
