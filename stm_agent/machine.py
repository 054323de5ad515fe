"""What this machine has: cores that may be used, memory, and a GPU."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

import psutil

_training_gpu: ContextVar[bool | None] = ContextVar("training_gpu", default=None)


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The machine that a run is planned for.

    Attributes:
        cores: Cores this process may use (affinity and cgroup quota).
        memory_gib: Memory that is free now, in GiB.
        gpu: Name of the GPU; None: there is none that torch can use.
    """

    cores: int
    memory_gib: float
    gpu: str | None

    @property
    def summary(self) -> str:
        """One line for people."""
        return f"{self.cores} cores, {self.memory_gib:.1f} GiB of free memory, {self.gpu or 'no GPU'}"


def this_machine() -> Machine:
    """Return what this machine has; torch is imported only if there may be a GPU."""
    return Machine(cores=available_cores(), memory_gib=psutil.virtual_memory().available / 2**30, gpu=_gpu())


def available_cores() -> int:
    """Return the cores that this process may use: those of its affinity, at most the quota of its cgroup."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, cgroup_quota() or cores)


def cgroup_quota() -> int | None:
    """Return the whole cores that the cgroup may use, at least 1; None: no quota."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else max(1, int(quota) // int(period))


def _gpu() -> str | None:
    if platform.system() == "Darwin":
        import torch

        return "Apple GPU (MPS)" if torch.backends.mps.is_available() else None
    if not (Path("/proc/driver/nvidia").exists() or Path("/dev/kfd").exists() or platform.system() == "Windows"):
        return None
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None


def declared_training_gpu() -> bool | None:
    """Return whether trainings run on a GPU, if they run elsewhere; None: they run in this process."""
    return _training_gpu.get()


@contextmanager
def training_elsewhere(*, gpu: bool) -> Iterator[None]:
    """Make the keys of trainings in the block name the device of the nodes that they are sent to."""
    token = _training_gpu.set(gpu)
    try:
        yield
    finally:
        _training_gpu.reset(token)
