"""AIANO's entries, documents and counts, written from what a project has now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stm_agent.annotate.formats.aiano import Item, Mark, Parsed, Raw, document_key, fields_of, points_to_units
from stm_agent.annotate.formats.aiano_shell import BACK, numbers
from stm_agent.annotate.schema import ProjectSchema


def _text(now: Parsed, mark: Mark) -> str:
    return str(now.documents.get(mark.document, {}).get(mark.field) or "")


def _highlight(now: Parsed, mark: Mark) -> Raw:
    text = _text(now, mark)
    place = {"start": points_to_units(text, mark.start), "end": points_to_units(text, mark.end)}
    told = {"id": mark.key, "text": text[mark.start : mark.end], **place, "documentId": mark.document}
    # AIANO knows one text of a document; what stands in another field says so.
    return told if mark.field == "text" else {**told, "field": mark.field}


def dataset_entry(now: Parsed, item: Item, raw: Raw, unplaced: Sequence[Raw], moment: str) -> Raw:
    """Return an entry of a dataset JSON.

    Args:
        now: The project.
        item: The entry.
        raw: How AIANO had it; empty: it was never there.
        unplaced: Highlights of ``raw`` that have no place in a text here; they stay.
        moment: When it is written.
    """
    levels = {level.id: level for level in now.schema.levels}
    names = {block.id: block.name for block in now.schema.blocks}
    used = dict.fromkeys(mark.document for mark in item.marks)
    kept = {key: {**_output(now.schema, now.documents.get(key, {})), "id": key} for key in used}
    highlights = []
    for mark in item.marks:
        level = levels.get(mark.level)
        grade = {
            "annotationLevel": level.name if level else mark.level,
            "annotationLevelId": level.score if level else 0,
        }
        highlights.append({**_highlight(now, mark), **grade, "document": kept[mark.document]})
    highlights += unplaced
    counts = {
        "total_annotations": len(highlights),
        "totalHighlights": len(highlights),
        "totalAianoBlocks": len(item.values),
        "totalDocuments": len(kept),
        "documentIds": list(kept),
    }
    return {
        **(raw or {"id": item.key, "createdAt": moment, "updatedAt": None, "projectId": 1}),
        "entryName": item.name,
        "entryNotes": item.notes,
        "aianoBlocks": {names[key]: value for key, value in item.values.items() if key in names},
        "highlights": highlights,
        "documents": list(kept.values()),
        "metadata": {**raw.get("metadata", {}), **counts},
    }


def _output(schema: ProjectSchema, fields: Mapping[str, object]) -> Raw:
    hidden = {field.name for field in schema.fields if not field.output}
    return {name: value for name, value in fields.items() if name not in hidden}


def project_entry(now: Parsed, item: Item, raw: Raw, unplaced: Sequence[Raw], moment: str) -> Raw:
    """Return an entry of an ``.aiano`` file; arguments as of :func:`dataset_entry`."""
    highlights = [{**_highlight(now, mark), "annotationLevelId": mark.level} for mark in item.marks]
    highlights += unplaced
    number = numbers(now.schema)
    cells = {}
    for block in now.schema.blocks:
        cell = {"name": block.name, "label": block.name, "type": BACK.get(block.type, block.type)}
        cells[str(number[block.id])] = {**cell, "value": item.values.get(block.id, ""), "required": block.required}
    fresh = {"id": item.key, "user_id": 1, "project_id": 1, "document_id": None, "created_at": moment}
    about = {"timestamp": moment, "total_annotations": len(highlights), "project_id": "1"}
    kept = (raw.get("entry_data") or {}).get("metadata") or about
    return {
        **(raw or {**fresh, "updated_at": None}),
        "entry_name": item.name,
        "entry_notes": item.notes,
        "entry_data": {"highlights": highlights, "aiano_blocks": cells, "metadata": kept},
    }


def project_documents(now: Parsed, came: Sequence[Raw]) -> list[Raw]:
    """Return the documents of an ``.aiano`` file: those that came as they came, then those that came later.

    One whose fields have changed is written again.
    """
    known = {document_key(row): row for row in came}
    kept = [
        row if fields_of(row) == now.documents[key] else _document(key, now.documents[key])
        for key, row in known.items()
        if key in now.documents
    ]
    return kept + [_document(key, fields) for key, fields in now.documents.items() if key not in known]


def _document(key: str, fields: Mapping[str, object]) -> Raw:
    # Its id is what it is known by here, whatever a field is called.
    return {**fields, "document_id": key}


def counted_dataset(now: Parsed, shell: Raw, entries: list[Raw]) -> Raw:
    """Return a dataset JSON with its entries and new counts."""
    counts = {"totalEntries": len(entries), "totalDocuments": len(now.documents)}
    marks = sum(len(entry.get("highlights", ())) for entry in entries)
    return {
        **shell,
        "entries": entries,
        "metadata": {**shell.get("metadata", {}), **counts},
        "summary": {
            **shell.get("summary", {}),
            **counts,
            "totalHighlights": marks,
            "totalAianoBlocks": len(now.schema.blocks),
        },
    }


def counted_project(now: Parsed, shell: Raw, documents: list[Raw], entries: list[Raw]) -> Raw:
    """Return an ``.aiano`` file with its documents and entries and new counts."""
    about = shell["metadata"]
    counts = {"documents": len(documents), "aianoBlocks": len(now.schema.blocks), "annotationEntries": len(entries)}
    told = {**about, "dataCounts": {**(about.get("dataCounts") or {}), **counts}}
    return {**shell, "documents": documents, "annotation_entries": entries, "metadata": told}
