"""What the documents of a list have in their fields: the most frequent values of each, counted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence

from sqlalchemy import Select, String, cast, func
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from stm_agent.annotate.schema import ProjectSchema
from stm_agent.annotate.services.documents import selected
from stm_agent.annotate.services.filtering import text_field
from stm_agent.annotate.tables import Document, Project

MOST = 8
"""Values of a field that are returned."""
LOOKED_AT = 100
"""Documents whose fields are looked at for names that the schema lacks."""
LONGEST = 100
"""Characters beyond which a value is too long to group documents by."""


class FacetValue(TypedDict):
    """A value of a field, and how many documents have it."""

    value: str
    count: int


class Facet(TypedDict):
    """The most frequent values of a ``field``, None: of the tags; and how many values there are."""

    field: str | None
    values: list[FacetValue]
    distinct: int


def facets(session: Session, project: Project, *, filters: Sequence[str] = (), tag: str | None = None) -> list[Facet]:
    """Return for each field beside the texts its most frequent values, counted, and how many values there are.

    The last facet, without a ``field``, is that of the tags. Fields that nobody shares a value of are left out.

    Args:
        session: The database.
        project: The project.
        filters: As of a page of documents.
        tag: Only documents with it.

    Raises:
        Invalid: A filter that cannot be read.
    """
    schema = ProjectSchema.model_validate(project.schema)
    wanted = selected(session, project, filters=filters, tag=tag)
    first = session.scalars(wanted.with_only_columns(Document.fields).order_by(Document.position).limit(LOOKED_AT))
    names = _names(schema, first.all())
    shared = _shared([_counted(session, wanted, name) for name in names])
    some = wanted.where(cast(Document.tags, String) != "[]").with_only_columns(Document.tags)
    tags = Counter(tag for tags in session.scalars(some) for tag in tags)
    return [*shared, _facet(None, tags.most_common(MOST), len(tags))] if tags else shared


def of_found(schema: ProjectSchema, rows: Sequence[Mapping[str, object]]) -> list[Facet]:
    """Return the facets of documents that are in memory, by their fields."""
    told = []
    for name in _names(schema, rows[:LOOKED_AT]):
        values = [_shown(row[name]) for row in rows if row.get(name) not in (None, "")]
        counts = Counter(value for value in values if len(value) <= LONGEST)
        told.append(_facet(name, counts.most_common(MOST), len(counts)))
    return _shared(told)


def _shown(value: object) -> str:
    return json.dumps(value) if isinstance(value, bool) else str(value)


def _names(schema: ProjectSchema, rows: Sequence[Mapping[str, object]]) -> list[str]:
    """Return the metadata fields, and those that documents came with and no schema names."""
    named = {field.name for field in schema.fields}
    shown = [field.name for field in schema.fields if field.metadata and not field.content]
    came = dict.fromkeys(name for row in rows for name in row if name not in named)
    # SQLite's paths have no way to write a name with a quotation mark.
    return [name for name in (*shown, *came) if '"' not in name]


def _shared(told: list[Facet]) -> list[Facet]:
    return [facet for facet in told if facet["values"] and facet["values"][0]["count"] > 1]


def _counted(session: Session, wanted: Select[Document], name: str) -> Facet:
    value = text_field(name, session.get_bind().dialect.name)
    some = wanted.where(value.is_not(None), value != "", func.length(value) <= LONGEST)
    count, distinct = func.count(), func.count().over()
    rows = some.with_only_columns(value, count, distinct).group_by(value).order_by(count.desc(), value).limit(MOST)
    found = session.execute(rows).all()
    return _facet(name, [(str(one), number) for one, number, _ in found], found[0][2] if found else 0)


def _facet(field: str | None, values: Sequence[tuple[str, int]], distinct: int) -> Facet:
    shown: list[FacetValue] = [{"value": value, "count": count} for value, count in values]
    return {"field": field, "values": shown, "distinct": distinct}
