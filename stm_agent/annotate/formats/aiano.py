"""AIANO's two files (version 1.0.0) as they come in: the dataset JSON and the ``.aiano`` project.

What AIANO has and we have not (ids, dates, descriptions of its own) is kept with the project and the entries, and what
was not changed here goes out as it came in. AIANO counts UTF-16 units in a text, we count code points.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from stm_agent.annotate.formats.aiano_schema import Row, dataset_schema, project_schema
from stm_agent.annotate.schema import ProjectSchema
from stm_agent.errors import DataError

Raw: TypeAlias = dict[str, Any]
"""An object of AIANO's as it came. Where it is not what AIANO writes, the whole file is refused as damaged."""
Documents = Mapping[str, Mapping[str, object]]


@dataclass(frozen=True)
class Mark:
    """A piece of evidence: ``[start, end)`` in code points of a document's field."""

    key: str
    document: str
    start: int
    end: int
    level: str
    field: str = "text"


@dataclass(frozen=True)
class Item:
    """One entry.

    Attributes:
        raw: How AIANO had it.
        unplaced: Its highlights, as AIANO had them, whose text or level is not in the file.
    """

    key: str
    name: str
    notes: str
    values: dict[str, object]
    marks: tuple[Mark, ...]
    raw: Raw = field(default_factory=dict, compare=False)
    unplaced: tuple[Raw, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class Parsed:
    """A file as a project; ``shell`` is the file without its entries and documents."""

    name: str
    description: str
    tags: tuple[str, ...]
    schema: ProjectSchema
    documents: dict[str, dict[str, object]]
    items: tuple[Item, ...]
    shell: Raw


def read(whole: object) -> Parsed:
    """Read either file.

    Raises:
        DataError: It is neither, or has an entry twice.
    """
    if isinstance(whole, dict) and isinstance(whole.get("project"), dict):
        try:
            if (whole.get("metadata") or {}).get("format") == "aiano":
                return _each_once(_read_project(whole))
            if isinstance(whole.get("entries"), list):
                return _each_once(_read_dataset(whole))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"the AIANO file is damaged: {type(error).__name__} {str(error)[:200]}") from error
    raise DataError("this is not an AIANO file: it needs 'project', and 'entries' or metadata.format 'aiano'")


def _each_once(parsed: Parsed) -> Parsed:
    seen: set[str] = set()
    for item in parsed.items:
        if item.key in seen:
            raise DataError(
                f"the AIANO file has two entries with the id {item.key.removeprefix('aiano-')!r}; change one"
            )
        seen.add(item.key)
    return parsed


def units_to_points(text: str, units: int) -> int:
    """Return how many code points the first ``units`` UTF-16 units of a text are."""
    return len(text.encode("utf-16-le")[: 2 * units].decode("utf-16-le", "ignore"))


def points_to_units(text: str, points: int) -> int:
    """Return how many UTF-16 units the first ``points`` code points of a text are."""
    return len(text[:points].encode("utf-16-le")) // 2


def document_key(row: Row) -> str:
    """Return the id of a document of an ``.aiano`` file."""
    return str(row.get("document_id") or row.get("Document_Id") or row.get("id"))


def fields_of(row: Row) -> dict[str, object]:
    """Return the fields of a document of an ``.aiano`` file."""
    return {name: value for name, value in row.items() if name not in ("document_id", "Document_Id")}


def _marks(
    rows: Sequence[Raw], documents: Documents, level_of: Callable[[Raw], str | None]
) -> tuple[tuple[Mark, ...], tuple[Raw, ...]]:
    """Return the highlights that have a place in a document's text, and those that have none."""
    placed: dict[str, Mark] = {}
    unplaced = []
    for row in rows:
        key, document, name = str(row["id"]), str(row["documentId"]), str(row.get("field") or "text")
        text = str(documents.get(document, {}).get(name) or "")
        start, end, level = int(row["start"]), int(row["end"]), level_of(row)
        if level is None or key in placed or not 0 <= start < end <= points_to_units(text, len(text)):
            unplaced.append(row)
            continue
        placed[key] = Mark(key, document, units_to_points(text, start), units_to_points(text, end), level, name)
    return tuple(placed.values()), tuple(unplaced)


def _read_dataset(whole: Raw) -> Parsed:
    project = whole["project"]
    config = project["config"]
    documents: dict[str, dict[str, object]] = {}
    for entry in whole["entries"]:
        for row in entry.get("documents", ()):
            documents.setdefault(str(row["id"]), {key: value for key, value in row.items() if key != "id"})
    schema = dataset_schema(config)
    tags = tuple(str(tag.get("name") if isinstance(tag, dict) else tag) for tag in config.get("tags", ()))
    items = tuple(_dataset_item(entry, schema, documents) for entry in whole["entries"])
    shell = {**whole, "entries": []}
    return Parsed(str(project["name"]), str(project.get("description") or ""), tags, schema, documents, items, shell)


def _dataset_item(entry: Raw, schema: ProjectSchema, documents: Documents) -> Item:
    # Blocks and levels are given by name here; annotationLevelId is a score.
    blocks = {block.name: block.id for block in schema.blocks}
    levels = {level.name: level.id for level in schema.levels}
    marks, unplaced = _marks(entry.get("highlights", ()), documents, lambda row: levels.get(row["annotationLevel"]))
    return Item(
        f"aiano-{entry['id']}",
        str(entry.get("entryName") or ""),
        str(entry.get("entryNotes") or ""),
        {blocks[name]: value for name, value in entry.get("aianoBlocks", {}).items() if name in blocks},
        marks,
        entry,
        unplaced,
    )


def _read_project(whole: Raw) -> Parsed:
    project = whole["project"]
    documents = {}
    for row in whole.get("documents") or ():
        documents[document_key(row)] = fields_of(row)
    schema = project_schema(whole)
    return Parsed(
        str(project["name"]),
        str(project.get("description") or ""),
        tuple(str(tag["name"]) for tag in project.get("tags") or ()),
        schema,
        documents,
        tuple(_project_item(row, schema, documents) for row in whole.get("annotation_entries") or ()),
        {**whole, "documents": [], "annotation_entries": [], "raw_documents": whole.get("documents") or []},
    )


def _project_item(row: Raw, schema: ProjectSchema, documents: Documents) -> Item:
    blocks = {block.id for block in schema.blocks}
    levels = {level.id: level.id for level in schema.levels}
    data = row["entry_data"]
    marks, unplaced = _marks(data.get("highlights", ()), documents, lambda one: levels.get(one["annotationLevelId"]))
    values = {
        f"b{key}": cell["value"]
        for key, cell in data.get("aiano_blocks", {}).items()
        if f"b{key}" in blocks and cell.get("value") not in (None, "")
    }
    name, notes = str(row.get("entry_name") or ""), str(row.get("entry_notes") or "")
    return Item(f"aiano-{row['id']}", name, notes, values, marks, row, unplaced)
