"""What a Ray worker does with a job: check the node, fetch what the job reads, build it, leave the result."""

from __future__ import annotations

import os
import pickle
import platform
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import stm_agent
from stm_agent.errors import ExecutionError, StmAgentError, StorageError
from stm_agent.execute.artefacts import ArtefactStore
from stm_agent.execute.shared import SharedJobStore
from stm_agent.execute.store import JobStore
from stm_agent.execute.travel import PackedJob, difference, unpack
from stm_agent.files import storing
from stm_agent.job import Job, numeric_versions

SCRATCH = "STM_AGENT_SCRATCH"
"""Environment variable of a node: where its workers keep stages and vectors that they fetched or built."""
MARK = ".shared"
"""File beside the stages whose content shows a node that it sees the same folder as the run."""


DONE, REFUSED, UNFIT, FAILED = "done", "refused", "unfit", "failed"
"""Answers of a worker: built; the node cannot be used; it cannot be used for this job; the job raised an error."""


class NodeFault(ExecutionError):
    """Raised when a node cannot be used."""


class NodeUnfit(NodeFault):
    """Raised when a node cannot do one job."""


@dataclass(frozen=True, kw_only=True)
class Errand:
    """A job for a worker.

    Attributes:
        name: Name of the job's folder.
        packed: The job.
        cores: Threads it may use.
        versions: What the node must have.
        stages: The run's folder of stages.
        mark: What :data:`MARK` must hold, if workers work in that folder.
        artefacts: Where inputs are and the result goes; None: in the run's folder of stages, which all nodes see.
    """

    name: str
    packed: PackedJob
    cores: int
    versions: Mapping[str, str]
    stages: Path
    mark: str
    artefacts: ArtefactStore | None


def versions_here() -> dict[str, str]:
    """Return what must be the same on every node: Python, stm-agent, and the libraries that change numbers."""
    return {"python": platform.python_version(), "stm-agent": stm_agent.__version__, **numeric_versions()}


def differing_versions(here: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    """Return the versions that differ, both named; empty: none. Python may differ in its last number."""
    rows = []
    for name in sorted({*here, *wanted}):
        has, wants = here.get(name, "none"), wanted.get(name, "none")
        if name == "python" and has.split(".")[:2] == wants.split(".")[:2]:
            continue
        if has != wants:
            rows.append(f"{name} {has} instead of {wants}")
    return ", ".join(rows)


def answer(content: bytes) -> tuple[str, object]:
    """Build a pickled errand; return what came of it as plain values, which any process can read.

    Returns:
        ``done`` with the seconds, ``refused`` or ``unfit`` with a reason, or ``failed`` with the pickled error.
    """
    try:
        return DONE, build_errand(pickle.loads(content))  # noqa: S301 - from the process of the run
    except NodeUnfit as error:
        return UNFIT, str(error)
    except NodeFault as error:
        return REFUSED, str(error)
    except Exception as error:
        # Whatever a job raises is raised again in the process of the run, as if it had been built there.
        return FAILED, _pickled(error)


def _pickled(error: Exception) -> bytes:
    error.add_note(f"on node {socket.gethostname()}")
    if not isinstance(error, StmAgentError):
        error.add_note("".join(traceback.format_exception(error))[-4000:])
    error.__cause__ = error.__context__ = None
    try:
        content = pickle.dumps(error)
        pickle.loads(content)  # noqa: S301 - our own
    except Exception:
        # An exception of a library whose constructor takes something else than its message.
        return pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
    return content


def build_errand(errand: Errand) -> float:
    """Build a job on this node; return the seconds it took.

    Raises:
        NodeFault: This node has other versions.
        NodeUnfit: This node cannot do it, another one may: a lost shared folder or store, a full disk, a missing model.
        StmAgentError: The job failed.
    """
    began = time.monotonic()
    if differing := differing_versions(versions_here(), errand.versions):
        raise NodeFault(f"it has {differing}; install the versions of the run there")
    _use_threads(errand.cores)
    try:
        store = _store(errand)
        job = _received(errand, store)
        _build(store, job)
    except StorageError as error:
        raise NodeUnfit(str(error)) from error
    return time.monotonic() - began


def _use_threads(count: int) -> None:
    """Compute with as many threads as there are cores for the job, so that jobs on one node do not share them."""
    os.environ["OMP_NUM_THREADS"] = str(count)
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(count)


def _received(errand: Errand, store: JobStore) -> Job:
    """Return the job with its inputs at hand, if it would give here what it gives in the run."""
    try:
        job = unpack(errand.packed, store.root)
        if isinstance(store, SharedJobStore):
            for name in errand.packed.stages:
                store.need(name)
        changed = difference(errand.packed, job, store.root)
    except StorageError:
        raise
    except StmAgentError as error:
        # Inputs are computed before anything is built: a model that is not here, a store that cannot be reached.
        raise NodeUnfit(str(error)) from error
    if changed:
        raise NodeUnfit(f"{errand.name} would be another result there ({changed})")
    return job


def _build(store: JobStore, job: Job) -> None:
    """Build a job unless a worker before this one did; the process of the run holds its lock."""
    if store.fault(job):
        store.set_aside(job)
    folder = store.find(job) or store.build(job)
    if isinstance(store, SharedJobStore):
        # Without it the run has no result: here a failed upload is an error.
        try:
            store.artefacts.upload(folder)
        except ExecutionError as error:
            raise NodeUnfit(str(error)) from error


def _store(errand: Errand) -> JobStore:
    if errand.artefacts is None:
        try:
            mark = (errand.stages / MARK).read_text(encoding="utf-8")
        except OSError:
            mark = ""
        if mark != errand.mark:
            raise NodeFault(f"it does not see {errand.stages} of the run; mount that folder there, or use --artefacts")
        return JobStore(errand.stages)
    root = scratch() / errand.artefacts.identity / errand.stages.name
    with storing(root):
        root.mkdir(parents=True, exist_ok=True)
    return SharedJobStore(root, artefacts=errand.artefacts)


def scratch() -> Path:
    """Return where this node's workers keep what they fetched and built."""
    given = os.environ.get(SCRATCH)
    return Path(given) if given else Path(tempfile.gettempdir()) / f"stm-agent-{os.getuid()}"
