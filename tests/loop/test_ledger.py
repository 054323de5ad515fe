"""The ledger never repeats itself, survives a cut line, and a run belongs to one process and one config."""

from __future__ import annotations

from pathlib import Path

import pytest

from stm_agent.errors import ConfigError, RunError, RunLocked
from stm_agent.loop.ledger import Ledger, RunFolder


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


def test_second_process_is_refused(tmp_path: Path) -> None:
    first = RunFolder(tmp_path, "tiny", {"a": 1})
    with pytest.raises(RunLocked, match="another process"):
        RunFolder(tmp_path, "tiny", {"a": 1})
    first.close()
    RunFolder(tmp_path, "tiny", {"a": 1}).close()


def test_other_config_under_the_same_name_is_refused(tmp_path: Path) -> None:
    first = RunFolder(tmp_path, "tiny", {"a": 1}, "mine")
    first.ledger.record("base", dev=0.1)
    first.close()
    with pytest.raises(RunError, match="differs in: a"):
        RunFolder(tmp_path, "tiny", {"a": 2}, "mine")


def test_a_run_that_came_to_nothing_is_gone_and_one_with_work_in_it_stays(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, "tiny", {"a": 1})
    run.close()
    assert list(tmp_path.iterdir()) == []
    run = RunFolder(tmp_path, "tiny", {"a": 1})
    run.traces.write_text("{}\n")
    run.close()
    RunFolder(tmp_path, "tiny", {"a": 1}).close()
    assert run.traces.exists()
    run.traces.unlink()
    RunFolder(tmp_path, "tiny", {"a": 1}).close()
    assert run.folder.exists(), "another process made it"


def test_run_name_cannot_leave_the_runs_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot name a run"):
        RunFolder(tmp_path, "tiny", {}, "../other")
