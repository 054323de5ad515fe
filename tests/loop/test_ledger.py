"""A resumed run does not write the ledger twice, and a cut line costs only itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from stm_agent.errors import RunError
from stm_agent.loop.ledger import Ledger


def test_same_entry_is_written_once_over_processes(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    for _ in range(2):
        ledger = Ledger(path)
        ledger.record("base", dev=0.1)
        ledger.record("base", dev=0.2)
    assert [entry["dev"] for entry in Ledger(path).entries("base")] == [0.1, 0.2]


def test_cut_line_is_left_out_and_the_next_entry_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    Ledger(path).record("base", dev=0.1)
    with path.open("a") as stream:
        stream.write('{"event": "exp')
    Ledger(path).record("expert", dev=0.3)
    assert [entry["event"] for entry in Ledger(path).entries()] == ["base", "expert"]


def test_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_text('{"schema": 99, "event": "base"}\n')
    with pytest.raises(RunError, match="upgrade"):
        Ledger(path).entries()


def test_the_same_decision_in_two_rounds_is_recorded_twice(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    for _ in range(2):
        ledger = Ledger(path)
        for _ in range(2):
            ledger.record("decision", text="nothing was better")
    assert len(Ledger(path).entries("decision")) == 2
