"""How many threads to use: as many as there are idle cores, for spinning barriers collapse on shared ones."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import psutil

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Numbers of glibc's options (malloc.h)."""
LARGEST_BLOCK, NEVER = 32 << 20, 2**31 - 1
"""Bytes: the largest threshold glibc takes, and a surplus that is never there."""
LOOKS, INTERVAL = 6, 0.3
"""Looks at the cores, at most, and seconds of each."""


def choose_threads() -> tuple[int, str]:
    """Return a thread count and the reason for it.

    Counts the cores this process may use (affinity, cgroup quota) and takes off what others use
    now; at least 1. The load average would count what ended a minute ago, and a single look what ends
    this very moment: the quietest of a few looks counts, so that no passing job halves a whole night's speed.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cores = min(cores, _quota() or cores)
    asked = os.environ.get("OMP_NUM_THREADS")
    if asked and asked.isdigit() and int(asked) > 0:
        return int(asked), "OMP_NUM_THREADS is set"
    busy = float(cores)
    for _ in range(LOOKS):
        busy = min(busy, psutil.cpu_percent(interval=INTERVAL) / 100 * (os.cpu_count() or 1))
        if round(busy) == 0:
            break
    return max(cores - round(busy), 1), f"{cores} cores, {busy:.1f} of them busy"


def _quota() -> int | None:
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else max(1, int(quota) // int(period))


def set_threads(count: int) -> None:
    """Give torch this many threads, and keep the memory it frees; called by the command line, never at import."""
    import torch

    torch.set_num_threads(count)
    keep_freed_memory()


def keep_freed_memory() -> bool:
    """Tell glibc to reuse large freed blocks; return whether it will.

    By default every large tensor is mapped anew and its pages are faulted in one by one, which costs a small decoder
    6 % of its encoding speed.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        # Not glibc.
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST_BLOCK) and mallopt(M_TRIM_THRESHOLD, NEVER))
