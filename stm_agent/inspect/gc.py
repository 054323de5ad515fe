"""Free the disk of a workspace: what no run needs, with its size, before anything is removed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from stm_agent.errors import RunError
from stm_agent.execute.store import CHECKPOINTS, DAMAGED, LOCKS
from stm_agent.files import TEMPORARY, read_jsonl, storing
from stm_agent.loop.prepare import CACHE, STAGES
from stm_agent.loop.runs import is_locked, known_runs

UNUSED, BROKEN, VECTORS, FINISHED = "unused stages", "broken and half-built stages", "vectors", "stages of runs"
KINDS = {
    UNUSED: "no run of the workspace names them; single commands such as 'stm-agent train' build theirs again",
    BROKEN: "damaged, or left by killed processes",
    VECTORS: "embeddings, encoded again when they are needed",
    FINISHED: "runs keep their models, reports and traces; 'merge pick', 'data' and a resumed run build them again",
}
"""What can be removed, and what it costs to have removed it."""


@dataclass(frozen=True)
class Garbage:
    """One kind of what can be removed.

    Attributes:
        kind: A key of :data:`KINDS`.
        paths: Folders.
        size: Their bytes.
    """

    kind: str
    paths: tuple[Path, ...]
    size: int


def find_garbage(runs: Path, *, vectors: bool = False, stages: bool = False) -> list[Garbage]:
    """Return what can be removed from a workspace's ``runs/``; answers of LLMs, which were paid for, never are.

    Args:
        runs: Folder of all runs.
        vectors: Whether cached vectors are removed.
        stages: Whether stages are removed that runs name.
    """
    named = set(_named_stages(runs))
    folders = [path for path in _folders(runs / STAGES) if path.name != LOCKS]
    broken = [path for path in folders if path.name.startswith((TEMPORARY, DAMAGED, CHECKPOINTS))]
    whole = [path for path in folders if path not in broken]
    kinds: dict[str, Sequence[Path]] = {
        UNUSED: [path for path in whole if path.name not in named],
        BROKEN: broken,
        VECTORS: _folders(runs / CACHE / "vectors", files=True) if vectors else [],
        FINISHED: [path for path in whole if path.name in named] if stages else [],
    }
    found = [Garbage(kind, tuple(paths), sum(_size(path) for path in paths)) for kind, paths in kinds.items()]
    return [garbage for garbage in found if garbage.paths]


def remove(garbage: Sequence[Garbage], runs: Path) -> int:
    """Remove what :func:`find_garbage` found; return the bytes that were freed.

    A stage that another process builds now is left alone.

    Raises:
        RunError: A run is being worked on: its stages are not in its ledger before they are built.
        StorageError: A folder cannot be removed.
    """
    running = [entry["id"] for entry in known_runs(runs) if is_locked(runs / entry["id"])]
    if running:
        raise RunError(f"run {running[0]} is running; wait for it, or stop it: stm-agent runs stop {running[0]}")
    freed = 0
    for path in (path for part in garbage for path in part.paths):
        with suppress(Timeout), FileLock(_lock(path, runs)).acquire(timeout=0), storing(path):
            size = _size(path)
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            freed += size
    return freed


def _lock(path: Path, runs: Path) -> Path:
    """Return the lock of the stage that a folder belongs to."""
    name = path.name
    for prefix in (TEMPORARY, DAMAGED):
        if name.startswith(prefix):
            name = name.removeprefix(prefix).rpartition("-")[0]
    return runs / STAGES / LOCKS / name.removeprefix(CHECKPOINTS)


def _named_stages(runs: Path) -> Iterator[str]:
    for entry in known_runs(runs):
        for line in read_jsonl(runs / entry["id"] / "ledger.jsonl"):
            if folder := line.get("folder"):
                yield folder
            if line.get("event") == "front":
                yield from (*line["experts"].values(), *line.get("documents", {}), line.get("queries_stand_on", ""))


def _folders(root: Path, *, files: bool = False) -> list[Path]:
    return sorted(path for path in root.iterdir() if files or path.is_dir()) if root.is_dir() else []


def _size(path: Path) -> int:
    """Return the bytes of a file, or of all files of a folder; what another process removes meanwhile counts 0."""
    paths = [path, *path.rglob("*")] if path.is_dir() else [path]
    total = 0
    for part in paths:
        with suppress(OSError):
            total += part.lstat().st_size if not part.is_dir() else 0
    return total


def in_words(size: int) -> str:
    """Return bytes in the unit that suits them: ``312 MB``."""
    units = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "KB")]
    for unit, name in units:
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} bytes"
