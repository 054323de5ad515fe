"""Text is printed as it is: a user's brackets, colons and long paths are theirs."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from rich.table import Table
from typer.testing import CliRunner

from stm_agent.cli.main import build, drop_advice_of_libraries
from stm_agent.cli.output import emit, json_observer, screen_observer, show_steps

ODD = "[bold]a[/bold] [/red] :smile: [link=x]"


def test_text_and_tables_are_printed_without_markup(capsys: pytest.CaptureFixture[str]) -> None:
    emit({}, ODD, as_json=False)
    table = Table("name", title=ODD)
    table.add_row(ODD)
    emit({}, table, as_json=False)
    assert capsys.readouterr().out.count(ODD) == 3


def test_a_plan_is_two_columns(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [("disk", "about 1.00 GiB"), ("  train-query-expert", "expert queries-1: 30 steps")]
    show_steps([{"stage": stage, "what": what} for stage, what in rows], as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line.index(what) for line, (_, what) in zip(lines, rows, strict=True)] == [22, 22]
    show_steps([], as_json=False)


def test_the_screen_shows_events_without_markup(capsys: pytest.CaptureFixture[str]) -> None:
    show = screen_observer()
    for kind in ("note", "warning", "failure", "decision", "stage"):
        show({"kind": kind, "name": "x", "text": ODD})  # type: ignore[typeddict-item]
    assert capsys.readouterr().err.count(ODD) == 5


def test_events_are_one_json_line_each_and_leave_standard_output_to_the_report(
    capsys: pytest.CaptureFixture[str],
) -> None:
    observer = json_observer()
    observer({"kind": "action", "name": "merge", "text": "6. merge the experts: it is cheap"})
    observer({"kind": "progress", "name": "train", "text": "steps", "done": 1, "total": 2})
    out, err = capsys.readouterr()
    rows = [json.loads(line) for line in err.splitlines()]
    assert out == ""
    assert [row["kind"] for row in rows] == ["action", "progress"]
    assert rows[1]["done"] == 1


def test_more_seeds_need_the_first_one() -> None:
    result = CliRunner().invoke(build(), ["optimize", "--domain", "biomedical", "--seeds", "0", "1", "--seed", "2"])
    assert "give one --seed N, or several" in str(result.exception)
    result = CliRunner().invoke(build(), ["optimize", "--domain", "biomedical", "1"])
    assert "give one --seed N, or several" in str(result.exception)


def test_the_path_of_a_run_is_one_plain_line(tmp_path: Path) -> None:
    workspace = tmp_path / "work [bold] [old]" / ("long " * 30).strip()
    run = workspace / "runs" / "mine"
    run.mkdir(parents=True)
    (workspace / "programs").mkdir()
    (run / "run.json").write_text('{"schema": 2}')
    shown = CliRunner().invoke(build(), ["runs", "path", "mine", "--workspace", str(workspace)])
    assert shown.output == f"{run}\n"


def test_the_advice_of_a_library_is_dropped_and_its_other_messages_are_not(caplog: pytest.LogCaptureFixture) -> None:
    library = logging.getLogger("bitsandbytes.backends.cpu.ops")
    drop_advice_of_libraries()
    library.warning("Failed to load CPU gemm_4bit_forward from kernels-community: %s. Please", "no module")
    library.warning("Failed to load the library")
    assert caplog.messages == ["Failed to load the library"]
