"""Work that takes a while, in the background of the server: drafts for many documents, grades for many queries."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from stm_agent.annotate.faults import NotFound
from stm_agent.errors import StmAgentError

logger = logging.getLogger(__name__)


@dataclass
class Job:
    """One list of things to do, one after another.

    Attributes:
        project: Key of its project.
        what: For people.
        total: Things to do.
        done: Things done, failed ones included.
        failures: What went wrong, the first ones.
        stopped: Whether somebody stopped it.
    """

    project: str
    what: str
    total: int
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    done: int = 0
    failed: int = 0
    failures: list[str] = field(default_factory=list)
    stopped: bool = False

    def told(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {**vars(self), "state": self.state}

    @property
    def state(self) -> str:
        """``running``, ``stopped`` before its end, or ``finished``."""
        if self.done >= self.total:
            return "finished"
        return "stopped" if self.stopped else "running"


class Jobs:
    """All jobs since the server started; what they made is in the database."""

    def __init__(self) -> None:
        """Begin with none."""
        self._jobs: dict[str, Job] = {}

    def start(self, project: str, what: str, items: Sequence[Any], act: Callable[[Any], None]) -> Job:
        """Do ``act`` with each item in a thread of its own; a failure is noted, and the next one is tried."""
        job = Job(project, what, len(items))
        self._jobs[job.key] = job

        def run() -> None:
            for item in items:
                if job.stopped:
                    return
                try:
                    act(item)
                except StmAgentError as error:
                    job.failed += 1
                    job.failures = [*job.failures, str(error)][:5]
                except Exception:
                    # A fault of ours must not leave a job that runs for ever.
                    logger.exception("job %s", what)
                    job.failed += 1
                    job.failures = [*job.failures, "an internal error; the server's log has it"][:5]
                job.done += 1

        threading.Thread(target=run, name=f"job {job.key[:8]}", daemon=True).start()
        return job

    def running(self, project: str) -> list[Job]:
        """Return the jobs of a project that go on, the newest last."""
        return [job for job in self._jobs.values() if job.project == project and job.state == "running"]

    def get(self, project: str, key: str) -> Job:
        """Return a job.

        Raises:
            NotFound: There is none in this project.
        """
        job = self._jobs.get(key)
        if job is None or job.project != project:
            raise NotFound(f"there is no job '{key}'; jobs end with the server")
        return job
