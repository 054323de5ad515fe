"""The number of threads to use: one for each idle core, since spinning barriers are slow on shared cores."""

from __future__ import annotations

import ctypes
import os
import time

import psutil

from stm_agent.machine import available_cores

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Numbers of glibc's options (malloc.h)."""
LARGEST_BLOCK, NEVER = 32 << 20, 2**31 - 1
"""Bytes: the largest threshold that glibc accepts, and a surplus that never occurs."""
LOOKS, INTERVAL = 6, 0.3
"""Largest number of measurements of the load, and seconds of each."""


def choose_threads(looks: int = LOOKS) -> tuple[int, str]:
    """Return a thread count and the reason for it.

    The count is the number of cores this process may use (affinity, cgroup quota) minus those that others use now, and
    at least 1. Work of low priority (nice) gives way, so it does not count. The load average would include processes
    that have ended. Of several measurements the lowest counts, so that a short job of somebody else does not halve the
    speed of a whole run.

    Args:
        looks: Largest number of measurements, of :data:`INTERVAL` seconds each.
    """
    cores = available_cores()
    setting = os.environ.get("OMP_NUM_THREADS")
    if setting and setting.isdigit() and int(setting) > 0:
        return int(setting), "OMP_NUM_THREADS is set"
    busy = float(cores)
    for _ in range(looks):
        busy = min(busy, _busy_share() * (os.cpu_count() or 1))
        if round(busy) == 0:
            break
    return max(cores - round(busy), 1), f"{cores} cores, {busy:.1f} of them busy"


def _busy_share() -> float:
    """Measure for :data:`INTERVAL` seconds what share of all cores works at normal priority or above."""
    # psutil's percentages of cpu_times_percent are too low for intervals of less than a second of all cores.
    before = psutil.cpu_times()._asdict()
    time.sleep(INTERVAL)
    passed = {kind: seconds - before[kind] for kind, seconds in psutil.cpu_times()._asdict().items()}
    # Guests are counted in user and nice too.
    whole = sum(seconds for kind, seconds in passed.items() if not kind.startswith("guest"))
    yielding = sum(passed.get(kind, 0.0) for kind in ("idle", "iowait", "nice"))
    return max(0.0, whole - yielding) / whole if whole > 0 else 0.0


def raise_threads() -> int | None:
    """Use more threads if cores have become idle since they were chosen; return the new number, None if it stays.

    Measures for :data:`INTERVAL` seconds if there are fewer threads than cores.
    """
    import torch

    count = torch.get_num_threads()
    if os.environ.get("OMP_NUM_THREADS") or count >= available_cores():
        return None
    now, _ = choose_threads(looks=1)
    if now <= count:
        return None
    torch.set_num_threads(now)
    return now


def set_threads(count: int) -> None:
    """Set torch's number of threads and keep the memory it frees; called by the command line, never at import."""
    import torch

    torch.set_num_threads(count)
    keep_freed_memory()


def keep_freed_memory() -> bool:
    """Make glibc reuse large freed blocks; return whether it accepted that.

    By default every large tensor gets newly mapped memory with a page fault for every page, which costs a small decoder
    6 % of its encoding speed.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        # Not glibc.
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST_BLOCK) and mallopt(M_TRIM_THRESHOLD, NEVER))
