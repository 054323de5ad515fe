"""Files that are never half-written, and names made of their content.

Everything the engine stores is written here: under a temporary name next to the target, followed by ``fsync`` and one
``rename``. A killed process leaves a temporary name, which the next one removes, and never a broken file under its
final name.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import os
import shutil
import stat
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stm_agent.errors import StmAgentError, StorageError

TEMPORARY = ".partial-"
FULL = os.strerror(errno.ENOSPC)


def canonical_json(value: object) -> str:
    """Return the canonical JSON text of ``value``: sorted keys, no spaces, UTF-8 characters as they are."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def sha256_text(text: str) -> str:
    """Return the hex SHA-256 of a text's UTF-8 bytes."""
    return hashlib.sha256(text.encode()).hexdigest()


def content_hash(value: object) -> str:
    """Return the hex SHA-256 of any JSON value, the same for equal values."""
    return sha256_text(canonical_json(value))


def sha256_file(path: Path) -> str:
    """Return the hex SHA-256 of a file's bytes.

    Raises:
        StorageError: The file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from error


def folder_hash(folder: Path) -> str:
    """Return a hash over the relative names and contents of all files in ``folder``."""
    names = sorted(path for path in folder.rglob("*") if path.is_file())
    return content_hash({path.relative_to(folder).as_posix(): sha256_file(path) for path in names})


@contextlib.contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn an ``OSError`` inside the block, or a library's own error for a full disk, into a :class:`StorageError`."""
    try:
        yield
    except StmAgentError:
        raise
    except Exception as error:
        # Broad, since safetensors and arrow wrap the system's error in types of their own.
        full = getattr(error, "errno", None) == errno.ENOSPC or FULL.lower() in str(error).lower()
        if not (full or isinstance(error, OSError)):
            raise
        reason = FULL if full else getattr(error, "strerror", None) or str(error)
        fix = "free some space and run the same command again" if full else "check the folder's rights"
        raise StorageError(f"cannot write {path}: {reason}; {fix}") from error


def sync(path: Path) -> None:
    """Force a file's or a folder's content to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a file so that a reader sees either the old content or the new, never a part of it.

    Raises:
        StorageError: The disk is full or the folder cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    partial = path.with_name(f"{TEMPORARY}{path.name}-{uuid.uuid4().hex[:8]}")
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            partial.replace(path)
            sync(path.parent)
        finally:
            partial.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as indented JSON, atomically."""
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False, sort_keys=False) + "\n")


def read_json(path: Path) -> Any:  # noqa: ANN401 - JSON has no narrower type
    """Read a JSON file.

    Raises:
        StorageError: The file is missing, unreadable or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise StorageError(f"{path} is not valid JSON: {error}") from error


def append_jsonl(path: Path, *records: Mapping[str, object]) -> None:
    """Append records to an append-only JSONL file and force them to disk.

    If a kill cut the last line short, that line is closed first, so that a new record has a line of its own.
    """
    lines = "".join(canonical_json(record) + "\n" for record in records).encode()
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as stream:
            if stream.seek(0, os.SEEK_END) > 0:
                stream.seek(-1, os.SEEK_END)
                if stream.read(1) != b"\n":
                    lines = b"\n" + lines
            stream.write(lines)
            stream.flush()
            os.fsync(stream.fileno())


def write_jsonl(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Write one JSON document a line, atomically."""
    write_atomic(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read an append-only JSONL file; a line that a kill cut short is skipped.

    Returns:
        The records in order; an empty list if the file does not exist.
    """
    if not path.exists():
        return []
    records: list[dict[str, Any]] = []
    # Only newlines end a row: str.splitlines would also cut a text at U+2028, U+2029 and U+0085.
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        with contextlib.suppress(ValueError):
            records.append(json.loads(line))
    return records


@contextlib.contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes ``target`` only when the block ends without an error.

    Every file in it gets the mode that the process's umask asks for: safetensors and ``tempfile`` write files
    that only their owner can read.

    Raises:
        StorageError: The disk is full or the parent cannot be written.
    """
    partial = target.with_name(f"{TEMPORARY}{target.name}-{uuid.uuid4().hex[:8]}")
    with storing(target):
        partial.mkdir(parents=True)
        try:
            yield partial
            _set_ordinary_modes(partial)
            for path in partial.rglob("*"):
                sync(path)
            if not target.exists():
                partial.rename(target)
                sync(target.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _set_ordinary_modes(folder: Path) -> None:
    """Give everything in a new folder the mode of an ordinary file or folder, whatever library wrote it."""
    # A folder just made by mkdir has the mode that the umask and the parent's ACL ask for. Reading the umask itself
    # needs two calls, between which another thread would write with the wrong one.
    mode = stat.S_IMODE(folder.stat().st_mode)
    for path in folder.rglob("*"):
        if not path.is_symlink():
            path.chmod(mode if path.is_dir() else mode & 0o666)


def remove_partial(folder: Path, name: str | None = None) -> int:
    """Remove what killed processes left in ``folder``, of all targets or of one; return the number removed."""
    pattern = f"{TEMPORARY}{glob.escape(name)}-*" if name else f"{TEMPORARY}*"
    leftovers: Sequence[Path] = list(folder.glob(pattern)) if folder.is_dir() else []
    for path in leftovers:
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    return len(leftovers)
