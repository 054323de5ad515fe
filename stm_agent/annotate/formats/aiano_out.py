"""Export to AIANO: unchanged parts of an imported file are written as they were, the rest from the project."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stm_agent.annotate.formats.aiano import Item, Parsed, Raw, read
from stm_agent.annotate.formats.aiano_entries import (
    counted_dataset,
    counted_project,
    dataset_entry,
    project_documents,
    project_entry,
)
from stm_agent.annotate.formats.aiano_shell import dataset_shell, merged, project_shell
from stm_agent.annotate.schema import ProjectSchema

Writer = Callable[[Parsed, Item, Raw, Sequence[Raw], str], Raw]
"""Writes an entry again, as :func:`dataset_entry` does."""


def write_dataset(now: Parsed, *, moment: str) -> Raw:
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
    # Entries tell blocks and levels by name: a new name goes into every entry.
    named = _names(was.schema).items() <= _names(now.schema).items()
    entries = _entries(now, was, dataset_entry, _is_dataset, moment, keep=named)
    changed = _changed(shell, dataset_shell(was, moment), fresh, ("project", "statistics"))
    gone = len(entries) < int((shell.get("metadata") or {}).get("totalEntries") or 0)
    if changed == shell and entries == raws and not gone:
        return {**shell, "entries": entries}
    return counted_dataset(now, _dated(changed, now, moment), entries)


def write_project(now: Parsed, *, moment: str) -> Raw:
    """Return the ``.aiano`` file of a project; its documents and entries come along, as AIANO meant them to."""
    fresh = project_shell(now, moment)
    if "annotation_entries" not in now.shell:
        entries = [project_entry(now, item, {}, (), moment) for item in now.items]
        return counted_project(now, fresh, project_documents(now, ()), entries)
    came = now.shell.get("raw_documents") or []
    shell = {key: value for key, value in now.shell.items() if key != "raw_documents"}
    documents = project_documents(now, came)
    raws = [item.raw for item in now.items if _is_project(item)]
    was = read({**shell, "documents": came, "annotation_entries": raws})
    entries = _entries(now, was, project_entry, _is_project, moment)
    changed = _changed(shell, project_shell(was, moment), fresh, ("project", "aiano_blocks"))
    gone = len(entries) < int((shell["metadata"].get("dataCounts") or {}).get("annotationEntries") or 0)
    if changed == shell and entries == raws and documents == came and not gone:
        return {**shell, "documents": documents, "annotation_entries": entries}
    return counted_project(now, _dated(changed, now, moment), documents, entries)


def _entries(
    now: Parsed, was: Parsed, write: Writer, came: Callable[[Item], bool], moment: str, *, keep: bool = True
) -> list[Raw]:
    """Return a project's entries: as they came where nothing has changed, if they may be kept so, else written again.

    Args:
        now: The project as it is.
        was: The project as it was read from the file that came in.
        write: Writes one entry.
        came: Whether an entry came in a file of this kind.
        moment: When it is written.
        keep: False: all are written again.
    """
    before = {item.key: item for item in was.items}
    entries = []
    for item in now.items:
        old = before.get(item.key)
        if keep and old == item:
            entries.append(item.raw)
        else:
            entries.append(write(now, item, item.raw if came(item) else {}, old.unplaced if old else (), moment))
    return entries


def _is_dataset(item: Item) -> bool:
    return bool(item.raw) and not _is_project(item)


def _is_project(item: Item) -> bool:
    return "entry_data" in item.raw


def _names(schema: ProjectSchema) -> dict[str, str]:
    return {one.id: one.name for part in (schema.levels, schema.blocks, schema.fields) for one in part}


def _changed(shell: Raw, old: Raw, fresh: Raw, parts: tuple[str, ...]) -> Raw:
    """Return a file that came in with what was changed since in some of its parts."""
    return {**shell, **{part: merged(shell.get(part), old[part], fresh[part]) for part in parts}}


def _dated(shell: Raw, now: Parsed, moment: str) -> Raw:
    about = {**(shell.get("metadata") or {}), "exportDate": moment}
    return {**shell, "metadata": about | ({"projectName": now.name} if "projectName" in about else {})}
