"""Export to AIANO: unchanged parts of an imported file are written as they were, the rest from the project."""

from __future__ import annotations

from typing import Any

from stm_agent.annotate.formats.aiano import Item, Parsed, read
from stm_agent.annotate.formats.aiano_entries import (
    counted_dataset,
    counted_project,
    dataset_entry,
    project_documents,
    project_entry,
)
from stm_agent.annotate.formats.aiano_shell import dataset_shell, merged, project_shell
from stm_agent.annotate.schema import ProjectSchema

Row = dict[str, Any]


def write_dataset(now: Parsed, *, moment: str) -> Row:
    """Return the dataset JSON of a project.

    Args:
        now: The project as it is; ``shell`` is what an earlier file had, or empty.
        moment: ISO time of the export.
    """
    fresh = dataset_shell(now, moment)
    if "entries" not in now.shell:
        return counted_dataset(now, fresh, [dataset_entry(now, item, {}, (), moment) for item in now.items])
    shell = now.shell
    raws = [item.raw for item in now.items if _is_dataset(item)]
    was = read({**shell, "entries": raws})
    before = {item.key: item for item in was.items}
    # Entries tell blocks and levels by name: a new name goes into every entry.
    named = _names(was.schema).items() <= _names(now.schema).items()
    entries = []
    for item in now.items:
        old = before.get(item.key)
        if old is not None and named and old == item:
            entries.append(item.raw)
        else:
            raw = item.raw if _is_dataset(item) else {}
            entries.append(dataset_entry(now, item, raw, old.unplaced if old else (), moment))
    changed = _changed(shell, dataset_shell(was, moment), fresh, ("project", "statistics"))
    gone = len(entries) < int((shell.get("metadata") or {}).get("totalEntries") or 0)
    if changed == shell and entries == raws and not gone:
        return {**shell, "entries": entries}
    return counted_dataset(now, _dated(changed, now, moment), entries)


def write_project(now: Parsed, *, moment: str) -> Row:
    """Return the ``.aiano`` file of a project; its documents and entries come along, as AIANO meant them to."""
    fresh = project_shell(now, moment)
    if "annotation_entries" not in now.shell:
        entries = [project_entry(now, item, {}, (), moment) for item in now.items]
        return counted_project(now, fresh, project_documents(now, ()), entries)
    came = now.shell.get("raw_documents") or []
    shell = {key: value for key, value in now.shell.items() if key != "raw_documents"}
    documents = project_documents(now, came)
    raws = [item.raw for item in now.items if "entry_data" in item.raw]
    was = read({**shell, "documents": came, "annotation_entries": raws})
    before = {item.key: item for item in was.items}
    entries = []
    for item in now.items:
        old = before.get(item.key)
        if old == item:
            entries.append(item.raw)
        else:
            raw = item.raw if "entry_data" in item.raw else {}
            entries.append(project_entry(now, item, raw, old.unplaced if old else (), moment))
    changed = _changed(shell, project_shell(was, moment), fresh, ("project", "aiano_blocks"))
    gone = len(entries) < int((shell["metadata"].get("dataCounts") or {}).get("annotationEntries") or 0)
    if changed == shell and entries == raws and documents == came and not gone:
        return {**shell, "documents": documents, "annotation_entries": entries}
    return counted_project(now, _dated(changed, now, moment), documents, entries)


def _is_dataset(item: Item) -> bool:
    return bool(item.raw) and "entry_data" not in item.raw


def _names(schema: ProjectSchema) -> dict[str, str]:
    return {one.id: one.name for part in (schema.levels, schema.blocks, schema.fields) for one in part}


def _changed(shell: Row, old: Row, fresh: Row, parts: tuple[str, ...]) -> Row:
    """Return a file that came in with what was changed since in some of its parts."""
    return {**shell, **{part: merged(shell.get(part), old[part], fresh[part]) for part in parts}}


def _dated(shell: Row, now: Parsed, moment: str) -> Row:
    about = {**(shell.get("metadata") or {}), "exportDate": moment}
    return {**shell, "metadata": about | ({"projectName": now.name} if "projectName" in about else {})}
