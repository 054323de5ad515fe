"""AIANO's files without their entries: written from a project, and put together with what an earlier file had.

A file that came in is changed only in what differs between the project as it was read from it and as it is now.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

from stm_agent.annotate.formats.aiano import Parsed, Raw
from stm_agent.annotate.schema import Block, InputSource, ProjectSchema

VERSION = "1.0.0"
BACK = {"longtext": "textarea", "number": "text", "date": "text"}
"""Our types that AIANO has under another name, or not at all."""
WIRE = {"text": "extraction", "textarea": "extraction", "multiselect": "qa"}
"""AIANO's block types as its API names them; all others are ``boolean`` there."""


def merged(kept: object, before: object, after: object) -> object:
    """Return ``kept`` with the differences between ``before`` and ``after`` made in it.

    Objects are compared key by key, lists of rows by the rows' ``id``; what ``before`` never had stays.
    """
    if before == after:
        return kept
    if isinstance(kept, dict) and isinstance(before, dict) and isinstance(after, dict):
        return _merged_objects(kept, before, after)
    if _is_rows(kept) and _is_rows(before) and _is_rows(after):
        return _merged_rows(kept, before, after)
    return after


def _merged_objects(kept: Raw, before: Raw, after: Raw) -> Raw:
    differs = [key for key in after if key in kept or key not in before or before[key] != after[key]]
    changed = {key: merged(kept.get(key), before.get(key), after[key]) for key in differs}
    return {key: changed.get(key, kept[key]) for key in kept if key in after or key not in before} | changed


def _is_rows(value: object) -> TypeGuard[list[Raw]]:
    return isinstance(value, list) and all(isinstance(row, dict) and "id" in row for row in value)


def _merged_rows(kept: Sequence[Raw], before: Sequence[Raw], after: Sequence[Raw]) -> list[object]:
    was = {str(row["id"]): row for row in before}
    names = {row.get("name"): row for row in kept}
    there = {str(row["id"]): row for row in kept}
    # The rows of AIANO's designer have ids of their own; there the name is what both sides know.
    mine = {key: there.get(key) or names.get(row.get("name")) for key, row in was.items()}
    strange = [row for row in kept if not any(row is one for one in mine.values())]
    made: list[object] = []
    for row in after:
        key = str(row["id"])
        had = mine.get(key)
        made.append(row if had is None else merged(had, was[key], row))
    return [*made, *strange]


def numbers(schema: ProjectSchema) -> dict[str, int]:
    """Return AIANO's number of each block; one that came from there keeps its own."""
    made = {block.id: int(block.id[1:]) for block in schema.blocks if block.id[0] == "b" and block.id[1:].isdecimal()}
    free = max(made.values(), default=0)
    for block in schema.blocks:
        if block.id not in made:
            free += 1
            made[block.id] = free
    return made


def dataset_shell(now: Parsed, moment: str) -> Raw:
    """Return a dataset JSON without entries."""
    config = _config(now)
    about = {
        "exportDate": moment,
        "version": VERSION,
        "format": "structured-annotation-dataset",
        "exportedBy": "stm-agent annotate",
        "projectId": "1",
        "projectName": now.name,
    }
    counts = {
        "totalAnnotationLevels": len(now.schema.levels),
        "totalAianoBlocks": len(now.schema.blocks),
        "totalTags": len(now.tags),
        "totalDatasetFields": len(now.schema.fields),
        "totalOutputFields": sum(field.output for field in now.schema.fields),
    }
    project = {"id": "1", "name": now.name, "description": now.description, "createdAt": moment, "updatedAt": moment}
    return {
        "metadata": about | {"totalEntries": len(now.items), "totalDocuments": len(now.documents)},
        "project": {**project, "config": config},
        "statistics": counts,
        "entries": [],
        "summary": {},
    }


def project_shell(now: Parsed, moment: str) -> Raw:
    """Return an ``.aiano`` file without documents and entries."""
    config = _config(now)
    project = {
        "id": "1",
        "name": now.name,
        "description": now.description,
        "createdAt": moment,
        "updatedAt": moment,
        "dataset": {"name": now.name, "description": "", "titleField": "title", "fields": config["dataset"]["fields"]},
        "tags": config["tags"],
        "annotationLevels": config["annotationLevels"],
        "aianoBlocks": config["aianoBlocks"],
    }
    about = {"exportDate": moment, "version": VERSION, "format": "aiano", "exportedBy": "stm-agent annotate"}
    return {
        "project": project,
        "documents": [],
        "aiano_blocks": [_wire(one, moment) for one in config["aianoBlocks"]],
        "annotation_entries": [],
        "highlights": [],
        "qa_pairs": [],
        "session": None,
        "metadata": {**about, "dataCounts": {"highlights": 0, "qaPairs": 0}},
    }


def _wire(block: Raw, moment: str) -> Raw:
    parts = ("aiEnabled", "soloMode", "aiConfig", "required", "options", "booleanChoice")
    return {
        "id": block["id"],
        "project_id": 1,
        "user_id": 1,
        "block_type": WIRE.get(block["type"], "boolean"),
        "title": block["name"],
        "description": block["description"],
        "input_sources": {str(number): one for number, one in enumerate(block["aiConfig"]["inputSources"])},
        "block_config": {key: block[key] for key in parts},
        "block_value": "",
        "is_generated": False,
        "created_at": moment,
        "updated_at": None,
    }


def _config(now: Parsed) -> Raw:
    levels = [
        {"id": one.id, "name": one.name, "color": one.colour, "description": one.help, "score": one.score}
        for one in now.schema.levels
    ]
    fields = [
        {
            "id": one.id,
            "name": one.name,
            "type": one.type,
            "description": one.description,
            "required": one.required,
            "showForAnnotator": one.metadata,
            "includeInFinalDataset": one.output,
            "canBeInput": one.ai_input,
            "isDocument": one.content,
        }
        for one in now.schema.fields
    ]
    number = numbers(now.schema)
    blocks = [_block(block, number) for block in now.schema.blocks]
    output = [one for one in fields if one["includeInFinalDataset"]]
    output += [{"id": f"aiano_db_{one['id']}", "name": one["name"], "type": "aiano_block"} for one in blocks]
    output += [{"id": f"annotation_db_{one['id']}", "name": one["name"], "type": "annotation_level"} for one in levels]
    dataset = {"fields": fields, "outputFields": output}
    # The name is what both sides know of a tag; a number would be another tag's as soon as one is taken away.
    tags = [{"id": f"tag:{tag}", "name": tag, "color": "#3b82f6"} for tag in now.tags]
    return {"tags": tags, "annotationLevels": levels, "aianoBlocks": blocks, "dataset": dataset}


def _block(block: Block, number: dict[str, int]) -> Raw:
    sources = [_source(place, one, number) for place, one in enumerate(block.inputs, 1)]
    prompt = {"soloSystemPrompt" if block.mode == "solo" else "systemPrompt": block.prompt}
    return {
        "id": number[block.id],
        "name": block.name,
        "type": BACK.get(block.type, block.type),
        "label": block.name,
        "placeholder": block.placeholder,
        "description": block.description,
        "required": block.required,
        "options": list(block.options),
        "booleanChoice": f"{block.yes}/{block.no}",
        "aiEnabled": block.mode != "plain",
        "soloMode": block.mode == "solo",
        "aiConfig": {
            "temperature": block.temperature,
            "maxTokens": block.max_tokens,
            "inputSources": sources,
            **prompt,
        },
        "defaultValue": "",
    }


def _source(place: int, source: InputSource, number: dict[str, int]) -> Raw:
    made: Raw = {"id": f"input_{place}", "type": "dataset_field", "sourceId": "", "annotationType": "all"}
    made |= {"datasetFieldId": "", "label": source.label, "required": source.required}
    if source.kind == "block":
        return made | {"type": "aiano_block", "sourceId": str(number[source.ref])}
    if source.kind == "annotation":
        return made | {"type": "annotation", "annotationType": f"annotation_{source.ref}" if source.ref else "all"}
    return made | {"datasetFieldId": source.ref}
