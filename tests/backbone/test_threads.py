"""As many threads as there are idle cores; a job that is just ending takes none away."""

from __future__ import annotations

import os
import platform
from typing import NamedTuple

import pytest
import torch

from stm_agent import machine
from stm_agent.backbone import threads


@pytest.fixture
def two_cores(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(machine, "cgroup_quota", lambda: None)

    def looks(*percents):
        seen = iter([*percents, *[percents[-1]] * threads.LOOKS])
        monkeypatch.setattr(threads, "_busy_share", lambda: next(seen) / 100)

    return looks


@pytest.mark.parametrize(
    ("percents", "wanted"), [((0.0,), 2), ((50.0,), 1), ((100.0,), 1), ((60.0, 80.0, 3.0), 2), ((20.0,), 2)]
)
def test_the_quietest_look_counts(two_cores, percents, wanted):
    two_cores(*percents)
    assert threads.choose_threads()[0] == wanted


def test_work_of_low_priority_does_not_count(monkeypatch):
    class Times(NamedTuple):
        user: float
        nice: float
        system: float
        idle: float
        guest: float = 0.0

    seen = iter([Times(100.0, 5.0, 10.0, 300.0), Times(100.1, 5.3, 10.0, 300.2, 0.1)])
    monkeypatch.setattr(threads.psutil, "cpu_times", lambda: next(seen))
    assert threads._busy_share() == pytest.approx(0.1 / 0.6)


def test_threads_rise_once_a_core_is_idle_and_never_fall(two_cores, monkeypatch):
    now = [1]
    monkeypatch.setattr(torch, "get_num_threads", lambda: now[0])
    monkeypatch.setattr(torch, "set_num_threads", lambda count: now.append(now.pop() and count))
    two_cores(100.0)
    assert threads.raise_threads() is None
    two_cores(0.0)
    assert (threads.raise_threads(), now) == (2, [2])
    two_cores(100.0)
    assert (threads.raise_threads(), now) == (None, [2])


def test_the_users_own_number_wins(two_cores, monkeypatch):
    two_cores(100.0)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert threads.choose_threads() == (7, "OMP_NUM_THREADS is set")


def test_freed_memory_is_kept_on_glibc_and_nothing_fails_elsewhere(monkeypatch):
    assert threads.keep_freed_memory() == (platform.libc_ver()[0] == "glibc")
    monkeypatch.setattr(threads.ctypes, "CDLL", lambda name: object())
    assert threads.keep_freed_memory() is False
