"""The manifest of a stage folder: size and SHA-256 of every file, verified before the folder is used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

from stm_agent.errors import StorageError
from stm_agent.files import read_json, sha256_file, write_json
from stm_agent.job import Job, numeric_versions

NAME = "manifest.json"
SCHEMA = 1


class StoredFile(TypedDict):
    """A file as its manifest knows it."""

    size: int
    sha256: str


class Manifest(TypedDict):
    """What ``manifest.json`` of a stage folder holds."""

    schema: int
    kind: str
    key: str
    inputs: dict[str, object]
    versions: Mapping[str, str]
    seconds: float
    files: dict[str, StoredFile]


def write_manifest(folder: Path, job: Job, *, seconds: float) -> None:
    """Write ``manifest.json``: the job's inputs, library versions, and size and SHA-256 of every file."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != NAME)
    manifest: Manifest = {
        "schema": SCHEMA,
        "kind": job.kind,
        "key": job.key(),
        "inputs": dict(job.inputs()),
        "versions": numeric_versions(),
        "seconds": round(seconds, 3),
        "files": {
            path.relative_to(folder).as_posix(): {"size": path.stat().st_size, "sha256": sha256_file(path)}
            for path in files
        },
    }
    write_json(folder / NAME, manifest)


def read_manifest(folder: Path) -> Manifest:
    """Return a stage folder's manifest.

    Raises:
        StorageError: It is missing or not valid JSON.
    """
    manifest: Manifest = read_json(folder / NAME)
    return manifest


def folder_fault(folder: Path, key: str | None = None) -> str | None:
    """Return what is wrong with a stage folder, naming the file; None: it is whole.

    Args:
        folder: A stage folder.
        key: The key it must have; None accepts any.
    """
    try:
        manifest = read_manifest(folder)
    except StorageError as error:
        return str(error)
    files = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(files, dict) or not all(isinstance(entry, dict) for entry in files.values()):
        return f"{NAME} lists no files"
    if key is not None and manifest.get("key") != key:
        return f"{NAME} belongs to another stage"
    return _file_fault(folder, files)


def _file_fault(folder: Path, files: Mapping[str, StoredFile]) -> str | None:
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {NAME}
    if missing := sorted(set(files) - present):
        return f"{missing[0]} is missing"
    if extra := sorted(present - set(files)):
        return f"{extra[0]} is not in {NAME}"
    for name, entry in files.items():
        size = (folder / name).stat().st_size
        if size != entry.get("size"):
            return f"{name} has {size:,} bytes instead of {entry.get('size')}"
        if sha256_file(folder / name) != entry.get("sha256"):
            return f"{name} was changed"
    return None
