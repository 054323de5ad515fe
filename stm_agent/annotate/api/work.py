"""Entries, queries and judgements."""

from __future__ import annotations

from fastapi import APIRouter
from sqlalchemy.orm import Session

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.api.common import Body, Limit, Offset, The, Who
from stm_agent.annotate.api.parsing import BodyRoute
from stm_agent.annotate.services import assigning, entries, gathering, judging, projects, queries, settling, undoing
from stm_agent.annotate.services.evidence import Marks
from stm_agent.annotate.tables import Entry, Project

router = APIRouter(prefix="/projects/{project}", tags=["work"], route_class=BodyRoute)


class Begin(Body):
    """The document that an entry is begun for, if it is for one; with ``reuse`` an empty one of one's own is taken."""

    document: str | None = None
    reuse: bool = False


class Save(Body):
    """Parts to save, and the version that was seen."""

    version: int
    changes: dict[str, object]


class Seen(Body):
    """The version that was seen."""

    version: int


class NewQuery(Body):
    """A query to write."""

    text: str
    answer: str = ""
    split: str | None = None
    key: str | None = None


class FromEntry(Body):
    """The split of the query that an entry makes; None: by the project's shares."""

    split: str | None = None


class Grade(Body):
    """A grade, or None to take it back; ``version`` 0 where there was none."""

    grade: int | None
    version: int = 0
    note: str = ""


class Settle(Body):
    """A final grade, or None to take it back; ``version`` is that of the one that is there, 0 where there is none."""

    grade: int | None
    version: int = 0
    note: str = ""


class Done(Body):
    """Whether one is done; a reviewer opens another ``person``'s query again."""

    done: bool = True
    person: str | None = None


@router.get("/entries")
def all_entries(
    project: str, tool: The, who: Who, mine: bool = False, offset: Offset = 0, limit: Limit = entries.PAGE
) -> list[entries.EntryView]:
    """Return a page of entries, newest first."""
    with tool.database.reading() as session:
        row = projects.find(session, who, project)
        return entries.listed(session, who, row, mine=mine, offset=offset, limit=limit)


@router.post("/entries", status_code=201)
def new_entry(project: str, tool: The, who: Who, body: Begin | None = None) -> entries.EntryView:
    """Begin an entry."""
    asked = body or Begin()
    begin = entries.resume if asked.reuse else entries.create
    with tool.database.writing() as session:
        row = projects.find(session, who, project)
        return entries.view(session, begin(session, who, row, document=asked.document))


@router.get("/entries/{entry}")
def one_entry(project: str, entry: str, tool: The, who: Who) -> entries.EntryView:
    """Return an entry."""
    with tool.database.reading() as session:
        return entries.view(session, entries.find(session, who, projects.find(session, who, project), entry))


@router.patch("/entries/{entry}")
def save_entry(project: str, entry: str, body: Save, tool: The, who: Who) -> entries.EntryView:
    """Save parts of an entry."""
    with tool.database.reading() as session:
        # Documents are read here: nobody else who saves waits for that.
        row = projects.find(session, who, project)
        found = entries.find(session, who, row, entry)
        marks = entries.read_evidence(session, who, row, found, body.changes, version=body.version)
    with tool.database.writing() as session:
        row = projects.find(session, who, project)
        found = entries.find(session, who, row, entry)
        saved = entries.save(session, who, row, found, body.changes, version=body.version, marks=marks)
        return _followed(session, who, row, saved, marks)


@router.post("/entries/{entry}/undo")
def undo_entry(project: str, entry: str, body: Seen, tool: The, who: Who) -> entries.EntryView:
    """Take the last change back."""
    with tool.database.writing() as session:
        row = projects.find(session, who, project)
        found = entries.find(session, who, row, entry)
        return _followed(session, who, row, undoing.undo(session, who, row, found, version=body.version))


@router.post("/entries/{entry}/redo")
def redo_entry(project: str, entry: str, body: Seen, tool: The, who: Who) -> entries.EntryView:
    """Do again what was just undone."""
    with tool.database.writing() as session:
        row = projects.find(session, who, project)
        found = entries.find(session, who, row, entry)
        return _followed(session, who, row, undoing.redo(session, who, row, found, version=body.version))


def _followed(
    session: Session, who: Actor, project: Project, entry: Entry, marks: Marks | None = None
) -> entries.EntryView:
    gathering.follow(session, who, project, entry)
    return entries.view(session, entry, marks.after if marks else None)


@router.delete("/entries/{entry}", status_code=204)
def delete_entry(project: str, entry: str, tool: The, who: Who) -> None:
    """Delete an entry."""
    with tool.database.writing() as session:
        row = projects.find(session, who, project)
        entries.remove(session, who, row, entries.find(session, who, row, entry))


@router.post("/entries/{entry}/query", status_code=201)
def query_of_entry(project: str, entry: str, body: FromEntry, tool: The, who: Who) -> queries.QueryView:
    """Make a query of a finished entry, its evidence the judgements."""
    with tool.database.writing() as session:
        row = projects.find(session, who, project)
        found = entries.find(session, who, row, entry)
        return queries.view(gathering.of_entry(session, who, row, found, split=body.split))


@router.get("/queries")
def all_queries(project: str, tool: The, who: Who) -> list[queries.ListedQuery]:
    """Return the queries of a project; people who still judge get only the number of their own judgements."""
    with tool.database.reading() as session:
        row = projects.find(session, who, project)
        of = None if judging.sighted(session, who, row) else who
        return queries.listed(session, row, of=of)


@router.post("/queries", status_code=201)
def new_query(project: str, body: NewQuery, tool: The, who: Who) -> queries.QueryView:
    """Write a query."""
    with tool.database.writing() as session:
        row = projects.find(session, who, project)
        return queries.view(queries.create(session, who, row, **body.model_dump()))


@router.patch("/queries/{query:key}")
def save_query(project: str, query: str, body: Save, tool: The, who: Who) -> queries.QueryView:
    """Change a query."""
    with tool.database.writing() as session:
        row = projects.find(session, who, project)
        found = queries.find(session, row, query)
        return queries.view(queries.save(session, who, row, found, body.changes, version=body.version))


@router.get("/work")
def work(project: str, tool: The, who: Who) -> list[assigning.QueryToJudge]:
    """Return the queries one is to judge, open ones first."""
    with tool.database.reading() as session:
        return assigning.work(session, who, projects.find(session, who, project))


@router.get("/queries/{query:key}/pool")
def pool(project: str, query: str, tool: The, who: Who, depth: Limit = judging.DEPTH) -> list[judging.PassageToJudge]:
    """Return the passages to judge, in a blind order."""
    with tool.database.reading() as session:
        row = projects.find(session, who, project)
        return judging.pool(session, who, row, queries.find(session, row, query), depth=depth)


@router.put("/queries/{query:key}/judgements/{document:key}")
def grade(project: str, query: str, document: str, body: Grade, tool: The, who: Who) -> judging.SavedGrade:
    """Grade a passage."""
    with tool.database.writing() as session:
        row = projects.find(session, who, project)
        found = queries.find(session, row, query)
        return judging.grade(session, who, row, found, document, body.grade, version=body.version, note=body.note)


@router.put("/queries/{query:key}/done", status_code=204)
def done(project: str, query: str, body: Done, tool: The, who: Who) -> None:
    """Say that one is done with a query."""
    with tool.database.writing() as session:
        row = projects.find(session, who, project)
        judging.done(session, who, queries.find(session, row, query), yes=body.done, person=body.person)


@router.get("/queries/{query:key}/judgements")
def everybody(project: str, query: str, tool: The, who: Who) -> list[judging.GivenGrade]:
    """Return everybody's grades, once one is done."""
    with tool.database.reading() as session:
        row = projects.find(session, who, project)
        return judging.others(session, who, queries.find(session, row, query))


# A key may have a slash: what is more than a key is asked for above.
@router.get("/queries/{query:key}")
def one_query(project: str, query: str, tool: The, who: Who) -> gathering.QueryWithEvidence:
    """Return a query with the evidence of the entry it came from; to who is still to judge it, ``evidence`` is null."""
    with tool.database.reading() as session:
        found = queries.find(session, projects.find(session, who, project), query)
        return gathering.with_evidence(session, who, found)


@router.get("/disagreements")
def disagreements(project: str, tool: The, who: Who, settled: bool = False) -> list[settling.Disagreement]:
    """Return what is to be settled, or what was settled."""
    with tool.database.reading() as session:
        return settling.disagreements(session, who, projects.find(session, who, project), settled=settled)


@router.put("/queries/{query:key}/final/{document:key}")
def adjudicate(project: str, query: str, document: str, body: Settle, tool: The, who: Who) -> settling.FinalOfDocument:
    """Set or change a final grade; None removes it."""
    with tool.database.writing() as session:
        row = projects.find(session, who, project)
        found = queries.find(session, row, query)
        if body.grade is None:
            return settling.reopen(session, who, row, found, document, version=body.version)
        return settling.adjudicate(session, who, row, found, document, body.grade, version=body.version, note=body.note)


@router.delete("/queries/{query:key}", status_code=204)
def delete_query(project: str, query: str, tool: The, who: Who) -> None:
    """Delete a query with its judgements."""
    with tool.database.writing() as session:
        row = projects.find(session, who, project)
        queries.remove(session, who, row, queries.find(session, row, query))
