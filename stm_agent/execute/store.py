"""The stage folders of a workspace, each named by its job's key.

Resume, caching and parallel runs are one mechanism: does that folder exist, and is it whole? A folder is written under
a temporary name and renamed when it is whole; each process verifies its manifest once before it uses the folder. A
folder that does not match its manifest is renamed and built again.
"""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from stm_agent.execute.manifest import folder_fault, write_manifest
from stm_agent.files import TEMPORARY, storing, whole_folder
from stm_agent.job import Job, checkpoints_in
from stm_agent.progress import safe_point

STALE_DAYS = 14
"""Days after which the checkpoints of a killed training are removed."""
POLL_SECONDS = 0.5
"""Seconds between two attempts to take the lock of a stage that another process builds."""
CHECKPOINTS, DAMAGED, LOCKS = ".checkpoints-", ".damaged-", ".locks"


@dataclass(frozen=True)
class JobStore:
    """One folder for each finished stage.

    Attributes:
        root: The folder that holds the stage folders.
    """

    root: Path
    _verified: set[Path] = field(default_factory=set, compare=False, repr=False)

    def folder(self, job: Job) -> Path:
        """Return the path of a job's folder, which may not exist yet."""
        return self.root / job.folder_name

    def find(self, job: Job) -> Path | None:
        """Return the folder of a finished job; None if it is not built, or damaged (see :meth:`set_aside`)."""
        folder = self.folder(job)
        return folder if folder.is_dir() and self.fault(job) is None else None

    def fault(self, job: Job) -> str | None:
        """Return what is wrong with a job's folder; None if it is whole or does not exist. Each folder is read once."""
        folder = self.folder(job)
        if folder in self._verified or not folder.is_dir():
            return None
        fault = folder_fault(folder, job.key())
        if fault is None:
            self._verified.add(folder)
        return fault

    def set_damaged_aside(self, job: Job) -> str | None:
        """Set a job's folder aside if it is damaged; return one line about it, None if there was nothing to do."""
        fault = self.fault(job)
        if fault is None:
            return None
        return f"stage {job.folder_name} is damaged ({fault}); set aside as {self.set_aside(job).name} and built again"

    def set_aside(self, job: Job) -> Path:
        """Rename a damaged folder so that the stage can be built again; return its new path."""
        aside = self.root / f"{DAMAGED}{job.folder_name}-{uuid.uuid4().hex[:8]}"
        with storing(aside):
            self.folder(job).rename(aside)
        return aside

    def build(self, job: Job) -> Path:
        """Build a job's folder and return it. The caller holds :meth:`locked`.

        Raises:
            StorageError: The disk is full or not writable.
        """
        folder, checkpoints = self.folder(job), self.checkpoints(job)
        started = time.monotonic()
        with whole_folder(folder) as partial:
            with checkpoints_in(checkpoints):
                job.build(partial)
            write_manifest(partial, job, seconds=time.monotonic() - started)
        self._verified.add(folder)
        shutil.rmtree(checkpoints, ignore_errors=True)
        return folder

    def checkpoints(self, job: Job) -> Path:
        """Return the folder of checkpoints from which a killed build resumes."""
        return self.root / f"{CHECKPOINTS}{job.folder_name}"

    @contextmanager
    def locked(self, job: Job) -> Iterator[None]:
        """Keep other processes from building the same job, so that no LLM call is paid twice; wait if one builds it.

        Raises:
            StopRequested: A stop was requested while waiting.
        """
        while (release := self.take_lock(job, POLL_SECONDS)) is None:
            safe_point()
        try:
            yield
        finally:
            release()

    def take_lock(self, job: Job, seconds: float = 0.0) -> Callable[[], None] | None:
        """Return what releases the lock of a job that this process may build now; None: another one builds it.

        Args:
            job: The job.
            seconds: How long to wait for the lock.
        """
        lock = self._lock(job.folder_name)
        try:
            lock.acquire(timeout=seconds)
        except Timeout:
            return None
        return lock.release

    def clean(self) -> int:
        """Remove half-built folders of killed processes and old checkpoints; return how many were removed."""
        removed = 0
        for leftover in [*self.root.glob(f"{TEMPORARY}*"), *self.root.glob(f"{CHECKPOINTS}*")]:
            partial = leftover.name.startswith(TEMPORARY)
            name = (
                leftover.name.removeprefix(TEMPORARY).rpartition("-")[0]
                if partial
                else leftover.name.removeprefix(CHECKPOINTS)
            )
            finished = (self.root / name).is_dir()
            if not partial and not finished and time.time() - leftover.stat().st_mtime < STALE_DAYS * 86400:
                continue
            # A living process may be building it.
            with suppress(Timeout), self._lock(name).acquire(timeout=0):
                shutil.rmtree(leftover, ignore_errors=True)
                removed += 1
        return removed

    def _lock(self, name: str) -> FileLock:
        # Lock files stay: if one were removed while others wait for it, two of them could hold the lock.
        folder = self.root / LOCKS
        with storing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / name)
