"""Everything in and out of a project: documents, collections, runs, AIANO's files, and every export."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NotRequired

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.base import now
from stm_agent.annotate.faults import Invalid
from stm_agent.annotate.formats import aiano, aiano_out, archive, trec, triplets
from stm_agent.annotate.incoming import Incoming
from stm_agent.annotate.reading import part_fault, usable
from stm_agent.annotate.report import Report
from stm_agent.annotate.schema import Block, ProjectSchema
from stm_agent.annotate.services import archiving, asking, documents, entries, evidence, making, outcome, projects
from stm_agent.annotate.storable import unstorable
from stm_agent.annotate.tables import Document, Entry, Project
from stm_agent.annotate.values import fitting
from stm_agent.errors import DataError
from stm_agent.files import whole_folder, write_atomic

EXPORTS = ("qrels", "beir", "mteb", "triplets", "aiano", "aiano-project", "archive", "drafts")


class AianoReport(making.MadeQueries):
    """What came of one of AIANO's files; ``highlights_without_text``: their text is not in the file."""

    highlights_without_text: int


class ExportReport(TypedDict):
    """What is in an export, by its kind, and the file or folder that holds it."""

    output: str
    project: NotRequired[str]
    entries: NotRequired[int]
    drafts: NotRequired[int]
    queries: NotRequired[int]
    judgements: NotRequired[int]
    left_out: NotRequired[str]
    missing: NotRequired[str]
    rows: NotRequired[int]
    splits: NotRequired[dict[str, int]]


def bring_in(session: Session, actor: Actor, project: Project, incoming: Incoming) -> Report:
    """Put documents in, and what a collection has beside them: its queries, judged or not, and its judgements.

    What is skipped is in the report, the rest goes in together. Judgements are this person's.
    """
    actor.needs("admin")
    report = Report()
    schema = ProjectSchema.model_validate(project.schema)
    known = set(session.scalars(select(Document.key).where(Document.project_id == project.id)))
    documents.add(session, project, usable(incoming.rows, schema, report, known))
    if incoming.asked is not None:
        asking.ask(session, actor, project, incoming.asked, report)
    return report


def import_qrels(session: Session, actor: Actor, project: Project, qrels: trec.Qrels) -> Report:
    """Take qrels of the project's queries as this person's judgements; a grade they gave themselves stays."""
    actor.needs("admin")
    report = Report()
    asking.judge(session, actor, project, qrels, report)
    return report


def import_aiano(session: Session, actor: Actor, path: Path) -> tuple[Project, AianoReport]:
    """Make a project of AIANO's dataset JSON or ``.aiano`` file, with a query of each entry.

    Returns:
        The project, and a report: ``highlights_without_text``, whose text is not in the file (they are kept, and go out
        again as they came); ``queries`` that were made; ``skipped``, reason -> entries without a query.

    Raises:
        DataError: It is neither.
        Invalid: It is not JSON, or contains something that cannot be stored.
        Taken: A project of its name is here.
    """
    try:
        whole = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise Invalid(f"cannot read {path.name}: {str(error)[:200]}") from error
    if reason := unstorable(whole):
        raise Invalid(f"{path.name} {reason}")
    parsed = aiano.read(whole)
    project = projects.create(
        session,
        actor,
        name=parsed.name,
        description=parsed.description,
        tags=list(parsed.tags),
        schema=parsed.schema.model_dump(mode="json"),
    )
    project.extra = {"aiano": parsed.shell}
    documents.add(session, project, parsed.documents.items())
    blocks = {block.id: block for block in parsed.schema.blocks}
    for item in parsed.items:
        if fault := part_fault(item.key):
            raise Invalid(f"an entry of {path.name} {fault}: '{item.key[:60]}'; change it in the file")
        entry = entries.create(session, actor, project, key=item.key)
        _fill(entry, item, blocks)
        session.flush()
        evidence.set_evidence(session, project, parsed.schema, entry, [vars(mark) for mark in item.marks])
    session.flush()
    asked: making.MadeQueries = {"queries": 0, "skipped": {}}
    if making.block_of_query(project) is not None:
        asked = making.make_queries(session, actor, project)
    return project, {"highlights_without_text": sum(len(item.unplaced) for item in parsed.items), **asked}


def _fill(entry: Entry, item: aiano.Item, blocks: Mapping[str, Block]) -> None:
    """Fill a new entry with what AIANO had in it; values that no block can hold are kept aside."""
    fits = {key: fitting(blocks[key], value) for key, value in item.values.items()}
    entry.extra = {"aiano": item.raw}
    entry.values = {key: value for key, value in fits.items() if value is not None}
    entry.migrated = {key: item.values[key] for key, value in fits.items() if value is None}
    entry.name, entry.notes, entry.state = item.name, item.notes, "done"


def as_aiano(session: Session, project: Project) -> aiano.Parsed:
    """Return a project as AIANO's files have it."""
    rows = session.scalars(select(Entry).where(Entry.project_id == project.id).order_by(Entry.id))
    items = []
    for entry in rows:
        shown = entries.view(session, entry)["evidence"]
        marks = tuple(
            aiano.Mark(row["key"], row["document"], row["start"], row["end"], row["level"], row["field"])
            for row in shown
        )
        values = {**entry.migrated, **entry.values}
        items.append(aiano.Item(entry.key, entry.name, entry.notes, values, marks, _of_aiano(entry.extra)))
    kept = session.execute(
        select(Document.key, Document.fields).where(Document.project_id == project.id).order_by(Document.position)
    )
    return aiano.Parsed(
        project.name,
        project.description,
        tuple(project.tags),
        ProjectSchema.model_validate(project.schema),
        dict(kept.all()),
        tuple(items),
        _of_aiano(project.extra),
    )


def _of_aiano(extra: aiano.Raw) -> aiano.Raw:
    """Return what AIANO's file had of a project or an entry; an archive may hold anything there."""
    kept: aiano.Raw = extra.get("aiano", {})
    return kept


def import_archive(session: Session, actor: Actor, unpacked: archive.Unpacked) -> Project:
    """Make a project of an archive that was unpacked before, so that nobody waits for that.

    Raises:
        DataError: It is none.
        Taken: The project is here already.
    """
    project, parts = unpacked
    try:
        return archiving.restore(session, actor, project, parts)
    except IntegrityError as error:
        raise DataError("the archive is damaged: it contains a row twice") from error


def export(session: Session, project: Project, kind: str, output: Path) -> ExportReport:
    """Write an export to a new file or folder, whole or not at all; return what is in it.

    Raises:
        Invalid: No such kind, or ``output`` exists.
        DataError: There is nothing to export yet.
    """
    if kind not in EXPORTS:
        raise Invalid(f"there is no export '{kind}'; use {', '.join(EXPORTS)}")
    if output.exists():
        raise Invalid(f"{output} exists; name a new one, nothing is overwritten")
    if kind == "archive":
        write_atomic(output, archiving.export(session, project))
        return {"project": project.name, "output": str(output)}
    if kind in ("aiano", "aiano-project"):
        told = _as_aianos_file(session, project, kind)
        write_atomic(output, json.dumps(told, ensure_ascii=False, indent=2) + "\n")
        return {"entries": len(told.get("entries") or told.get("annotation_entries") or ()), "output": str(output)}
    if kind == "drafts":
        from stm_agent.annotate.services.drafts import view
        from stm_agent.annotate.tables import Draft

        rows = [
            view(row) for row in session.scalars(select(Draft).where(Draft.project_id == project.id).order_by(Draft.id))
        ]
        write_atomic(output, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        return {"drafts": len(rows), "output": str(output)}
    return _judged(session, project, kind, output)


def _as_aianos_file(session: Session, project: Project, kind: str) -> aiano.Raw:
    write = aiano_out.write_dataset if kind == "aiano" else aiano_out.write_project
    try:
        return write(as_aiano(session, project), moment=now().isoformat())
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        # An archive keeps what AIANO's file had beside it as it is, whatever it is.
        raise DataError(f"the parts kept from AIANO's file are damaged: {str(error)[:200]}") from error


def _judged(session: Session, project: Project, kind: str, output: Path) -> ExportReport:
    from stm_agent.domain.beir import write_beir

    told = outcome.graded(session, project)
    counts: ExportReport = {
        "queries": len(told.queries),
        "judgements": sum(map(len, told.grades.values())),
        "output": str(output),
    }
    if kind == "qrels":
        write_atomic(output, trec.write_qrels({query: grades for query, grades in told.grades.items() if grades}))
        return counts
    collection = outcome.collection_of(session, project)
    if not collection.splits:
        raise DataError("no query has a passage judged relevant yet; there is nothing to score on")
    if left := outcome.left_out(told):
        counts["left_out"] = left
    if missing := outcome.without(collection):
        counts["missing"] = missing
    if kind == "triplets":
        return {**counts, "rows": triplets.write_triplets(collection, told, output)}
    if kind == "beir":
        write_beir(collection, output, metadata=outcome.beside(session, project, told))
        return {**counts, "splits": {name: len(split.queries) for name, split in collection.splits.items()}}
    from stm_agent.annotate.formats.mteb import task_file

    with whole_folder(output) as made:
        write_beir(collection, made / "data")
        split = "test" if "test" in collection.splits else next(iter(collection.splits))
        write_atomic(made / "task.py", task_file(project.name, split))
    return counts
