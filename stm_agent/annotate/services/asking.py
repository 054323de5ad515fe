"""Queries and judgements that come in beside documents: all of them are taken, or the report says why not."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.formats.beir import Asked
from stm_agent.annotate.formats.trec import Qrels
from stm_agent.annotate.reading import key_fault
from stm_agent.annotate.report import Report
from stm_agent.annotate.schema import ProjectSchema
from stm_agent.annotate.services import queries, splitting
from stm_agent.annotate.splits import SPLITS
from stm_agent.annotate.storable import unstorable
from stm_agent.annotate.tables import Document, Judgement, Project, Query

VALIDATION = {"validation": "dev", "valid": "dev", "val": "dev"}
"""Other names of the split that is tuned on."""


def ask(session: Session, actor: Actor, project: Project, asked: Asked, report: Report) -> None:
    """Take the queries of every split and those nobody judged yet, then the judgements as this person's."""
    taken = {name: VALIDATION.get(name, name) for name in asked.grades}
    for name in [name for name, split in taken.items() if split not in SPLITS]:
        del taken[name]
        for key in asked.grades[name]:
            report.skip(f"{name}/{key}", f"split '{name}' is unknown; use train, dev or test")
    splits: dict[str, str] = {}
    for name, split in taken.items():
        for key in asked.grades[name]:
            if splits.setdefault(key, split) != split:
                report.skip(f"{name}/{key}", f"the query is already in split '{splits[key]}'; '{split}' is ignored")
    report.queries += queries.add(session, actor, project, _fresh(session, project, asked, splits, report))
    for name in taken:
        if name not in asked.written:
            judge(session, actor, project, asked.grades[name], report)
            continue
        for query, grades in asked.grades[name].items():
            for document in grades:
                report.skip(f"{query}/{document}", "an LLM wrote the query; its passage is in the pool, not judged")


def _fresh(
    session: Session, project: Project, asked: Asked, splits: dict[str, str], report: Report
) -> Iterator[tuple[str, str, str, str]]:
    """Yield key, text, answer and split of the queries that are new to a project and have a place in it."""
    known = select(Query.key, Query.text, Query.split).where(Query.project_id == project.id)
    there = {key: (text, split) for key, text, split in session.execute(known)}
    fresh: dict[str, str] = {}
    elsewhere = {key for grades in asked.grades.values() for key in grades} - splits.keys()
    for key, text in asked.queries.items():
        if key in there:
            _report_kept(key, text.strip(), there[key], splits.get(key), report)
        elif reason := key_fault(key, ()) or unstorable([key, text, asked.answers.get(key)]):
            report.skip(key, f"the query {reason}")
        elif key not in elsewhere:
            fresh[key] = text.strip()
    fixed = {key: splits[key] for key in fresh if key in splits}
    dealt = dict(splitting.split_all(session, project, fresh, fixed))
    for key, text in fresh.items():
        yield key, text, asked.answers.get(key, ""), dealt[key]


def _report_kept(key: str, text: str, kept: tuple[str, str], split: str | None, report: Report) -> None:
    """Report a query that the project has with another text, or in another split."""
    if text != kept[0]:
        report.skip(key, "the query exists with another text, which is kept")
    if split not in (None, kept[1]):
        report.skip(key, f"the query is already in split '{kept[1]}' and stays there")


def judge(session: Session, actor: Actor, project: Project, qrels: Qrels, report: Report) -> None:
    """Take qrels of the project's queries as this person's judgements; a grade they gave themselves stays."""
    own = Query.project_id == project.id
    known = dict(session.execute(select(Query.key, Query.id).where(own)).all())
    ids = dict(session.execute(select(Document.key, Document.id).where(Document.project_id == project.id)).all())
    mine = select(Judgement.query_id, Judgement.document_id).join(Query).where(own, Judgement.person_id == actor.id)
    given = {tuple(pair) for pair in session.execute(mine)}
    levels = {level.score for level in ProjectSchema.model_validate(project.schema).levels}
    rows: list[dict[str, int]] = []
    for query, document, grade in ((query, *pair) for query, grades in qrels.items() for pair in grades.items()):
        if query not in known:
            reason = "the judged query is not in the project"
        elif document not in ids:
            reason = "the judged document is not in the project"
        elif grade not in levels:
            reason = f"this project has no level of grade {grade}"
        elif (known[query], ids[document]) in given:
            reason = "you have already judged it"
        else:
            rows.append({"query_id": known[query], "document_id": ids[document], "person_id": actor.id, "grade": grade})
            continue
        report.skip(f"{query}/{document}", reason)
    if rows:
        session.execute(insert(Judgement), rows)
    report.judgements += len(rows)
