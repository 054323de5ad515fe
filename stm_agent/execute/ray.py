"""Run jobs side by side on the nodes of a Ray cluster.

The process of the run decides, keeps the locks of the jobs it sent, and has every result on its own disk before it
uses it; a worker has nothing that cannot be made again. Ray repeats a job whose worker or node is lost, and never one
that raised: that is the lever's failure, as inline. Jobs that ask an LLM stay in the process of the run.
"""

from __future__ import annotations

import contextlib
import pickle
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stm_agent.errors import ExecutionError, StopRequested
from stm_agent.execute.cluster import NODE_ID_LABEL, Node, Resources, alive_nodes, fits
from stm_agent.execute.inline import InlineExecutor, ignore
from stm_agent.execute.ray_task import RETRIES, Answer, entry, read_answer, read_error
from stm_agent.execute.shared import SharedJobStore
from stm_agent.execute.store import POLL_SECONDS, JobStore
from stm_agent.execute.travel import pack
from stm_agent.execute.worker import DONE, MARK, REFUSED, UNFIT, Errand, versions_here
from stm_agent.files import remove_partial, write_atomic
from stm_agent.job import Job
from stm_agent.progress import safe_point

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray._private.worker import RemoteFunction0

NODE_SECONDS = 60.0
"""How long a job waits for a node that is large enough, such as one that is being replaced."""
ARRIVAL_SECONDS = 30.0
"""How long a folder that all nodes share may take to show what another node wrote."""
CANCEL_SECONDS = 10.0
"""How long workers have to leave a job that was cancelled."""


@dataclass
class _Sent:
    """A job on the cluster.

    Attributes:
        job: The job.
        content: The pickled errand.
        ref: Ray's reference to the answer.
        release: Releases the job's lock.
        unfit: Node id -> why that node cannot do this job.
        room_seen: When a node was last seen that could do it, by the monotonic clock.
    """

    job: Job
    content: bytes
    ref: ObjectRef[Answer]
    release: Callable[[], None]
    unfit: dict[str, str]
    room_seen: float


class RayExecutor:
    """Builds jobs on the cluster that this process is connected to (see ``stm_agent.execute.cluster.connect``)."""

    def __init__(
        self,
        store: JobStore,
        *,
        resources: Callable[[str], Resources],
        warn: Callable[[str], None] = ignore,
        node_seconds: float = NODE_SECONDS,
    ) -> None:
        """Send nothing yet.

        Args:
            store: Store of this process; a plain one must lie in a folder that all nodes see under the same path.
            resources: Returns what a job of a kind needs.
            warn: Receives one line about each node that is not used, and each damaged folder.
            node_seconds: How long a job waits for a node that is large enough.
        """
        self._store, self._resources, self._warn, self._node_seconds = store, resources, warn, node_seconds
        self._inline = InlineExecutor(store, warn)
        self._sent: dict[str, _Sent] = {}
        self._refused: dict[str, str] = {}
        self._warned: set[str] = set()
        self._entries: dict[bool, RemoteFunction0[Answer, bytes]] = {}
        self._mark = _mark(store.root)

    def expect(self, jobs: Iterable[Job]) -> None:
        """Start jobs that will be asked for soon."""
        # Whatever is wrong is raised again when the job is asked for, where the loop expects it.
        with contextlib.suppress(Exception):
            for job in jobs:
                self._start(job)

    def run(self, jobs: Sequence[Job]) -> list[Path]:
        """Return the folder of each job, in order; jobs that are not built yet are built side by side.

        Raises:
            StopRequested: A stop was requested; what was sent is cancelled, finished folders stay.
            ExecutionError: No node can do a job, or its workers were lost too often.
            StmAgentError: A job failed; others that were sent continue.
        """
        try:
            self.expect(jobs)
            return [self._result(job) for job in jobs]
        except (StopRequested, KeyboardInterrupt):
            self.close()
            raise

    def close(self) -> None:
        """Cancel what was sent and not asked for yet."""
        import ray

        sent, self._sent = list(self._sent.values()), {}
        refs = [task.ref for task in sent]
        for ref in refs:
            ray.cancel(ref)
        left = ray.wait(refs, num_returns=len(refs), timeout=CANCEL_SECONDS)[1] if refs else []
        for ref in left:
            # A library that swallows the interrupt; its half-built folder has a temporary name.
            ray.cancel(ref, force=True)
        for task in sent:
            self._release(task)

    def _start(self, job: Job) -> None:
        """Send a job unless it is built, sent, or being built by another process."""
        name = job.folder_name
        if name in self._sent or job.asks_llm or self._store.find(job) is not None:
            return
        release = self._store.take_lock(job)
        if release is None:
            return
        with contextlib.ExitStack() as held:
            held.callback(release)
            if damage := self._store.set_damaged_aside(job):
                self._warn(damage)
            if self._store.find(job) is not None:
                return
            content, unfit = self._errand(job), dict[str, str]()
            self._sent[name] = _Sent(job, content, self._submit(job, content, unfit), release, unfit, time.monotonic())
            # The lock is the sent job's now.
            held.pop_all()

    def _errand(self, job: Job) -> bytes:
        packed = pack(job, self._store.root)
        artefacts = None
        if isinstance(self._store, SharedJobStore):
            artefacts = self._store.artefacts
            for stage in packed.stages:
                self._store.offer(stage)
        errand = Errand(
            name=job.folder_name,
            packed=packed,
            cores=self._resources(job.kind).cores,
            versions=versions_here(),
            stages=self._store.root,
            mark=self._mark,
            artefacts=artefacts,
        )
        return pickle.dumps(errand)

    def _submit(self, job: Job, content: bytes, unfit: dict[str, str]) -> ObjectRef[Answer]:
        needs, excluded = self._resources(job.kind), sorted({*self._refused, *unfit})
        task = self._entry(gpu=needs.gpus > 0).options(
            name=job.folder_name,
            num_cpus=needs.cores,
            num_gpus=needs.gpus,
            memory=int(needs.memory_gib * 2**30) or None,
            max_retries=RETRIES,
            retry_exceptions=False,
            label_selector={NODE_ID_LABEL: f"!in({','.join(excluded)})"} if excluded else None,
        )
        ref: ObjectRef[Answer] = task.remote(content)
        return ref

    def _entry(self, *, gpu: bool) -> RemoteFunction0[Answer, bytes]:
        """Return the task; one that had a GPU ends its worker, which would keep the GPU's memory."""
        import ray

        if gpu not in self._entries:
            # 0: as many as it likes.
            self._entries[gpu] = ray.remote(max_calls=int(gpu))(entry())
        return self._entries[gpu]

    def _result(self, job: Job) -> Path:
        """Wait for a job and return its folder."""
        import ray

        while True:
            safe_point()
            sent = self._sent.get(job.folder_name)
            if sent is None:
                if job.asks_llm:
                    return self._inline.run([job])[0]
                if folder := self._store.find(job):
                    return folder
                self._start(job)
                if job.folder_name not in self._sent:
                    # Another process builds it.
                    time.sleep(POLL_SECONDS)
            elif ray.wait([sent.ref], timeout=POLL_SECONDS)[0]:
                if folder := self._collect(sent):
                    return folder
            else:
                self._require_room(sent)

    def _collect(self, sent: _Sent) -> Path | None:
        """Return the folder of a job that ended; None: it was sent to another node."""
        name = sent.job.folder_name
        with contextlib.ExitStack() as ended:
            ended.callback(self._forget, name)
            node, kind, value = read_answer(sent.ref, name)
            if kind in (REFUSED, UNFIT):
                self._exclude(sent, node, kind, str(value))
                sent.ref = self._submit(sent.job, sent.content, sent.unfit)
                # It has not ended.
                ended.pop_all()
                return None
            if kind != DONE:
                raise read_error(value)
            return self._arrived(sent.job)

    def _arrived(self, job: Job) -> Path:
        """Return the folder of a job that a node built; a shared folder may show it a little later."""
        deadline = time.monotonic() + ARRIVAL_SECONDS
        while (folder := self._store.find(job)) is None:
            if self._store.folder(job).is_dir() or time.monotonic() > deadline:
                raise ExecutionError(
                    f"{job.folder_name} was built on a node and did not arrive whole; run the same command again"
                )
            time.sleep(POLL_SECONDS)
        return folder

    def _forget(self, name: str) -> None:
        self._release(self._sent.pop(name))

    def _release(self, sent: _Sent) -> None:
        """Remove what a killed worker left half-built in the folder that all nodes share, and release the lock."""
        remove_partial(self._store.root, sent.job.folder_name)
        sent.release()

    def _exclude(self, sent: _Sent, node: str, kind: str, reason: str) -> None:
        """Do not use a node for a job, or for any; raise if none is left."""
        (sent.unfit if kind == UNFIT else self._refused)[node] = reason
        addresses = {alive.id: alive.address for alive in alive_nodes()}
        line = f"node {addresses.get(node, node[:8])} is not used for {sent.job.folder_name}: {reason}"
        if kind == REFUSED:
            line = f"node {addresses.get(node, node[:8])} is not used: {reason}"
        if line not in self._warned:
            self._warned.add(line)
            self._warn(line)
        needs = self._resources(sent.job.kind)
        if not any(fits(other, needs) for other in self._usable(sent)):
            raise ExecutionError(f"no node of the cluster can do {sent.job.folder_name}; the last one: {reason}")

    def _require_room(self, sent: _Sent) -> None:
        """Raise if no node has been large enough for a job for a while: Ray would wait for ever."""
        needs, nodes = self._resources(sent.job.kind), self._usable(sent)
        if any(fits(node, needs) for node in nodes):
            sent.room_seen = time.monotonic()
        elif time.monotonic() - sent.room_seen > self._node_seconds:
            self._forget_cancelled(sent)
            has = "; ".join(f"{node.address} has {node.summary}" for node in nodes) or "none is left"
            raise ExecutionError(
                f"no node is large enough for {sent.job.folder_name}, which needs {needs.summary} ({has}); "
                "add a node, or lower 'execution' in the domain file"
            )

    def _forget_cancelled(self, sent: _Sent) -> None:
        import ray

        ray.cancel(sent.ref)
        self._forget(sent.job.folder_name)

    def _usable(self, sent: _Sent) -> list[Node]:
        return [node for node in alive_nodes() if node.id not in {*self._refused, *sent.unfit}]


def _mark(stages: Path) -> str:
    """Return what the mark of a folder of stages holds; write one if there is none."""
    path = stages / MARK
    if not path.exists():
        write_atomic(path, uuid.uuid4().hex)
    return path.read_text(encoding="utf-8")
