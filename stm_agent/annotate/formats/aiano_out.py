"""The way back to AIANO: what came from it goes out as it was, where nobody changed it; the rest is written anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stm_agent.annotate.formats.aiano import BACK, Item, Parsed, points_to_units, read
from stm_agent.annotate.schema import Block, ProjectSchema

VERSION = "1.0.0"
WIRE = {"text": "extraction", "textarea": "extraction", "multiselect": "qa"}
"""AIANO's block types as its API names them; all others are ``boolean`` there."""


def write_dataset(now: Parsed, *, moment: str) -> dict[str, Any]:
    """Return the dataset JSON of a project.

    Args:
        now: The project as it is; ``shell`` is what an earlier file had, or empty.
        moment: ISO time of the export, for a project that was never AIANO's.
    """
    shell = now.shell if "entries" in now.shell else _dataset_shell(now, moment)
    before = {item.key: item for item in read({**shell, "entries": _raws(now.items)}).items} if now.items else {}
    entries = [
        item.raw if item.raw and before.get(item.key) == item else _dataset_entry(now, item, moment)
        for item in now.items
    ]
    out = {**shell, "entries": entries}
    if entries != _raws(now.items):
        marks = sum(len(item.marks) for item in now.items)
        counts = {"totalEntries": len(entries), "totalDocuments": len(now.documents), "totalHighlights": marks}
        out["metadata"] = {**shell["metadata"], "exportDate": moment, "totalEntries": len(entries)}
        out["summary"] = {**shell["summary"], **counts, "totalAianoBlocks": len(now.schema.blocks)}
    return out


def _raws(items: Sequence[Item]) -> list[dict[str, Any]]:
    return [item.raw for item in items if item.raw]


def _dataset_shell(now: Parsed, moment: str) -> dict[str, Any]:
    levels = [
        {"id": one.id, "name": one.name, "color": one.colour, "description": one.help, "score": one.score}
        for one in now.schema.levels
    ]
    fields = [
        {
            "id": one.id,
            "name": one.name,
            "type": one.type,
            "required": one.required,
            "showForAnnotator": one.metadata,
            "includeInFinalDataset": one.output,
            "canBeInput": one.ai_input,
            "isDocument": one.content,
        }
        for one in now.schema.fields
    ]
    blocks = [_block(number, block) for number, block in enumerate(now.schema.blocks, 1)]
    config = {"tags": list(now.tags), "annotationLevels": levels, "aianoBlocks": blocks, "dataset": {"fields": fields}}
    about = {
        "exportDate": moment,
        "version": VERSION,
        "format": "structured-annotation-dataset",
        "exportedBy": "stm-agent annotate",
        "projectId": "1",
        "projectName": now.name,
        "totalEntries": len(now.items),
        "totalDocuments": len(now.documents),
    }
    counts = {
        "totalAnnotationLevels": len(levels),
        "totalAianoBlocks": len(blocks),
        "totalTags": len(now.tags),
        "totalDatasetFields": len(fields),
        "totalOutputFields": sum(field.output for field in now.schema.fields),
    }
    project = {"id": "1", "name": now.name, "description": now.description, "createdAt": moment, "updatedAt": moment}
    marks = sum(len(item.marks) for item in now.items)
    summary = {"totalEntries": len(now.items), "totalDocuments": len(now.documents), "totalHighlights": marks}
    return {
        "metadata": about,
        "project": {**project, "config": config},
        "statistics": counts,
        "entries": [],
        "summary": {**summary, "totalAianoBlocks": len(blocks)},
    }


def _number(block: Block, fallback: int) -> int:
    return int(block.id[1:]) if block.id[1:].isdigit() else fallback


def _block(number: int, block: Block) -> dict[str, Any]:
    ai = {"temperature": block.temperature, "maxTokens": block.max_tokens, "inputSources": []}
    prompt = {"soloSystemPrompt" if block.mode == "solo" else "systemPrompt": block.prompt}
    return {
        "id": _number(block, number),
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
        "aiConfig": {**ai, **prompt},
        "defaultValue": "",
    }


def _text(documents: Mapping[str, Mapping[str, Any]], key: str) -> str:
    return str(documents.get(key, {}).get("text", ""))


def _dataset_entry(now: Parsed, item: Item, moment: str) -> dict[str, Any]:
    levels = {level.id: level for level in now.schema.levels}
    names = {block.id: block.name for block in now.schema.blocks}
    used = dict.fromkeys(mark.document for mark in item.marks)
    kept = {key: {"id": key, **_output(now.schema, now.documents.get(key, {}))} for key in used}
    highlights = []
    for mark in item.marks:
        text = _text(now.documents, mark.document)
        level = levels.get(mark.level)
        highlights.append(
            {
                "id": mark.key,
                "text": text[mark.start : mark.end],
                "start": points_to_units(text, mark.start),
                "end": points_to_units(text, mark.end),
                "documentId": mark.document,
                "annotationLevel": level.name if level else mark.level,
                "annotationLevelId": level.score if level else 0,
                "document": kept[mark.document],
            }
        )
    fresh = {"id": item.key, "createdAt": moment, "updatedAt": None, "projectId": 1}
    return {
        **(item.raw or fresh),
        "entryName": item.name,
        "entryNotes": item.notes,
        "aianoBlocks": {names[key]: value for key, value in item.values.items() if key in names},
        "highlights": highlights,
        "documents": list(kept.values()),
        "metadata": {
            **item.raw.get("metadata", {}),
            "total_annotations": len(highlights),
            "totalHighlights": len(highlights),
            "totalAianoBlocks": len(item.values),
            "totalDocuments": len(kept),
            "documentIds": list(kept),
        },
    }


def _output(schema: ProjectSchema, fields: Mapping[str, Any]) -> dict[str, Any]:
    hidden = {field.name for field in schema.fields if not field.output}
    return {name: value for name, value in fields.items() if name not in hidden}


def write_project(now: Parsed, *, moment: str) -> dict[str, Any]:
    """Return the ``.aiano`` file of a project; its documents and entries come along, as AIANO meant them to."""
    shell = now.shell if "annotation_entries" in now.shell else _project_shell(now, moment)
    documents = shell.get("raw_documents") or [{"document_id": key, **fields} for key, fields in now.documents.items()]
    shell = {key: value for key, value in shell.items() if key != "raw_documents"}
    before = {}
    if now.items:
        rows = {**shell, "documents": documents, "annotation_entries": _raws(now.items)}
        before = {item.key: item for item in read(rows).items}
    entries = [
        item.raw if item.raw and before.get(item.key) == item else _project_entry(now, item, moment)
        for item in now.items
    ]
    return {**shell, "documents": documents, "annotation_entries": entries}


def _project_shell(now: Parsed, moment: str) -> dict[str, Any]:
    dataset = _dataset_shell(now, moment)
    config = dataset["project"]["config"]
    project = {
        **{key: value for key, value in dataset["project"].items() if key != "config"},
        "dataset": {"name": now.name, "description": "", "titleField": "title", **config["dataset"]},
        "tags": [{"id": f"tag_{number}", "name": tag, "color": "#3b82f6"} for number, tag in enumerate(now.tags, 1)],
        "annotationLevels": config["annotationLevels"],
        "aianoBlocks": config["aianoBlocks"],
    }
    rows = [
        {
            "id": one["id"],
            "project_id": 1,
            "user_id": 1,
            "block_type": {"text": "extraction", "textarea": "extraction", "multiselect": "qa"}.get(
                one["type"], "boolean"
            ),
            "title": one["name"],
            "description": one["description"],
            "input_sources": {},
            "block_config": {
                key: one[key] for key in ("aiEnabled", "soloMode", "aiConfig", "required", "options", "booleanChoice")
            },
            "block_value": "",
            "is_generated": False,
            "created_at": moment,
            "updated_at": None,
        }
        for one in config["aianoBlocks"]
    ]
    counts = {"documents": len(now.documents), "aianoBlocks": len(rows), "annotationEntries": len(now.items)}
    about = {"exportDate": moment, "version": VERSION, "format": "aiano", "exportedBy": "stm-agent annotate"}
    return {
        "project": project,
        "documents": [],
        "aiano_blocks": rows,
        "annotation_entries": [],
        "highlights": [],
        "qa_pairs": [],
        "session": None,
        "metadata": {**about, "dataCounts": {**counts, "highlights": 0, "qaPairs": 0}},
    }


def _project_entry(now: Parsed, item: Item, moment: str) -> dict[str, Any]:
    highlights = []
    for mark in item.marks:
        text = _text(now.documents, mark.document)
        start, end = points_to_units(text, mark.start), points_to_units(text, mark.end)
        told = {"id": mark.key, "text": text[mark.start : mark.end], "start": start, "end": end}
        highlights.append({**told, "annotationLevelId": mark.level, "documentId": mark.document})
    cells = {}
    for number, block in enumerate(now.schema.blocks, 1):
        kind = BACK.get(block.type, block.type)
        cell = {"name": block.name, "label": block.name, "type": kind, "value": item.values.get(block.id, "")}
        cells[str(_number(block, number))] = {**cell, "required": block.required}
    fresh = {
        "id": item.key,
        "user_id": 1,
        "project_id": 1,
        "document_id": None,
        "created_at": moment,
        "updated_at": None,
    }
    about = {"timestamp": moment, "total_annotations": len(highlights), "project_id": "1"}
    kept = (item.raw.get("entry_data") or {}).get("metadata") or about
    return {
        **(item.raw or fresh),
        "entry_name": item.name,
        "entry_notes": item.notes,
        "entry_data": {"highlights": highlights, "aiano_blocks": cells, "metadata": kept},
    }
