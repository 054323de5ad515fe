"""Text is printed as it is: a user's brackets, colons and long paths are theirs."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from rich.table import Table
from typer.testing import CliRunner

from stm_agent.cli.main import build, drop_advice_of_libraries
from stm_agent.cli.output import emit, screen_observer

ODD = "[bold]a[/bold] [/red] :smile: [link=x]"


def test_text_and_tables_are_printed_without_markup(capsys: pytest.CaptureFixture[str]) -> None:
    emit({}, ODD, as_json=False)
    table = Table("name", title=ODD)
    table.add_row(ODD)
    emit({}, table, as_json=False)
    assert capsys.readouterr().out.count(ODD) == 3


def test_the_screen_shows_events_without_markup(capsys: pytest.CaptureFixture[str]) -> None:
    show = screen_observer()
    for kind in ("note", "warning", "failure", "decision", "stage"):
        show({"kind": kind, "name": "x", "text": ODD})  # type: ignore[typeddict-item]
    assert capsys.readouterr().err.count(ODD) == 5


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
