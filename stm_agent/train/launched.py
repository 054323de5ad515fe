"""One of the processes that :mod:`stm_agent.train.launch` starts: ``python -m stm_agent.train.launched FOLDER``."""

from __future__ import annotations

import os
import pickle
import sys
import time
from pathlib import Path

from stm_agent.errors import StmAgentError
from stm_agent.files import write_json
from stm_agent.job import checkpoints_in
from stm_agent.progress import watched_by
from stm_agent.train.launch import ORDER, PROGRESS, Order, write_fault
from stm_agent.train.processes import part, processes

INTERVAL = 0.5
"""Least seconds between two reports of progress."""


class FileWatcher:
    """Writes the progress of the first process for the run's process; the latter alone stops the others."""

    def __init__(self, shared: Path) -> None:
        """Write into ``shared``."""
        self._path, self._last = shared / PROGRESS, 0.0

    def progress(self, name: str, text: str, done: int, total: int) -> None:
        """Write one report, unless the last one is new."""
        if processes().writes and time.monotonic() - self._last >= INTERVAL:
            self._last = time.monotonic()
            write_json(self._path, {"name": name, "text": text, "done": done, "total": total})

    def stop_reason(self) -> str | None:
        """Return None: a process that stopped alone would leave the others waiting for it."""
        return None


def train_beside(shared: Path) -> int:
    """Build the job of a folder together with the other processes; return the exit status."""
    from stm_agent.backbone.threads import set_threads

    order: Order = pickle.loads((shared / ORDER).read_bytes())  # noqa: S301 - the run's process wrote it
    rank = processes().rank
    folder = order.folder if processes().writes else shared / f"scrap-{rank}"
    folder.mkdir(parents=True, exist_ok=True)
    set_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    try:
        with watched_by(FileWatcher(shared)), checkpoints_in(order.checkpoints):
            order.job.build(folder)
    except StmAgentError as error:
        write_fault(shared, rank, error)
        return error.exit_code
    part()
    return 0


if __name__ == "__main__":
    sys.exit(train_beside(Path(sys.argv[1])))
