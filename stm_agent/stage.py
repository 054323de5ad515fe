"""A stage is a pure function: (config, hashes of its inputs) -> a folder named by the hash of both.

Resume, caching, several runs and a second machine are one mechanism: is that folder there? The
library versions that change numbers are part of the name, so an upgrade never meets old results.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from stm_agent.files import content_hash, read_json, remove_partial, whole_folder, write_json

SCHEMA = 1
STALE_DAYS = 14
"""Days after which the checkpoints of a killed training are given up."""
_NUMERIC = ("torch", "transformers", "sentence-transformers", "peft", "bm25s", "gepa", "dspy")


@cache
def numeric_versions() -> dict[str, str]:
    """Return the versions of the libraries that can change a result."""
    return {name: version(name) for name in _NUMERIC}


@dataclass(frozen=True)
class StageStore:
    """All stage folders of a workspace.

    Attributes:
        root: The folder that holds one folder per finished stage.
    """

    root: Path

    def clean(self) -> int:
        """Remove what killed processes left half-built, and checkpoints nobody came back to; return how many went."""
        return remove_partial(self.root) + _remove_kept(self.root)

    def place(self, name: str, config: Mapping[str, object], inputs: Mapping[str, str]) -> tuple[str, Path]:
        """Return a stage's key and the folder it has, or will have."""
        key = content_hash(
            {"schema": SCHEMA, "name": name, "config": config, "inputs": inputs, "versions": numeric_versions()}
        )
        return key, self.root / f"{name}-{key[:16]}"

    def run(
        self, name: str, config: Mapping[str, object], inputs: Mapping[str, str], build: Callable[[Path], object]
    ) -> Path:
        """Return the folder of a stage, building it first when it is not there.

        Args:
            name: The stage's verb, first part of the folder's name.
            config: Everything that decides the result beside the inputs (JSON values).
            inputs: Content hashes of the inputs, by name.
            build: Fills the temporary folder it is given; what it returns is not used.

        Raises:
            StorageError: The disk is full or not writable.
        """
        key, folder = self.place(name, config, inputs)
        if folder.is_dir():
            return folder
        started = time.monotonic()
        with whole_folder(folder) as partial:
            build(partial)
            record = {"schema": SCHEMA, "name": name, "key": key, "config": config, "inputs": inputs}
            seconds = round(time.monotonic() - started, 3)
            write_json(partial / "stage.json", {**record, "versions": numeric_versions(), "seconds": seconds})
        return folder


def stage_record(folder: Path) -> dict[str, Any]:
    """Return what is stored about a finished stage: key, config, inputs, versions and seconds."""
    record: dict[str, Any] = read_json(folder / "stage.json")
    return record


def _remove_kept(root: Path) -> int:
    """Remove checkpoints of trainings that are finished, or that no process has touched for :data:`STALE_DAYS`."""
    gone = 0
    for kept in root.glob(".kept-*"):
        if not kept.is_dir():
            continue
        finished = (root / kept.name.removeprefix(".kept-")).is_dir()
        if not finished and time.time() - kept.stat().st_mtime < STALE_DAYS * 86400:
            continue
        lock = FileLock(kept.with_name(f"{kept.name}.lock"), timeout=0)
        with suppress(Timeout), lock:
            shutil.rmtree(kept, ignore_errors=True)
            Path(lock.lock_file).unlink(missing_ok=True)
            gone += 1
    return gone


def kept_folder(folder: Path, key: str = "") -> Path:
    """Return where a killed build of ``folder`` leaves what it may go on from."""
    return folder.with_name(f".kept-{folder.name}{key and '-'}{key}")


@contextmanager
def kept_while_building(folder: Path, key: str = "") -> Iterator[Path | None]:
    """Yield a folder for what a killed build may go on from; it goes when ``folder`` is there.

    Args:
        folder: What is built.
        key: Hash of what decides the build, where the folder's name does not tell it.

    Yields:
        None where the stage is built already, or another process builds it now.
    """
    if folder.is_dir():
        yield None
        return
    kept = kept_folder(folder, key)
    lock = FileLock(kept.with_name(f"{kept.name}.lock"), timeout=0)
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        yield None
        return
    try:
        yield kept
        if folder.is_dir():
            shutil.rmtree(kept, ignore_errors=True)
    finally:
        if not kept.is_dir():
            # Before the release: afterwards it may be another process's.
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()
