"""Runs: written and removed in parts, so that nobody who saves waits for a whole one; and measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, cast

from sqlalchemy import ColumnElement, CursorResult, delete, insert, select
from sqlalchemy.orm import Session

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.database import Database
from stm_agent.annotate.faults import Invalid, NotFound
from stm_agent.annotate.reading import key_fault
from stm_agent.annotate.schema import ProjectSchema
from stm_agent.annotate.services import projects
from stm_agent.annotate.services.measuring import SCORED, Measures, measure
from stm_agent.annotate.services.outcome import Graded, graded, judged_pairs
from stm_agent.annotate.services.searching import DEPTH
from stm_agent.annotate.storable import words
from stm_agent.annotate.tables import Document, Project, Query, Ranking

ROWS = 10_000
"""Rankings that are written in one transaction, at most: it takes some tenths of a second, and others wait for it."""
QUERIES = 100
"""Queries whose rankings are replaced in one transaction, at most."""
COUNTED = ("queries", "documents", "unknown_queries", "unknown_documents", "cut")
Found = Mapping[str, Mapping[str, float]]
"""Query -> document -> score."""


class RunView(Measures):
    """A run as JSON: its measures, and by depth the share of its first passages that nobody graded."""

    run: str
    holes: dict[str, float | None]


class _Line(NamedTuple):
    """A line of a run, its query and document by number and by key."""

    query_id: int
    document_id: int
    rank: int
    score: float
    query: str
    document: str


def put_run(database: Database, actor: Actor, project: str, name: str, run: Found) -> dict[str, int]:
    """Store a run's rankings of a project's queries in parts; one of that name is replaced, query by query.

    Cut off half-way, it leaves new rankings of some queries and old ones of the others; who begins it again ends it.

    Returns:
        What is stored, as :func:`put_part` counts it.

    Raises:
        Forbidden: The actor is not an administrator, or the project is archived.
        NotFound: The project does not exist.
        Invalid: No name, or one that is too long.
    """
    actor.needs("admin")
    if not words(name, "a run's name", 200).strip():
        raise Invalid("a run needs a name")
    if fault := key_fault(name, ()):
        raise Invalid(f"the run '{name[:60]}' {fault.replace('an id', 'a name').replace('the id', 'the name')}")
    with database.writing() as session:
        before = _ranked(session, projects.find(session, actor, project), name)
    stored = Counter(dict.fromkeys(COUNTED, 0))
    for part in _parts(run):
        stored.update(put_part(database, actor, project, name, part))
    for part in _parts({query: {} for query in before if query not in run}):
        put_part(database, actor, project, name, part)
    return dict(stored)


def put_part(database: Database, actor: Actor, project: str, name: str, part: Found) -> dict[str, int]:
    """Store a run's rankings of some queries, in place of what the run of that name had of them.

    Returns:
        ``queries`` and ``documents`` that are in the project; ``unknown_queries`` and ``unknown_documents``; ``cut``,
        the known documents beyond the first ``DEPTH`` of a query, which are not stored.
    """
    actor.needs("admin")
    with database.writing() as session:
        row = projects.find(session, actor, project)
        asked = select(Query.key, Query.id).where(Query.project_id == row.id, Query.key.in_(part))
        queries: dict[str, int] = dict(session.execute(asked).all())
        documents = dict(session.execute(select(Document.key, Document.id).where(Document.project_id == row.id)).all())
        rows: list[dict[str, object]] = []
        lost = cut = 0
        for query, number in queries.items():
            found = part[query]
            ranked = sorted(found, key=lambda document: (found[document], document), reverse=True)
            known = [document for document in ranked if document in documents]
            lost += len(ranked) - len(known)
            cut += len(known[DEPTH:])
            rows += [
                {"query_id": number, "document_id": documents[key], "run": name, "rank": place, "score": found[key]}
                for place, key in enumerate(known[:DEPTH], 1)
            ]
        session.execute(delete(Ranking).where(Ranking.run == name, Ranking.query_id.in_(queries.values())))
        if rows:
            session.execute(insert(Ranking), rows)
    return dict(zip(COUNTED, (len(queries), len(rows), len(part) - len(queries), lost, cut), strict=True))


def queries_at_once(depth: int) -> int:
    """Return how many queries' rankings of a depth are written in one transaction."""
    return min(QUERIES, max(1, ROWS // depth))


def _parts(run: Found) -> Iterator[dict[str, Mapping[str, float]]]:
    part: dict[str, Mapping[str, float]] = {}
    rows = 0
    for query, found in run.items():
        if part and (len(part) == QUERIES or rows + len(found) > ROWS):
            yield part
            part, rows = {}, 0
        part[query] = found
        rows += len(found)
    if part:
        yield part


def _ranked(session: Session, project: Project, name: str) -> Sequence[str]:
    """Return the queries that a run ranks."""
    ranks = select(Ranking.id).where(Ranking.query_id == Query.id, Ranking.run == name).exists()
    return session.scalars(select(Query.key).where(Query.project_id == project.id, ranks)).all()


def remove_run(database: Database, actor: Actor, project: str, name: str) -> None:
    """Remove a run in parts; grades of what it found stay. Who was cut off half-way begins it again.

    Raises:
        Forbidden: The actor is not an administrator, or the project is archived.
        NotFound: The run or the project does not exist.
    """
    actor.needs("admin")
    with database.writing() as session:
        row = projects.find(session, actor, project)
    if not drop(database, Query.project_id == row.id, Ranking.run == name):
        raise NotFound(f"there is no run '{name}'; look at the project's runs")


def drop(database: Database, *which: ColumnElement[bool]) -> int:
    """Delete rankings of queries, some at a time, each time in a transaction of its own; return how many."""
    some = select(Ranking.id).join(Query, Query.id == Ranking.query_id).where(*which).limit(ROWS)
    wanted = delete(Ranking).where(Ranking.id.in_(some)).execution_options(synchronize_session=False)
    gone = 0
    while True:
        with database.writing() as session:
            count = cast("CursorResult[()]", session.execute(wanted)).rowcount
        gone += count
        if count < ROWS:
            return gone


def runs_of(
    session: Session, project: Project, *, depths: Sequence[int] = (5, 10, 20), scored: bool = True
) -> list[RunView]:
    """Return the project's runs with holes@k, the share of the top k without a grade, and nDCG@10 (:func:`measure`).

    Without ``scored``, nDCG is left out: it is made of grades, which must not influence people who still judge.
    """
    told = graded(session, project) if scored else Graded({}, {}, {}, {})
    best = max((level.score for level in ProjectSchema.model_validate(project.schema).levels), default=1)
    judged = judged_pairs(session, project)
    runs: dict[str, list[_Line]] = {}
    rows = session.execute(
        select(Ranking.run, Ranking.query_id, Ranking.document_id, Ranking.rank, Ranking.score, Query.key, Document.key)
        .join(Query, Query.id == Ranking.query_id)
        .join(Document, Document.id == Ranking.document_id)
        .where(Query.project_id == project.id, Ranking.rank <= max(SCORED, *depths))
    )
    for run, query_id, document_id, rank, value, query, document in rows:
        runs.setdefault(run, []).append(_Line(query_id, document_id, rank, value, query, document))
    shown: list[RunView] = []
    for name, lines in sorted(runs.items()):
        holes: dict[str, float | None] = {}
        for depth in depths:
            top = [(line.query_id, line.document_id) for line in lines if line.rank <= depth]
            holes[str(depth)] = sum(pair not in judged for pair in top) / len(top) if top else None
        found: dict[str, dict[str, float]] = {}
        for line in lines:
            found.setdefault(line.query, {})[line.document] = line.score
        shown.append({"run": name, "holes": holes, **measure(found, told, best)})
    return shown
