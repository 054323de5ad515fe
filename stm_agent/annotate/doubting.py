"""Doubtful hard negatives of a run: out to people as a queue, and their answers back to the next round of the loop.

A negative is doubtful when a retriever puts it near its positive: it may be relevant, and training on it would teach
the wrong thing. The answers are a file in the workspace that the loop reads: what a person called a false negative or
broken is never trained on again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.faults import Invalid, NotFound, Stale
from stm_agent.annotate.services.recording import record
from stm_agent.annotate.tables import Doubt, Project
from stm_agent.errors import RunError
from stm_agent.files import read_jsonl
from stm_agent.mine.reviewed import Verdict, write_verdicts
from stm_agent.mine.verdicts import interleaved

ANSWERS = ("negative", "false_negative", "broken")


class DoubtfulNegative(TypedDict):
    """A negative of a run, and how doubtful it is."""

    query: str
    positive: str
    negative: str
    origin: str
    doubt: float


class DoubtView(DoubtfulNegative):
    """A negative in the queue as JSON, with what a person said of it."""

    key: str
    answer: str | None
    version: int


def doubtful(runs: Path, run: str, *, most: int) -> list[DoubtfulNegative]:
    """Return a run's negatives, the most doubtful of every kind first.

    Scores of retrievers have no common scale, so a row's doubt is 1 / its rank within its kind: by the verdicts of the
    run's audit if it has one, else by the retriever's score. Of equal ones, what an LLM wrote comes first.

    Raises:
        RunError: The run has no negatives.
    """
    if run in ("", ".", "..") or Path(run).name != run or "\x00" in run:
        raise RunError(f"'{run}' is not the name of a run; use one of runs/")
    stages = _stages(runs, run)
    audit = stages.pop("audit", None)
    rows = _judged(audit) if audit is not None else _scored(list(stages.values()))
    if not rows:
        raise RunError(f"run {run} has no mined or written negatives; its experts use none")

    def order(row: DoubtfulNegative) -> tuple[object, ...]:
        return -row["doubt"], row["origin"] != "synthetic", row["query"], row["negative"]

    return sorted(rows, key=order)[:most]


def _stages(runs: Path, run: str) -> dict[str, Path]:
    """Return the folders of a run's stages that have negatives, by the stage's name."""
    return {
        entry["name"]: runs / ".stages" / entry["folder"]
        for entry in read_jsonl(runs / run / "ledger.jsonl")
        if entry.get("event") == "stage" and entry.get("name") in ("mine", "synthesize", "audit")
    }


def _judged(audit: Path) -> list[DoubtfulNegative]:
    """Return the negatives of an audit that no person has answered for."""
    verdicts = read_jsonl(audit / "verdicts.jsonl")
    return [_row(verdict, verdict["doubt"]) for verdict in verdicts if verdict["by"] != "people"]


def _scored(stages: Sequence[Path]) -> list[DoubtfulNegative]:
    """Return the negatives of stages, doubted by the score that a retriever gave them."""
    from datasets import load_from_disk

    negatives = [row for folder in stages for row in load_from_disk(str(folder / "negatives"))]
    doubts = interleaved([row["kind"] for row in negatives], [float(row["score"] or 0.0) for row in negatives])
    return [_row(row, doubt) for row, doubt in zip(negatives, doubts, strict=True)]


def _row(row: Mapping[str, str], doubt: float) -> DoubtfulNegative:
    return {
        "query": row["query"],
        "positive": row["positive"],
        "negative": row["negative"],
        "origin": row["kind"],
        "doubt": doubt,
    }


def bring_in(session: Session, actor: Actor, project: Project, rows: Iterable[DoubtfulNegative]) -> int:
    """Queue negatives that are not there yet; return how many."""
    actor.needs("admin")
    known = set(session.execute(select(Doubt.query, Doubt.negative).where(Doubt.project_id == project.id)).all())
    # What was both written and mined is asked once, by the first row: the most doubtful.
    fresh: dict[tuple[str, str], DoubtfulNegative] = {}
    for row in rows:
        if (row["query"], row["negative"]) not in known:
            fresh.setdefault((row["query"], row["negative"]), row)
    session.add_all(Doubt(project_id=project.id, **row) for row in fresh.values())
    session.flush()
    return len(fresh)


def queue(session: Session, project: Project, *, limit: int = 50) -> list[DoubtView]:
    """Return what nobody answered yet, the most doubtful first."""
    rows = session.scalars(
        select(Doubt)
        .where(Doubt.project_id == project.id, Doubt.answer.is_(None))
        .order_by(Doubt.doubt.desc(), Doubt.id)
        .limit(limit)
    )
    return [view(row) for row in rows]


def view(row: Doubt) -> DoubtView:
    """Return a doubt as JSON."""
    return {
        "key": row.key,
        "query": row.query,
        "positive": row.positive,
        "negative": row.negative,
        "origin": row.origin,
        "doubt": row.doubt,
        "answer": row.answer,
        "version": row.version,
    }


def answer(session: Session, actor: Actor, project: Project, key: str, value: str | None, *, version: int) -> Doubt:
    """Say what a negative is; None takes it back.

    Raises:
        NotFound: The negative does not exist.
        Invalid: No such answer.
        Stale: Somebody else answered since ``version``.
    """
    row = session.scalar(select(Doubt).where(Doubt.project_id == project.id, Doubt.key == key).with_for_update())
    if row is None:
        raise NotFound(f"there is no negative '{key}'")
    if value is not None and value not in ANSWERS:
        raise Invalid(f"a negative is {', '.join(ANSWERS)}, not '{value}'")
    if row.version != version:
        raise Stale("this negative", view(row))
    record(session, project, actor, "doubt", key, {"answer": row.answer}, {"answer": value})
    row.answer, row.person_id, row.version = value, actor.id, row.version + 1
    session.flush()
    return row


def send_back(session: Session, project: Project, workspace: Path) -> Path:
    """Write all answers where the loop reads them; return the file."""
    # If two people answer at once, the second waits here and writes the first's answer too.
    session.refresh(project, with_for_update={"key_share": True})
    answered = select(Doubt).where(Doubt.project_id == project.id, Doubt.answer.is_not(None))
    rows = list(session.scalars(answered.order_by(Doubt.id)))
    return write_verdicts(workspace, project.key, [Verdict(row.query, row.negative, str(row.answer)) for row in rows])
