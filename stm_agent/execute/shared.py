"""A store of stage folders on this machine's disk, backed by a store of artefacts that other machines use too."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from stm_agent.errors import ExecutionError
from stm_agent.execute.artefacts import ArtefactStore
from stm_agent.execute.inline import ignore
from stm_agent.execute.leases import Leases
from stm_agent.execute.store import JobStore
from stm_agent.job import Job


@dataclass(frozen=True)
class SharedJobStore(JobStore):
    """Stage folders on disk; what is missing is fetched from the artefacts, and what is built is uploaded.

    Attributes:
        artefacts: Where other machines find and leave stages; always given.
        leases: Locks at the artefacts; None: the process that sent the job holds them.
        warn: Receives one line if a stage could not be uploaded.
    """

    artefacts: ArtefactStore = field(kw_only=True)
    leases: Leases | None = field(default=None, compare=False, repr=False, kw_only=True)
    warn: Callable[[str], None] = field(default=ignore, compare=False, repr=False, kw_only=True)

    def find(self, job: Job) -> Path | None:
        """Return the folder of a finished job, here or fetched from the artefacts; None if it is nowhere whole.

        Raises:
            ExecutionError: The artefacts cannot be reached.
        """
        if (folder := super().find(job)) is not None:
            return folder
        if self.folder(job).is_dir() or not self.artefacts.fetch(job.folder_name, self.folder(job)):
            # A damaged folder is set aside first.
            return None
        return super().find(job)

    def need(self, name: str) -> Path:
        """Return the folder of a stage that a job reads, fetched if it is not here.

        Raises:
            ExecutionError: It is nowhere.
        """
        folder = self.root / name
        if not folder.is_dir() and not self.artefacts.fetch(name, folder):
            raise ExecutionError(f"stage {name} is not in {self.artefacts.url}; run the same command again")
        return folder

    def offer(self, name: str) -> None:
        """Upload a stage of this machine that other machines will read, unless it is there already."""
        if (self.root / name).is_dir() and not self.artefacts.has(name):
            self.artefacts.upload(self.root / name)

    def build(self, job: Job) -> Path:
        """Build a job's folder and upload it; return it."""
        folder = super().build(job)
        try:
            self.artefacts.upload(folder)
        except ExecutionError as error:
            # It is whole on this disk, and is uploaded when another machine needs it.
            self.warn(f"stage {job.folder_name} is on this machine only: {error}")
        return folder

    def take_lock(self, job: Job, seconds: float = 0.0) -> Callable[[], None] | None:
        """Return what releases the locks of a job, here and at the artefacts; None: another process builds it."""
        release = super().take_lock(job, seconds)
        if release is None or self.leases is None:
            return release
        with ExitStack() as held:
            held.callback(release)
            if self.leases.take(job.folder_name):
                held.callback(self.leases.release, job.folder_name)
                # Both stay until whoever took them releases them; the lease, taken last, goes first.
                return held.pop_all().close
        time.sleep(seconds)
        return None
