"""AIANO's two files (version 1.0.0), in and out: the dataset JSON and the ``.aiano`` project.

What AIANO has and we have not (ids, dates, descriptions of its own) is kept with the project and the entries, and what
was not changed here goes out as it came in. AIANO counts UTF-16 units in a text, we count code points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stm_agent.annotate.schema import Block, DocumentField, InputSource, Level, ProjectSchema
from stm_agent.errors import DataError

TYPES = {"textarea": "longtext", "text": "text", "select": "select", "multiselect": "multiselect", "boolean": "boolean"}
BACK = {"longtext": "textarea", "number": "text", "date": "text"}
GREY = "#8a8f98"


@dataclass(frozen=True)
class Mark:
    """A piece of evidence: ``[start, end)`` in code points of a document's text."""

    key: str
    document: str
    start: int
    end: int
    level: str


@dataclass(frozen=True)
class Item:
    """One entry; ``raw`` is how AIANO had it."""

    key: str
    name: str
    notes: str
    values: dict[str, Any]
    marks: tuple[Mark, ...]
    raw: dict[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Parsed:
    """A file as a project; ``shell`` is the file without its entries and documents."""

    name: str
    description: str
    tags: tuple[str, ...]
    schema: ProjectSchema
    documents: dict[str, dict[str, Any]]
    items: tuple[Item, ...]
    shell: dict[str, Any]


def read(whole: Any) -> Parsed:  # noqa: ANN401 - JSON
    """Read either file.

    Raises:
        DataError: It is neither.
    """
    if isinstance(whole, dict) and isinstance(whole.get("project"), dict):
        try:
            if (whole.get("metadata") or {}).get("format") == "aiano":
                return _read_project(whole)
            if isinstance(whole.get("entries"), list):
                return _read_dataset(whole)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"the AIANO file is damaged: {type(error).__name__} {str(error)[:200]}") from error
    raise DataError("this is no AIANO file: it needs 'project', and 'entries' or metadata.format 'aiano'")


def units_to_points(text: str, units: int) -> int:
    """Return how many code points the first ``units`` UTF-16 units of a text are."""
    return len(text.encode("utf-16-le")[: 2 * units].decode("utf-16-le", "ignore"))


def points_to_units(text: str, points: int) -> int:
    """Return how many UTF-16 units the first ``points`` code points of a text are."""
    return len(text[:points].encode("utf-16-le")) // 2


def _levels(rows: Sequence[Mapping[str, Any]]) -> tuple[Level, ...]:
    return tuple(
        Level(
            id=row["id"],
            name=row["name"],
            colour=row.get("color") or GREY,
            score=max(int(row.get("score") or 0), 0),
            help=row.get("description") or "",
        )
        for row in rows
    )


def _fields(rows: Sequence[Mapping[str, Any]]) -> tuple[DocumentField, ...]:
    made = tuple(
        DocumentField(
            id=row["id"],
            name=row["name"],
            type=row.get("type") or "text",
            description=row.get("description") or "",
            required=bool(row.get("required")),
            ai_input=bool(row.get("canBeInput")),
            content=bool(row.get("isDocument")) or row["name"] == "text",
            metadata=bool(row.get("showForAnnotator")),
            output=bool(row.get("includeInFinalDataset", True)),
        )
        for row in rows
    )
    return made or (DocumentField(id="text", name="text", content=True),)


def _block(row: Mapping[str, Any], config: Mapping[str, Any], sources: Sequence[Mapping[str, Any]]) -> Block:
    ai = config.get("aiConfig") or {}
    mode = "plain" if not config.get("aiEnabled") else "solo" if config.get("soloMode") else "human"
    yes, _, no = str(config.get("booleanChoice") or "Yes/No").partition("/")
    name = str(row.get("title") or row.get("name"))
    kind = TYPES.get(str(row.get("type") or "text"), "text")
    options = tuple(config.get("options") or ())
    return Block(
        id=f"b{row['id']}",
        name=name,
        type=kind if options or kind not in ("select", "multiselect") else "text",  # type: ignore[arg-type]
        mode=mode,  # type: ignore[arg-type]
        role="query" if name.lower() == "question" else "answer" if name.lower() == "answer" else "note",
        placeholder=str(row.get("placeholder") or ""),
        description=str(row.get("description") or ""),
        required=bool(config.get("required")),
        options=options,
        yes=yes.strip() or "Yes",
        no=no.strip() or "No",
        prompt=str((ai.get("soloSystemPrompt") if mode == "solo" else ai.get("systemPrompt")) or ""),
        temperature=float(ai.get("temperature", 0.7)),
        max_tokens=int(ai.get("maxTokens", 1000)),
        inputs=tuple(source for one in sources if (source := _source(one)) is not None),
    )


def _source(row: Mapping[str, Any]) -> InputSource | None:
    label, required = str(row.get("label") or ""), bool(row.get("required"))
    kind = row.get("type")
    if kind == "aiano_block" and row.get("sourceId"):
        return InputSource(kind="block", ref=f"b{row['sourceId']}", label=label, required=required)
    if kind == "annotation":
        level = str(row.get("annotationType") or "all").removeprefix("annotation_")
        return InputSource(kind="annotation", ref="" if level == "all" else level, label=label, required=required)
    if kind == "dataset_field" and row.get("datasetFieldId"):
        return InputSource(kind="field", ref=str(row["datasetFieldId"]), label=label, required=required)
    return None


def _read_dataset(whole: dict[str, Any]) -> Parsed:
    project = whole["project"]
    config = project["config"]
    documents: dict[str, dict[str, Any]] = {}
    for entry in whole["entries"]:
        for row in entry.get("documents", ()):
            documents.setdefault(str(row["id"]), {key: value for key, value in row.items() if key != "id"})
    blocks = tuple(
        _block(row, row, (row.get("aiConfig") or {}).get("inputSources") or ()) for row in config.get("aianoBlocks", ())
    )
    levels = _levels(config.get("annotationLevels", ()))
    schema = ProjectSchema(
        fields=_fields((config.get("dataset") or {}).get("fields") or ()), levels=levels, blocks=blocks
    )
    # Blocks are keyed by name here, and annotationLevelId is a score.
    by_name = {block.name: block.id for block in blocks}
    level_ids = {level.name: level.id for level in levels}
    items = tuple(
        Item(
            f"aiano-{entry['id']}",
            str(entry.get("entryName") or ""),
            str(entry.get("entryNotes") or ""),
            {by_name[name]: value for name, value in entry.get("aianoBlocks", {}).items() if name in by_name},
            tuple(_mark(row, documents, level_ids[row["annotationLevel"]]) for row in entry.get("highlights", ())),
            entry,
        )
        for entry in whole["entries"]
    )
    tags = tuple(str(tag.get("name") if isinstance(tag, dict) else tag) for tag in config.get("tags", ()))
    shell = {**whole, "entries": []}
    return Parsed(str(project["name"]), str(project.get("description") or ""), tags, schema, documents, items, shell)


def _mark(row: Mapping[str, Any], documents: Mapping[str, Mapping[str, Any]], level: str) -> Mark:
    key = str(row["documentId"])
    text = str(documents.get(key, {}).get("text", ""))
    return Mark(
        str(row["id"]), key, units_to_points(text, int(row["start"])), units_to_points(text, int(row["end"])), level
    )


def _read_project(whole: dict[str, Any]) -> Parsed:
    project = whole["project"]
    documents = {}
    for row in whole.get("documents") or ():
        key = str(row.get("document_id") or row.get("Document_Id") or row.get("id"))
        documents[key] = {name: value for name, value in row.items() if name not in ("document_id", "Document_Id")}
    blocks = []
    for row in whole.get("aiano_blocks") or ():
        config = row.get("block_config") or {}
        designed: dict[str, Any] = next(
            (one for one in project.get("aianoBlocks") or () if one.get("name") == row["title"]), {}
        )
        # block_type on the wire says little; the designer's own row and the options say more.
        kind = designed.get("type") or {"qa": "multiselect", "boolean": "boolean"}.get(row.get("block_type"), "text")
        blocks.append(_block({**row, "type": kind}, config, list((row.get("input_sources") or {}).values())))
    schema = ProjectSchema(
        fields=_fields((project.get("dataset") or {}).get("fields") or ()),
        levels=_levels(project.get("annotationLevels") or ()),
        blocks=tuple(blocks),
    )
    known = {block.id for block in blocks}
    items = tuple(
        Item(
            f"aiano-{row['id']}",
            str(row.get("entry_name") or ""),
            str(row.get("entry_notes") or ""),
            {
                f"b{key}": cell["value"]
                for key, cell in row["entry_data"].get("aiano_blocks", {}).items()
                if f"b{key}" in known and cell.get("value") not in (None, "")
            },
            tuple(_mark(one, documents, one["annotationLevelId"]) for one in row["entry_data"].get("highlights", ())),
            row,
        )
        for row in whole.get("annotation_entries") or ()
    )
    tags = tuple(str(tag["name"]) for tag in project.get("tags") or ())
    shell = {**whole, "documents": [], "annotation_entries": []}
    return Parsed(
        str(project["name"]),
        str(project.get("description") or ""),
        tags,
        schema,
        documents,
        items,
        {**shell, "raw_documents": whole.get("documents") or []},
    )
