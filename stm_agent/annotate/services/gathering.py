"""A query of a finished entry: what its blocks ask and answer, and the judgements that its evidence makes."""

from __future__ import annotations

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.faults import AnnotateError, Forbidden, Invalid
from stm_agent.annotate.schema import ProjectSchema
from stm_agent.annotate.services import entries
from stm_agent.annotate.services.evidence import MarkView
from stm_agent.annotate.services.judging import BY_HAND, check_open, is_done, unveiled
from stm_agent.annotate.services.queries import SAVED, QueryView, check_rewording, create, view
from stm_agent.annotate.services.recording import record
from stm_agent.annotate.tables import Change, Document, Entry, Evidence, Judgement, Project, Query

BY_ENTRY = "query.entry"
"""Kind of the changes that an entry makes of its query."""
BY_EVIDENCE = "judgement.evidence"
"""Kind of the changes that an entry's evidence makes of its author's grades."""


class QueryWithEvidence(QueryView):
    """A query and the evidence of its entry; None: hidden, as it reveals grades."""

    evidence: list[MarkView] | None


def of_entry(session: Session, actor: Actor, project: Project, entry: Entry, *, split: str | None = None) -> Query:
    """Make a query of a finished entry: its query block, its answer block, and its evidence as its author's judgements.

    A document's grade is the highest score of the evidence in it. An entry that made a query before changes that one,
    but no grade that its author gave, changed or took back by hand.

    Raises:
        Forbidden: It is somebody else's entry, or others judged the query as it is, or changed it by hand.
        Invalid: The entry is not done, the project has no block for the query, or the author is done judging it.
    """
    if entry.person_id != actor.id and actor.role != "admin":
        raise Forbidden(f"entry '{entry.key}' belongs to somebody else; its author or an administrator makes its query")
    # Asked for twice at once, it makes one query.
    session.refresh(entry, with_for_update=True)
    schema = ProjectSchema.model_validate(project.schema)
    text, answer = _words(schema, entry)
    query = session.scalar(select(Query).where(Query.entry_id == entry.id).with_for_update())
    if query is None:
        relevant = [document for document, grade in _grades(session, schema, entry).items() if grade > 0]
        query = create(session, actor, project, text=text, answer=answer, split=split, entry=entry, relevant=relevant)
    elif (query.text, query.answer) != (text, answer):
        if _by_others(session, project, entry, query):
            raise Forbidden("somebody else has changed this query since; change it under Judge")
        if query.text != text:
            check_rewording(session, actor, query)
    _reword(session, actor, project, query, text, answer)
    _judge(session, actor, project, entry, query, _grades(session, schema, entry))
    session.flush()
    return query


def follow(session: Session, actor: Actor, project: Project, entry: Entry) -> None:
    """Let the query of an entry that was changed while it is done follow it, as far as it may: exports stay true.

    The question stays as it is where others have judged it, question and answer where others have changed them by
    hand, the judgements where the author is done judging.
    """
    query = session.scalar(select(Query).where(Query.entry_id == entry.id).with_for_update())
    if query is None or entry.state != "done":
        return
    schema = ProjectSchema.model_validate(project.schema)
    if not _by_others(session, project, entry, query):
        try:
            text, answer = _words(schema, entry)
            check_rewording(session, actor, query)
        except AnnotateError:
            text, answer = query.text, _answer(schema, entry)
        _reword(session, actor, project, query, text, answer)
    if not is_done(session, entry.person_id, query):
        _judge(session, actor, project, entry, query, _grades(session, schema, entry))
    session.flush()


def _reword(session: Session, actor: Actor, project: Project, query: Query, text: str, answer: str) -> None:
    if (query.text, query.answer) == (text, answer):
        return
    before = view(query)
    query.text, query.answer = text, answer
    query.version += 1
    record(session, project, actor, BY_ENTRY, query.key, before, view(query))


def with_evidence(session: Session, actor: Actor, query: Query) -> QueryWithEvidence:
    """Return a query as JSON with the evidence of the entry it came from.

    Evidence reveals its author's grades: it is None for people who may not see others' grades of the query yet.
    """
    entry = session.get(Entry, query.entry_id) if query.entry_id is not None else None
    if entry is None:
        return {**view(query), "evidence": []}
    seen = entry.person_id == actor.id or unveiled(session, actor, query)
    return {**view(query), "evidence": entries.view(session, entry)["evidence"] if seen else None}


def _words(schema: ProjectSchema, entry: Entry) -> tuple[str, str]:
    by_role = {block.role: str(entry.values.get(block.id, "")) for block in reversed(schema.blocks)}
    if entry.state != "done":
        raise Invalid("only a finished entry makes a query; finish it first")
    if "query" not in by_role:
        raise Invalid("no block of this project holds the query; choose one in the settings, under Blocks")
    if not by_role["query"].strip():
        raise Invalid("this entry's query is empty; write one first")
    return by_role["query"].strip(), _answer(schema, entry)


def _answer(schema: ProjectSchema, entry: Entry) -> str:
    return next((str(entry.values.get(block.id, "")) for block in schema.blocks if block.role == "answer"), "")


def _grades(session: Session, schema: ProjectSchema, entry: Entry) -> dict[int, int]:
    """Return document -> grade; evidence of a level that is gone says nothing."""
    scores = {level.id: level.score for level in schema.levels}
    grades: dict[int, int] = {}
    marks = select(Evidence.document_id, Evidence.level).where(Evidence.entry_id == entry.id).order_by(Evidence.id)
    for document, level in session.execute(marks):
        if level in scores:
            grades[document] = max(grades.get(document, scores[level]), scores[level])
    return grades


def _judge(
    session: Session, actor: Actor, project: Project, entry: Entry, query: Query, grades: dict[int, int]
) -> None:
    own = select(Judgement).where(Judgement.query_id == query.id, Judgement.person_id == entry.person_id)
    there = {row.document_id: row for row in session.scalars(own.with_for_update())}
    some = grades.keys() | there.keys()
    keys = dict(session.execute(select(Document.id, Document.key).where(Document.id.in_(some))).all())
    for document in there.keys() - grades.keys():
        # What only evidence said goes with it.
        target, gone = f"{query.key}/{keys[document]}", there[document]
        marked = session.scalar(_changes(project, query, target, BY_EVIDENCE).limit(1)) is not None
        if marked and not _by_hand(session, project, entry, query, target):
            check_open(session, entry.person_id, query)
            record(session, project, actor, BY_EVIDENCE, target, {"grade": gone.grade, "note": gone.note}, None)
            session.delete(gone)
    for document, grade in grades.items():
        known, target = there.get(document), f"{query.key}/{keys[document]}"
        if (known is not None and known.grade == grade) or _by_hand(session, project, entry, query, target):
            continue
        check_open(session, entry.person_id, query)
        before = None if known is None else {"grade": known.grade, "note": known.note}
        if known is None:
            known = Judgement(query_id=query.id, document_id=document, person_id=entry.person_id, grade=grade, note="")
            session.add(known)
        else:
            known.grade, known.version = grade, known.version + 1
        record(session, project, actor, BY_EVIDENCE, target, before, {"grade": grade, "note": known.note})


def _by_hand(session: Session, project: Project, entry: Entry, query: Query, target: str) -> bool:
    """Return whether an entry's author has had a hand in a grade since the query was made."""
    wanted = _changes(project, query, target, BY_HAND).where(Change.person_id == entry.person_id)
    return session.scalar(wanted.limit(1)) is not None


def _by_others(session: Session, project: Project, entry: Entry, query: Query) -> bool:
    """Return whether somebody but its author has changed a query's words."""
    wanted = _changes(project, query, query.key, SAVED).where(Change.person_id != entry.person_id)
    rows = session.execute(wanted.with_only_columns(Change.before, Change.after))
    changes = [(before, after) for before, after in rows if before is not None and after is not None]
    return any(before[part] != after[part] for before, after in changes for part in ("text", "answer"))


def _changes(project: Project, query: Query, target: str, kind: str) -> Select[int]:
    """Select the changes of a kind since a query was made; one of its key may have been there before."""
    wanted = select(Change.id).where(Change.project_id == project.id, Change.target == target, Change.kind == kind)
    return wanted.where(Change.at >= query.created_at)
