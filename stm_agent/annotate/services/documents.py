"""Documents: put in by the thousand, paged, filtered by any field."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NotRequired

from sqlalchemy import Select, SQLColumnExpression, delete, event, func, insert, null, select, text
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.faults import Invalid
from stm_agent.annotate.reading import key_fault
from stm_agent.annotate.schema import ProjectSchema
from stm_agent.annotate.services.filtering import MOST_FILTERS, filtered, order_of, tagged
from stm_agent.annotate.services.keyed import keyed
from stm_agent.annotate.services.recording import record
from stm_agent.annotate.storable import unstorable, words
from stm_agent.annotate.tables import Document, DocumentAssignment, Evidence, Judgement, Project
from stm_agent.domain.collection import Document as Passage

AT_ONCE = 2000
PAGE = 50
LONGEST_PAGE = 500
SNIPPET = 160
LONGEST_TAG, MOST_TAGS = 100, 100
"""Largest number of characters of a tag, and of tags of a document or a project."""


class Brief(TypedDict):
    """A document as a list shows it."""

    key: str
    tags: list[str]
    snippet: str
    metadata: dict[str, object]


class ListedDocument(Brief):
    """A document of a page, and whether the person it was dealt to is ``done`` with it."""

    done: bool | None


class DocumentPage(TypedDict):
    """A page of documents; ``open`` of those that were dealt to a person are not done."""

    offset: int
    open: NotRequired[int]
    total: int
    documents: list[ListedDocument]


class DocumentView(TypedDict):
    """A document whole."""

    key: str
    tags: list[str]
    fields: dict[str, object]
    position: int


def add(session: Session, project: Project, rows: Iterable[tuple[str, Mapping[str, object]]]) -> int:
    """Put (key, fields) rows in, in order, but for keys that are there already; return how many went in.

    Raises:
        Invalid: A key or a field that no database keeps.
    """
    known = set(session.scalars(select(Document.key).where(Document.project_id == project.id)))
    place = session.scalar(select(func.max(Document.position)).where(Document.project_id == project.id)) or 0
    waiting: list[dict[str, object]] = []
    count = 0
    for key, fields in rows:
        if key in known:
            continue
        if fault := _unfit(key, fields):
            raise Invalid(f"document '{key[:60]}' {fault}")
        known.add(key)
        count += 1
        waiting.append({"project_id": project.id, "key": key, "position": place + count, "fields": fields, "tags": []})
        if len(waiting) == AT_ONCE:
            session.execute(insert(Document), waiting)
            waiting = []
    if waiting:
        session.execute(insert(Document), waiting)
    if count >= AT_ONCE and session.get_bind().dialect.name == "postgresql":
        event.listen(session, "after_commit", _tidy, once=True)
    return count


def _tidy(session: Session) -> None:
    """Let PostgreSQL see what it has: until it does so by itself, minutes later, it plans as if the table were empty.

    To count the documents it reads all of them until then.
    """
    with session.get_bind().engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM (ANALYZE) documents"))


def _unfit(key: str, fields: Mapping[str, object]) -> str | None:
    return key_fault(key, ()) or unstorable([key, fields])


def get(session: Session, project: Project, key: str) -> Document:
    """Return one document.

    Raises:
        NotFound: The project has none of that key.
    """
    return keyed(session, project, Document, key, "document")


def text_of(schema: ProjectSchema, fields: Mapping[str, object]) -> str:
    """Return the content fields of a document, a line each."""
    return "\n".join(str(fields[name]) for name in schema.content_fields if fields.get(name) not in (None, ""))


def passage_of(schema: ProjectSchema, key: str, fields: Mapping[str, object]) -> Passage:
    """Return a document as it is searched, ranked and exported.

    Its title is the field ``title``, if that is one of several content fields; the other content fields are its text.
    """
    titled = "title" in schema.content_fields and len(schema.content_fields) > 1
    title = str(fields.get("title") or "") if titled else ""
    rest = {name: value for name, value in fields.items() if not (titled and name == "title")}
    return Passage(key, title, text_of(schema, rest))


def brief(schema: ProjectSchema, row: Document) -> Brief:
    """Return a document as a list shows it."""
    # A document may have a book's length: what no snippet shows is not looked at.
    text = " ".join(text_of(schema, row.fields).lstrip()[: 4 * SNIPPET].split())
    shown = {field.name: row.fields.get(field.name) for field in schema.fields if field.metadata}
    return {"key": row.key, "tags": row.tags, "snippet": text[:SNIPPET], "metadata": shown}


def view(row: Document) -> DocumentView:
    """Return a document whole."""
    return {"key": row.key, "tags": row.tags, "fields": row.fields, "position": row.position}


def selected(
    session: Session, project: Project, *, filters: Sequence[str] = (), tag: str | None = None
) -> Select[Document]:
    """Select the documents of a project that fit all ``filters`` and have the tag, where there is one.

    Raises:
        Invalid: Too many filters, a filter that cannot be read, or on a field that no document has.
    """
    if len(filters) > MOST_FILTERS:
        raise Invalid(f"a selection has at most {MOST_FILTERS} filters; this one has {len(filters):,}")
    wanted = select(Document).where(Document.project_id == project.id)
    for one in filters:
        wanted = filtered(session, project, wanted, one)
    return wanted if tag is None else tagged(wanted, tag)


def page(
    session: Session,
    project: Project,
    *,
    offset: int = 0,
    limit: int = PAGE,
    filters: Sequence[str] = (),
    sort: str = "",
    tag: str | None = None,
    of: Actor | None = None,
) -> DocumentPage:
    """Return a page of documents and how many there are in all.

    Args:
        session: The database.
        project: The project.
        offset: Documents before the page.
        limit: Documents on it.
        filters: ``field=value``, ``field!=value``, ``field~part`` or ``field<value`` (also ``<=``, ``>``, ``>=``).
        sort: A field, with ``-`` in front for falling order; empty: as they came.
        tag: Only documents with it.
        of: Only documents that were dealt to this person, those that are not ``done`` first.

    Raises:
        Invalid: A filter that cannot be read, or on a field that no document has.
    """
    schema = ProjectSchema.model_validate(project.schema)
    wanted = selected(session, project, filters=filters, tag=tag)
    order = order_of(sort, schema, session.get_bind().dialect.name)
    told: DocumentPage = {"offset": offset, "total": 0, "documents": []}
    done: SQLColumnExpression[bool | None] = null()
    if of is not None:
        done = DocumentAssignment.done
        wanted = wanted.where(DocumentAssignment.document_id == Document.id, DocumentAssignment.person_id == of.id)
        order = [done, *order]
        told["open"] = session.scalar(wanted.where(~DocumentAssignment.done).with_only_columns(func.count())) or 0
    told["total"] = session.scalar(wanted.with_only_columns(func.count())) or 0
    place = wanted.with_only_columns(Document.id, done).order_by(*order).offset(offset).limit(limit)
    # Numbers alone are sorted and skipped over, then the texts of one page are fetched.
    states: dict[int, bool | None] = dict(session.execute(place).all())
    rows = {row.id: row for row in session.scalars(select(Document).where(Document.id.in_(states)))}
    told["documents"] = [{**brief(schema, rows[one]), "done": state} for one, state in states.items()]
    return told


def tag(
    session: Session, actor: Actor, project: Project, key: str, *, add: Sequence[str] = (), remove: Sequence[str] = ()
) -> Document:
    """Add tags to a document, take others away; what somebody else tags meanwhile stays.

    Raises:
        NotFound: The document does not exist.
        Invalid: A tag is too long, or the document would have too many.
    """
    for name in add:
        words(name, "a tag", LONGEST_TAG)
    row = keyed(session, project, Document, key, "document", lock=True)
    gone = {one.strip() for one in remove}
    clean = sorted({one.strip() for one in (*row.tags, *add) if one.strip()} - gone)
    if len(clean) > MOST_TAGS and len(clean) > len(row.tags):
        raise Invalid(f"a document has at most {MOST_TAGS} tags; this one would have {len(clean):,}")
    record(session, project, actor, "document.tag", key, {"tags": row.tags}, {"tags": clean})
    row.tags = clean
    return row


def remove(session: Session, actor: Actor, project: Project, key: str) -> None:
    """Delete a document that nobody used.

    Raises:
        Invalid: Evidence or judgements stand on it.
    """
    actor.needs("admin")
    row = get(session, project, key)
    used = [session.scalar(select(func.count()).where(table.document_id == row.id)) for table in (Evidence, Judgement)]
    if any(used):
        raise Invalid(f"document '{key}' has {used[0]} pieces of evidence and {used[1]} judgements; delete those first")
    record(session, project, actor, "document.delete", key, view(row), None)
    session.execute(delete(Document).where(Document.id == row.id))
