"""How many threads to use: as many as there are idle cores, for spinning barriers collapse on shared ones."""

from __future__ import annotations

import math
import os
from pathlib import Path


def choose_threads() -> tuple[int, str]:
    """Return a thread count and the reason for it.

    Counts the cores this process may use (affinity, cgroup quota) and takes off what others use
    now, by the load average of the last minute; at least 1.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cores = min(cores, _quota() or cores)
    asked = os.environ.get("OMP_NUM_THREADS")
    if asked and asked.isdigit() and int(asked) > 0:
        return int(asked), "OMP_NUM_THREADS is set"
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    idle = max(cores - math.floor(busy), math.ceil(cores / 2))
    return idle, f"{cores} cores, load {busy:.1f}"


def _quota() -> int | None:
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else max(1, int(quota) // int(period))


def set_threads(count: int) -> None:
    """Give torch this many threads; called by the command line, never at import."""
    import torch

    torch.set_num_threads(count)
