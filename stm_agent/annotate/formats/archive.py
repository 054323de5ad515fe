"""A whole project as one file: export, import and export again give the same bytes.

A zip of JSON lines, its names sorted and its times fixed; rows are named by their keys, people by their names.
"""

from __future__ import annotations

import io
import json
import lzma
import zipfile
import zlib
from collections.abc import Iterable, Mapping

from stm_agent.annotate.formats.unzip import check_size
from stm_agent.errors import DataError

SCHEMA = 1
PARTS = (
    "documents",
    "entries",
    "queries",
    "judgements",
    "adjudications",
    "rankings",
    "assignments",
    "document_assignments",
    "drafts",
    "llm_grades",
    "doubts",
    "changes",
)
LATER = frozenset({"document_assignments"})
"""Parts that an archive of an earlier version does not have."""
DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError, KeyError, ValueError)
"""What reading a zip ends with that is damaged, is none, or holds what cannot be read; deep nesting is among them."""
EPOCH = (1980, 1, 1, 0, 0, 0)


def pack(project: Mapping[str, object], parts: Mapping[str, Iterable[Mapping[str, object]]]) -> bytes:
    """Return the archive of a project and its rows by part."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, "project.json", _line({"archive": SCHEMA, **project}))
        for name in PARTS:
            _add(archive, f"{name}.jsonl", "".join(_line(row) for row in parts.get(name, ())))
    return buffer.getvalue()


def _line(row: Mapping[str, object]) -> str:
    return json.dumps(row, ensure_ascii=False, sort_keys=True, separators=(",", ":")) + "\n"


def _add(archive: zipfile.ZipFile, name: str, text: str) -> None:
    about = zipfile.ZipInfo(name, EPOCH)
    about.compress_type = zipfile.ZIP_DEFLATED
    about.external_attr = 0o644 << 16
    archive.writestr(about, text.encode())


Unpacked = tuple[dict[str, object], dict[str, list[dict[str, object]]]]
"""A project, and its rows by part."""


def unpack(data: bytes) -> Unpacked:
    """Return a project and its rows by part.

    Raises:
        DataError: It is not a project archive, is damaged, or of a newer version.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            check_size(archive, len(data), "the archive")
            project = json.loads(archive.read("project.json"))
            parts = {name: _read(archive, name) for name in PARTS}
        version = project.pop("archive")
        newer = version > SCHEMA
    except DataError:
        raise
    except (*DAMAGED, TypeError, AttributeError) as error:
        raise DataError(f"this is not a project archive, or it is damaged: {str(error)[:200]}") from error
    if newer:
        raise DataError("the archive was written by a newer version; upgrade stm-agent")
    return project, parts


def _read(archive: zipfile.ZipFile, part: str) -> list[dict[str, object]]:
    name = f"{part}.jsonl"
    if part in LATER and name not in archive.namelist():
        return []
    return [json.loads(line) for line in archive.read(name).decode().split("\n") if line]
