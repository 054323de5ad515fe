"""Work that takes a while, in the background of the server: drafts, grades, vectors and rankings of many things."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from typing_extensions import TypedDict

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.faults import NotFound, TooMany
from stm_agent.errors import StmAgentError

logger = logging.getLogger(__name__)
AT_ONCE = 4
"""Jobs that one person may run at a time."""
T = TypeVar("T")
Kind = Literal["drafts", "grades", "rankings", "encodings"]
Act = Callable[[T, Callable[[], bool]], Mapping[str, object] | None]
"""Is given a thing, and what says whether the job was stopped; what it returns is part of the result."""


def _one(_item: object) -> int:
    return 1


class JobView(TypedDict):
    """A job as JSON: as :class:`Job` has it, its ``state``, and whether the person who asks may stop it."""

    project: str
    owner: str
    kind: Kind
    what: str
    total: int
    skipped: int
    key: str
    done: int
    failed: int
    failures: list[str]
    stopped: bool
    ended: bool
    result: dict[str, object]
    state: str
    stoppable: bool


@dataclass
class Job:
    """One list of things to do, one after another.

    Attributes:
        project: Key of its project.
        owner: Name of who began it.
        kind: What it makes.
        what: For people.
        total: Things to do, as many as were counted when it began.
        skipped: Things left out, since they were done before.
        done: Things done, failed ones included.
        failures: What went wrong, the first ones.
        stopped: Whether somebody stopped it.
        ended: Whether no part of it runs any more.
        result: Its result, as plain JSON.
    """

    project: str
    owner: str
    kind: Kind
    what: str
    total: int
    skipped: int = 0
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    done: int = 0
    failed: int = 0
    failures: list[str] = field(default_factory=list)
    stopped: bool = False
    ended: bool = False
    result: dict[str, object] = field(default_factory=dict)

    def told(self, actor: Actor) -> JobView:
        """Return it as JSON, with whether somebody may stop it; what it made is not for others to see."""
        mine = self.may_stop(actor)
        return {
            "project": self.project,
            "owner": self.owner,
            "kind": self.kind,
            "what": self.what,
            "total": self.total,
            "skipped": self.skipped,
            "key": self.key,
            "done": self.done,
            "failed": self.failed,
            "failures": self.failures if mine else [],
            "stopped": self.stopped,
            "ended": self.ended,
            "result": self.result if mine else {},
            "state": self.state,
            "stoppable": mine,
        }

    def may_stop(self, actor: Actor) -> bool:
        """Return whether it is somebody's to stop: its owner's, or an administrator's."""
        return actor.name == self.owner or actor.role == "admin"

    @property
    def shared(self) -> bool:
        """Whether it does the same whoever began it."""
        return self.kind in ("grades", "rankings")

    @property
    def state(self) -> str:
        """``running``, ``stopped`` before its end, or ``finished``."""
        if self.stopped and self.done < self.total:
            return "stopped"
        return "finished" if self.ended else "running"

    def do(self, items: Iterable[T], act: Act[T], size: Callable[[T], int]) -> None:
        """Do one thing after another until it is stopped; a failure is noted, and the next one is tried."""
        with self._noting():
            for item in items:
                if self.stopped:
                    break
                with self._noting():
                    self.result = {**self.result, **(act(item, lambda: self.stopped) or {})}
                self.done += size(item)
            else:
                # Some may have gone since they were counted.
                self.total = self.done
        self.ended = True

    @contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except StmAgentError as error:
            self._failed(str(error))
        except Exception:
            # A fault of ours must not leave a job that runs for ever.
            logger.exception("job %s", self.what)
            self._failed("an internal error; the server's log has it")

    def _failed(self, reason: str) -> None:
        self.failed += 1
        self.failures = [*self.failures, reason][:5]


class Jobs:
    """All jobs since the server started; what they made is in the database."""

    def __init__(self) -> None:
        """Begin with none."""
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()

    def start(
        self,
        job: Job,
        items: Iterable[T],
        act: Act[T],
        size: Callable[[T], int] = _one,
    ) -> Job:
        """Do ``act`` with each item in a thread of the job's own; a failure is noted, and the next one is tried.

        Args:
            job: The job to report on.
            items: The things to do; they may be looked for on the way.
            act: What is done with each.
            size: For how many of the job's total an item counts.

        Raises:
            TooMany: Its owner has as many jobs as one person may, or the same one; or somebody has one that does the
                same for all.
        """
        with self._lock:
            # One that was stopped may still be at its last piece.
            going = [one for one in self._jobs.values() if not one.ended]
            mine = [one for one in going if one.owner == job.owner]
            if any((one.project, one.what) == (job.project, job.what) for one in (going if job.shared else mine)):
                raise TooMany(f"{job.what} is already running; wait until it ends, or stop it")
            if len(mine) >= AT_ONCE:
                raise TooMany(f"{AT_ONCE} of your jobs are running; wait until one ends, or stop it")
            self._jobs[job.key] = job

        threading.Thread(target=job.do, args=(items, act, size), name=f"job {job.key[:8]}", daemon=True).start()
        return job

    def running(self, project: str) -> list[Job]:
        """Return the running jobs of a project, the newest last."""
        return [job for job in list(self._jobs.values()) if job.project == project and job.state == "running"]

    def get(self, project: str, key: str) -> Job:
        """Return a job.

        Raises:
            NotFound: There is none in this project.
        """
        job = self._jobs.get(key)
        if job is None or job.project != project:
            raise NotFound(f"there is no job '{key}'; jobs end with the server")
        return job
