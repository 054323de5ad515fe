"""Cheap jobs that show where they ran and how often they were begun."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from stm_agent.errors import CheckFailed, StorageError
from stm_agent.files import read_json, write_atomic, write_json
from stm_agent.job import Job


@dataclass(frozen=True)
class NumberJob(Job):
    """Writes a number that follows from its own and from the results it reads, after some seconds.

    Attributes:
        number: Decides the result.
        log: Folder with a file for every time it was begun; None: none.
        seconds: How long it takes; decides no number.
        reads: Folders of other number jobs.
    """

    kind: ClassVar[str] = "number"
    number: int
    log: Path | None = None
    seconds: float = 0.0
    reads: tuple[Path, ...] = ()

    def inputs(self) -> Mapping[str, object]:
        """Return what decides the number."""
        return {"number": self.number, "reads": [path.name for path in self.reads]}

    def build(self, folder: Path) -> None:
        """Write ``number.json``: the number, and the process that wrote it."""
        if self.log is not None:
            write_atomic(self.log / f"{self.number}-{os.getpid()}-{time.monotonic_ns()}", "")
        end = time.monotonic() + self.seconds
        while time.monotonic() < end:
            # In short pieces, as real work comes back to Python, where it can be interrupted.
            time.sleep(0.02)
        total = self.number + sum(number_of(path) for path in self.reads)
        write_json(folder / "deep" / "number.json", {"number": total, "process": os.getpid()})


def number_of(folder: Path) -> int:
    """Return what a :class:`NumberJob` wrote."""
    return int(read_json(folder / "deep" / "number.json")["number"])


def process_of(folder: Path) -> int:
    """Return the process that built a :class:`NumberJob`."""
    return int(read_json(folder / "deep" / "number.json")["process"])


@dataclass(frozen=True)
class FailingJob(Job):
    """Raises an error of the named sort.

    Attributes:
        sort: ``check``, ``memory``, ``value`` or ``disk``.
    """

    kind: ClassVar[str] = "failing"
    sort: str

    def inputs(self) -> Mapping[str, object]:
        """Return the sort."""
        return {"sort": self.sort}

    def build(self, folder: Path) -> None:
        """Leave a half-written file, and raise."""
        write_atomic(folder / "half", "half")
        errors: dict[str, Exception] = {
            "check": CheckFailed("trial", 0.25, "this is a trial"),
            "memory": RuntimeError("CUDA error: out of memory"),
            "value": ValueError("a plain error"),
            "disk": StorageError("cannot write here: No space left on device"),
        }
        raise errors[self.sort]
