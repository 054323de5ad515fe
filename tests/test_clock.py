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
