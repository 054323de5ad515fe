"""AIANO's levels, fields and blocks as a schema of ours: what it allows and we do not is made to fit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from stm_agent.annotate.schema import Block, BlockType, DocumentField, InputSource, Level, Mode, ProjectSchema, Role

TYPES: dict[str, BlockType] = {
    "textarea": "longtext",
    "text": "text",
    "select": "select",
    "multiselect": "multiselect",
    "boolean": "boolean",
}
ROLES: dict[str, Role] = {"question": "query", "query": "query", "answer": "answer"}
"""What a block of such a name, in small letters, is to the loop."""
WIRE = {"qa": "multiselect", "boolean": "boolean"}
"""What AIANO's API calls a block's type, where it says anything."""
GREY = "#8a8f98"
HEX = re.compile(r"#[0-9a-fA-F]{6}")
SHORT = re.compile(r"#([0-9a-fA-F])([0-9a-fA-F])([0-9a-fA-F])")

Row: TypeAlias = Mapping[str, Any]
"""An object of AIANO's that is only read."""


def dataset_schema(config: Row) -> ProjectSchema:
    """Return the schema of a dataset JSON's ``project.config``."""
    rows = [(row, row, (row.get("aiConfig") or {}).get("inputSources") or ()) for row in config.get("aianoBlocks", ())]
    return _schema((config.get("dataset") or {}).get("fields"), config.get("annotationLevels"), rows)


def project_schema(whole: Row) -> ProjectSchema:
    """Return the schema of an ``.aiano`` file."""
    project = whole["project"]
    designs = list(project.get("aianoBlocks") or ())
    rows = []
    for row in whole.get("aiano_blocks") or ():
        # block_type on the wire says little; the designer's own row and the options say more.
        design = next((one for one in designs if one.get("name") == row["title"]), None)
        if design is not None:
            designs.remove(design)
        kind = (design or {}).get("type") or WIRE.get(row.get("block_type"), "text")
        sources = list((row.get("input_sources") or {}).values())
        rows.append(({**row, "type": kind}, row.get("block_config") or {}, sources))
    return _schema((project.get("dataset") or {}).get("fields"), project.get("annotationLevels"), rows)


def _schema(
    fields: Sequence[Row] | None, levels: Sequence[Row] | None, blocks: Sequence[tuple[Row, Row, Sequence[Row]]]
) -> ProjectSchema:
    made_fields, made_levels = _fields(fields or ()), _levels(levels or ())
    names = _distinct(_title(row) for row, _, _ in blocks)
    known = {
        "field": {one.id for one in made_fields},
        "annotation": {one.id for one in made_levels} | {""},
        "block": {f"b{row['id']}" for row, _, _ in blocks},
    }
    made = []
    for name, (row, config, sources) in zip(names, blocks, strict=True):
        read = [one for one in map(_source, sources) if one is not None]
        made.append(_block(name, row, config, [one for one in read if one.ref in known[one.kind]]))
    return ProjectSchema(fields=made_fields, levels=made_levels, blocks=tuple(made))


def _title(row: Row) -> str:
    return str(row.get("title") or row.get("name"))


def _distinct(names: Iterable[str]) -> list[str]:
    """Return names, each once: AIANO lets two blocks have the same, and the second gets a number."""
    made: list[str] = []
    for name in names:
        number, fresh = 2, name
        while fresh in made:
            number, fresh = number + 1, f"{name} {number}"
        made.append(fresh)
    return made


def _colour(told: object) -> str:
    text = str(told or "")
    if short := SHORT.fullmatch(text):
        return "#" + "".join(2 * digit for digit in short.groups())
    return text if HEX.fullmatch(text) else GREY


def _levels(rows: Sequence[Row]) -> tuple[Level, ...]:
    names = _distinct(str(row["name"]) for row in rows)
    return tuple(
        Level(
            id=row["id"],
            name=name,
            colour=_colour(row.get("color")),
            # What is marked as evidence, and given no score, is relevant.
            score=1 if row.get("score") is None else max(int(row["score"]), 0),
            help=row.get("description") or "",
        )
        for name, row in zip(names, rows, strict=True)
    )


def _fields(rows: Sequence[Row]) -> tuple[DocumentField, ...]:
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


def _block(name: str, row: Row, config: Row, sources: Sequence[InputSource]) -> Block:
    ai = config.get("aiConfig") or {}
    mode = _mode(config)
    yes, _, no = str(config.get("booleanChoice") or "Yes/No").partition("/")
    options = tuple(config.get("options") or ())
    own = f"b{row['id']}"
    return Block(
        id=own,
        name=name,
        type=_type(row, options),
        mode=mode,
        role=ROLES.get(name.lower(), "note"),
        placeholder=str(row.get("placeholder") or ""),
        description=str(row.get("description") or ""),
        required=bool(config.get("required")),
        options=options,
        yes=yes.strip() or "Yes",
        no=no.strip() or "No",
        prompt=str((ai.get("soloSystemPrompt") if mode == "solo" else ai.get("systemPrompt")) or ""),
        temperature=float(ai.get("temperature", 0.7)),
        max_tokens=int(ai.get("maxTokens", 1000)),
        inputs=tuple(one for one in sources if (one.kind, one.ref) != ("block", own)),
    )


def _mode(config: Row) -> Mode:
    if not config.get("aiEnabled"):
        return "plain"
    return "solo" if config.get("soloMode") else "human"


def _type(row: Row, options: Sequence[str]) -> BlockType:
    """Return a block's type; one to choose from that offers nothing is a text."""
    kind = TYPES.get(str(row.get("type") or "text"), "text")
    return kind if options or kind not in ("select", "multiselect") else "text"


def _source(row: Row) -> InputSource | None:
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
