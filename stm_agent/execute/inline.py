"""Run jobs one after another in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from stm_agent.execute.store import JobStore
from stm_agent.job import Job
from stm_agent.progress import safe_point


class Executor(Protocol):
    """Runs jobs. Nothing else starts a stage."""

    def run(self, jobs: Sequence[Job]) -> list[Path]:
        """Return the folder of each job, in order; build those that are not built yet.

        Raises:
            StopRequested: A stop was requested; finished folders stay.
            StmAgentError: A job failed.
        """
        ...

    def expect(self, jobs: Iterable[Job]) -> None:
        """Take note of jobs that will be asked for soon; whoever has room may start them now. Raises nothing."""
        ...

    def close(self) -> None:
        """End what was started and not asked for."""
        ...


def ignore(text: str) -> None:
    """Ignore a warning."""


@dataclass(frozen=True)
class InlineExecutor:
    """Builds jobs in this process.

    Attributes:
        store: Store of their folders.
        warn: Receives one line about each damaged folder that is built again.
    """

    store: JobStore
    warn: Callable[[str], None] = ignore

    def run(self, jobs: Sequence[Job]) -> list[Path]:
        """Return the folder of each job, in order; build those that are not built yet."""
        return [self._run_job(job) for job in jobs]

    def expect(self, jobs: Iterable[Job]) -> None:
        """Do nothing: there is room for one job, and it is built when it is asked for."""

    def close(self) -> None:
        """Do nothing: nothing is under way."""

    def _run_job(self, job: Job) -> Path:
        safe_point()
        if folder := self.store.find(job):
            return folder
        with self.store.locked(job):
            # Another process may have built it while this one waited.
            if damage := self.store.set_damaged_aside(job):
                self.warn(damage)
            return self.store.find(job) or self.store.build(job)
