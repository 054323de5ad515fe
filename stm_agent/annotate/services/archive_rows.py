"""Rows of an archive, checked against the columns they go into: nothing is stored that the tool could not read."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Annotated, Any, TypeAlias, get_args, get_type_hints

from pydantic import AwareDatetime, BeforeValidator, Field, TypeAdapter, ValidationError
from sqlalchemy import ColumnElement, Integer, String

from stm_agent.annotate.base import Base, Utc
from stm_agent.annotate.reading import key_fault, part_fault
from stm_agent.annotate.storable import LARGEST, unstorable
from stm_agent.annotate.tables import Document, Query
from stm_agent.errors import DataError

SLASHED: tuple[type[Base], ...] = (Document, Query)
"""Tables whose keys may have a slash: their owners gave them, and addresses take it."""
LOCAL = frozenset({"id", "project_id"})
"""Columns that are this database's own; an archive does not tell them."""


def _moment(value: object) -> datetime:
    if not isinstance(value, str):
        raise ValueError("Input should be a moment in ISO 8601")
    return datetime.fromisoformat(value)


Key = Annotated[str, Field(max_length=200, pattern=r"\S")]
Number = Annotated[int, Field(ge=-LARGEST, le=LARGEST)]
Moment = Annotated[AwareDatetime, BeforeValidator(_moment)]
Columns: TypeAlias = dict[str, Any]
"""Values of a row by column, each of which was checked against its column."""


def checked(table: type[Base], told: object, where: str, *, but: str = "") -> Columns:
    """Return the columns of a row, moments as such; missing ones keep their defaults.

    Args:
        table: Where the row goes.
        told: What the archive has; keys that are not columns are left out.
        where: The file and line, for the message.
        but: A column that the archive does not tell, since the row stands within another.

    Raises:
        DataError: It is not a row of the table.
    """
    if not isinstance(told, dict):
        raise DataError(f"the archive is damaged: {where} is not a JSON object")
    if reason := unstorable(told):
        raise DataError(f"the archive is damaged: {where} {reason}")
    row: Columns = {}
    for name, (kind, needed) in _columns(table).items():
        if name in told and name != but:
            try:
                row[name] = kind.validate_python(told[name], strict=True)
            except ValidationError as error:
                reason = error.errors()[0]["msg"].removeprefix("Value error, ")
                raise DataError(f"the archive is damaged: '{name}' of {where}: {reason}") from error
            if name == "key" and (fault := (key_fault(row[name], ()) if table in SLASHED else part_fault(row[name]))):
                raise DataError(f"the archive is damaged: {where} {fault}")
        elif needed and name != but:
            raise DataError(f"the archive is damaged: {where} lacks '{name}'")
    return row


@cache
def _columns(table: type[Base]) -> dict[str, tuple[TypeAdapter[object], bool]]:
    """Return the columns of an archive: what each holds, and whether a row needs it."""
    hints = get_type_hints(table)
    return {
        column.name: (
            TypeAdapter(_kind(column, get_args(hints[column.name])[0])),
            column.name == "key" or not (column.nullable or column.default),
        )
        for column in table.__table__.columns
        if column.name not in LOCAL
    }


def _kind(column: ColumnElement[object], hint: Any) -> Any:  # noqa: ANN401 - a type, as pydantic takes it
    kind = hint
    # What points to a row names it by its key.
    if column.foreign_keys or column.name == "key":
        kind = Key
    elif isinstance(column.type, Utc):
        kind = Moment
    elif isinstance(column.type, Integer):
        kind = Number
    elif isinstance(column.type, String) and column.type.length:
        kind = Annotated[str, Field(max_length=column.type.length)]
    return kind | None if column.nullable else kind
