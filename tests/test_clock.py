"""A run's minutes count over all its processes, whatever the system clock does."""

from __future__ import annotations

import time

from stm_agent.clock import RunClock, stored_seconds
from stm_agent.files import write_json


def test_seconds_of_earlier_processes_count(tmp_path):
    write_json(tmp_path / "1-aaaa.json", {"seconds": 60.0})
    write_json(tmp_path / "2-bbbb.json", {"seconds": 30.0})
    with RunClock(tmp_path) as clock:
        assert clock.seconds() >= 90
    assert stored_seconds(tmp_path) >= 90
    assert len(list(tmp_path.glob("*.json"))) == 3


def test_a_clock_that_jumps_back_takes_no_time_away(tmp_path, monkeypatch):
    clock = RunClock(tmp_path)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert clock.seconds() >= 0


def test_a_damaged_file_costs_only_its_seconds(tmp_path):
    write_json(tmp_path / "1-aaaa.json", {"seconds": 60.0})
    (tmp_path / "2-bbbb.json").write_text('{"secon')
    (tmp_path / "3-cccc.json").write_text("[]")
    assert stored_seconds(tmp_path) == 60


def test_the_share_of_overhead_counts_every_process(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    write_json(tmp_path / "1-old.json", {"seconds": 900.0})
    first = RunClock(tmp_path)
    with first.working(), first.working():
        now[0] += 60
        # Killed in the middle of a job.
        first._store()
    now[0] += 30
    second = RunClock(tmp_path)
    now[0] += 30
    with second.working():
        now[0] += 10
    assert second.overhead_share() == 30 / (60 + 30 + 10)
    assert second.seconds() == 900 + 60 + 40
