"""Train one expert in several processes on behalf of the one process of a run.

``torch.distributed.run`` (what ``accelerate launch`` calls for several devices) starts them; they meet, train,
and the first one writes the stage's folder. They share a folder with the run's process: the job to do, the progress of
the first one, and what stopped them.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from stm_agent.errors import BackboneError, StmAgentError
from stm_agent.files import read_json, write_atomic
from stm_agent.job import Job
from stm_agent.progress import safe_point, show, stop_asked

ORDER, PROGRESS, FAULT, LOG = "order.pickle", "progress.json", "fault-{rank}.pickle", "log.txt"
POLL_SECONDS = 0.2
"""Seconds between two looks at the processes."""
GRACE_SECONDS = 30
"""Seconds that processes which are asked to end are given."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """What the processes are to do.

    Attributes:
        job: The training.
        folder: Where the first process writes.
        checkpoints: Folder of the checkpoints; None: none are written.
    """

    job: Job
    folder: Path
    checkpoints: Path | None


def launch(order: Order, count: int) -> None:
    """Build a training job in ``count`` processes.

    A stop ends them; the same command continues at the last checkpoint.

    Raises:
        StopRequested: A stop was asked for.
        StmAgentError: The training failed as it can in one process.
        BackboneError: The processes could not be started, or ended without a word.
    """
    import torch

    with tempfile.TemporaryDirectory(prefix="stm-agent-train-") as name:
        shared = Path(name)
        (shared / ORDER).write_bytes(pickle.dumps(order))
        threads = str(max(1, torch.get_num_threads() // count))
        with _running(shared, count, {**os.environ, "OMP_NUM_THREADS": threads}) as processes:
            while processes.poll() is None and not stop_asked():
                _show_progress(shared)
                time.sleep(POLL_SECONDS)
            safe_point()
        raise_fault(shared, count, processes.returncode)


@contextmanager
def _running(shared: Path, count: int, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Start the processes, and end all of them with the block."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(count)]
    with (shared / LOG).open("wb") as log:
        started = subprocess.Popen(
            [*launcher, "-m", "stm_agent.train.launched", str(shared)], stdout=log, stderr=log, env=environment
        )
        try:
            yield started
        finally:
            if started.poll() is None:
                _end(started)


def _end(launcher: subprocess.Popen[bytes]) -> None:
    # Its workers have sessions of their own; the launcher passes the signal on.
    workers = psutil.Process(launcher.pid).children(recursive=True)
    launcher.terminate()
    try:
        launcher.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        launcher.kill()
        launcher.wait()
    _, alive = psutil.wait_procs(workers, timeout=1)
    for worker in alive:
        worker.kill()


def _show_progress(shared: Path) -> None:
    path = shared / PROGRESS
    if path.is_file():
        row = read_json(path)
        show(row["name"], row["text"], row["done"], row["total"])


def write_fault(shared: Path, rank: int, error: StmAgentError) -> None:
    """Store an error of a process for the run's process, which raises it as what it is.

    Args:
        shared: The folder they share.
        rank: Number of the process.
        error: What stopped it.
    """
    write_atomic(shared / FAULT.format(rank=rank), pickle.dumps(error))


def raise_fault(shared: Path, count: int, status: int) -> None:
    """Raise what stopped the processes, if something did.

    Args:
        shared: The folder they share.
        count: How many there were.
        status: Exit status of the launcher.
    """
    faults = [shared / FAULT.format(rank=rank) for rank in range(count)]
    for path in faults:
        if path.is_file():
            fault: StmAgentError = pickle.loads(path.read_bytes())  # noqa: S301 - the run's own process wrote it
            raise fault
    if status:
        lines = (shared / LOG).read_text(errors="replace").splitlines() if (shared / LOG).is_file() else []
        last = next((line.strip() for line in reversed(lines) if "Error" in line), "no message")
        raise BackboneError(
            f"training in {count} processes ended with status {status}: {last}; try train: processes: 1"
        )
