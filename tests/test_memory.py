"""The peak is what a process tree held at one moment."""

from __future__ import annotations

import subprocess
import sys

from stm_agent import memory
from stm_agent.memory import PeakMemory, tree_gib

GREEDY = "import time; held = bytearray(b'x') * (300 * 2**20); print(len(held)); time.sleep({})"


def test_a_childs_memory_counts_while_it_lives():
    with PeakMemory(interval=0.05) as alone:
        pass
    with PeakMemory(interval=0.05) as peak:
        subprocess.run([sys.executable, "-c", GREEDY.format(0.5)], check=True, capture_output=True)
    assert 0.25 < peak.gib - alone.gib < 0.5


def test_two_children_one_after_the_other_are_not_added():
    with PeakMemory(interval=0.05) as alone:
        pass
    with PeakMemory(interval=0.05) as peak:
        for _ in range(2):
            subprocess.run([sys.executable, "-c", GREEDY.format(0.3)], check=True, capture_output=True)
    assert peak.gib - alone.gib < 0.5


def test_a_parent_that_grows_after_its_child_has_ended_is_seen(monkeypatch):
    # (resident, counted once): shared pages count twice at first, and nothing is shared later.
    held = iter([(1.0, 1.0), (4.4, 2.2), (2.2, 2.2), (3.5, 3.5), (3.5, 3.5)])
    now = [0.0, 0.0]
    monkeypatch.setattr(memory, "_resident_gib", lambda _pid: now[0])
    monkeypatch.setattr(memory, "tree_gib", lambda _pid: now[1])
    peak = PeakMemory()
    for now[0], now[1] in held:
        peak._measure()
    assert peak.gib == 3.5


def test_a_process_that_is_gone_holds_nothing():
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    assert tree_gib(done.pid) == 0.0
