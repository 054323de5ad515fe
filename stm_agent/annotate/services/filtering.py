"""Conditions on documents' fields, in the words of either database."""

from __future__ import annotations

import json
import re

from sqlalchemy import ColumnElement, Float, Select, SQLColumnExpression, String, case, cast, func, select
from sqlalchemy.orm import Session

from stm_agent.annotate.faults import Invalid
from stm_agent.annotate.reading import KEYS
from stm_agent.annotate.schema import ProjectSchema
from stm_agent.annotate.spelling import composed
from stm_agent.annotate.tables import Document, Project

OPERATOR = re.compile(r"<=|>=|!=|[=<>~!]")
"""The first match ends a filter's field. It is one short token, so that reading a filter takes linear time."""
LONGEST_FILTER = 1000
"""Largest number of characters of a filter, or of a tag that documents are selected by."""
MOST_FILTERS = 50
"""Largest number of filters of one selection: each becomes a condition of the statement."""
NUMBER = r"^\s*[-+]?([0-9]{1,200}(\.[0-9]{0,200})?|\.[0-9]{1,200})([eE][-+]?[0-9]{1,2})?\s*$"
"""A number as text, for either database, small enough for PostgreSQL. No two parts of the pattern can match the same
digits, so that it takes linear time on a text of any length."""


def filtered(session: Session, project: Project, wanted: Select[Document], text: str) -> Select[Document]:
    """Return a selection of documents with one more condition.

    Args:
        session: The database.
        project: Whose documents they are.
        wanted: The selection.
        text: ``field=value``, ``field!=value``, ``field~part`` or ``field<value`` (also ``<=``, ``>``, ``>=``).

    Raises:
        Invalid: It cannot be read, or no document has such a field.
    """
    name, how, value = read_filter(text)
    column, dialect = _column(session, project, name), session.get_bind().dialect.name
    if not value.isascii() and how in ("~", "=", "!="):
        # A text may have its accents behind their letters, where a keyboard writes one character.
        column, value = func.normalize(column, type_=String), composed(value)
    if how == "~":
        return wanted.where(func.lower(column).contains(value.lower(), autoescape=True))
    if how in ("=", "!="):
        return wanted.where(column == value if how == "=" else column != value)
    if re.match(NUMBER, value):
        return wanted.where(_compared(_number(column, dialect), how, float(value)))
    return wanted.where(_compared(column, how, value))


def _compared(left: SQLColumnExpression[object], how: str, right: str | float) -> ColumnElement[bool]:
    return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[how]


def read_filter(text: str) -> tuple[str, str, str]:
    """Return the field, the operator and the value of a filter.

    Raises:
        Invalid: The filter is too long, or has no field or no operator.
    """
    if len(text) > LONGEST_FILTER:
        raise Invalid(f"a filter has at most {LONGEST_FILTER:,} characters; this one has {len(text):,}")
    operator = OPERATOR.search(text)
    name = text[: operator.start()].strip() if operator else ""
    if operator is None or operator[0] == "!" or not name:
        raise Invalid(f"filter '{text}' cannot be read; write field=value, field~part or field>number")
    return name, operator[0], text[operator.end() :].strip()


def tagged(wanted: Select[Document], tag: str) -> Select[Document]:
    """Return a selection of the documents that have a tag.

    Raises:
        Invalid: The tag is too long.
    """
    if len(tag) > LONGEST_FILTER:
        raise Invalid(f"a tag has at most {LONGEST_FILTER:,} characters; this one has {len(tag):,}")
    # Tags are few and short: their JSON text is searched, on every database alike.
    return wanted.where(cast(Document.tags, String).contains(json.dumps(tag, ensure_ascii=False), autoescape=True))


def order_of(sort: str, schema: ProjectSchema, dialect: str) -> list[SQLColumnExpression[object]]:
    """Return what documents are sorted by: a field (``-`` in front: falling; numbers as numbers), then as they came."""
    if not sort:
        return [Document.position]
    name = sort.removeprefix("-")
    column = text_field(name, dialect)
    numeric = any(one.name == name and one.type == "number" for one in schema.fields)
    columns: list[SQLColumnExpression[object]] = [_number(column, dialect), column] if numeric else [column]
    return [*(one.desc() if sort.startswith("-") else one.asc() for one in columns), Document.position]


def _column(session: Session, project: Project, name: str) -> SQLColumnExpression[str]:
    """Return what a filter means by a name: a field, or where none is called so but ids are, the document's id.

    Raises:
        Invalid: It is neither.
    """
    column = text_field(name, session.get_bind().dialect.name)
    fields = [field.name for field in ProjectSchema.model_validate(project.schema).fields]
    some = select(Document.fields).where(Document.project_id == project.id).limit(1)
    if name in fields or session.scalar(some.where(column.is_not(None))) is not None:
        return column
    if name in KEYS:
        return Document.key
    known = dict.fromkeys([KEYS[0], *fields, *(session.scalar(some) or ())])
    raise Invalid(f"no document has a field '{name}'; there are {', '.join(known)}")


def text_field(name: str, dialect: str) -> ColumnElement[str]:
    """Return a document's field as text, true and false by their names on either database.

    Raises:
        Invalid: SQLite's paths have no way to write such a name.
    """
    if '"' in name or "\x00" in name:
        raise Invalid(f"a field whose name has a quotation mark cannot be filtered or sorted by: {name!r}")
    text: ColumnElement[str] = Document.fields[name].as_string()
    if dialect != "sqlite":
        return text
    kind = func.json_type(Document.fields, f'$."{name}"', type_=String)
    return case((kind.in_(("true", "false")), kind), else_=text)


def _number(column: SQLColumnExpression[str], dialect: str) -> ColumnElement[float]:
    """Return a field as a number, NULL if it is not one: a single odd document does not refuse the others."""
    matches = column.op("~")(NUMBER) if dialect == "postgresql" else column.regexp_match(NUMBER)
    return case((matches, cast(column, Float)))
