"""The panel of a run says where it stands, what runs now and why, and what is spent and left."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

from stm_agent.cli.live import RunPanel, live_observer, run_observer, staircase_text
from stm_agent.loop.events import Event, Standing


def standing(**changes: Any) -> Standing:
    values: dict[str, Any] = {
        "run": "tiny-1",
        "model": "merge (lay 0.50, hard 0.50)",
        "ndcg_at_10": 0.7123,
        "low": 0.7001,
        "high": 0.7245,
        "stairs": [{"seconds": 0.0, "best": 0.65}, {"seconds": 30.0, "best": 0.7}, {"seconds": 60.0, "best": 0.7123}],
        "seconds": 120.0,
        "seconds_left": 900.0,
        "minutes": 20.0,
        "usd": 0.25,
        "budget_usd": 1.0,
        "calls": 40,
        "budget_calls": 100,
        **changes,
    }
    return values  # type: ignore[return-value]


def action(**changes: Any) -> Event:
    return {
        "kind": "action",
        "name": "merge",
        "text": "3. merge the experts",
        "standing": standing(**changes),
        "choice": {
            "number": 3,
            "summary": "merge the experts [of] :both: sides",
            "by": "gain-per-cost",
            "reason": "+0.01 expected",
            "seconds": 40.0,
        },
    }


def shown(panel: RunPanel, width: int = 100) -> str:
    console = Console(record=True, width=width, force_terminal=True, file=io.StringIO())
    console.print(panel)
    return console.export_text()


@pytest.fixture
def clock() -> list[float]:
    return [0.0]


@pytest.fixture
def panel(clock: list[float]) -> RunPanel:
    return RunPanel(clock=lambda: clock[0])


def test_the_panel_says_where_the_run_stands_what_runs_and_why(panel: RunPanel, clock: list[float]) -> None:
    panel.update(action())
    panel.update({"kind": "stage", "name": "merge", "text": "searching merge weights"})
    panel.update({"kind": "progress", "name": "merge", "text": "weightings", "done": 30, "total": 1200})
    clock[0] = 60.0
    text = shown(panel)
    for part in (
        "stm-agent tiny-1",
        "0.7123 [0.7001, 0.7245] on the search half: merge (lay 0.50, hard 0.50)",
        "3. merge the experts [of] :both: sides, 60 of about 40 s",
        "gain-per-cost: +0.01 expected",
        "searching merge weights",
        "30 of 1,200",
        "3.0 of 20 min, 0.2500 of 1 USD, 40 of 100 LLM calls",
        "14.0 min for actions, the rest for export and test, 0.7500 USD, 60 LLM calls",
    ):
        assert part in text


def test_the_staircase_rises_where_the_score_rose() -> None:
    text = staircase_text(standing())
    first, blocks, last, *_ = text.split()
    assert (first, last) == ("0.6500", "0.7123")
    assert (blocks[0], blocks[-1]) == ("▁", "█")
    assert list(blocks) == sorted(blocks), "the best so far never falls"
    assert len(set(blocks)) == 3
    assert staircase_text(standing(stairs=[{"seconds": 0.0, "best": 0.65}])) == "0.6500"
    flat = staircase_text(standing(stairs=[{"seconds": 0.0, "best": 0.65}, {"seconds": 9.0, "best": 0.65}]))
    assert set(flat.split()[1]) == {"▁"}


def test_without_ceilings_nothing_is_left_to_show_and_before_a_decision_the_stage_stands_alone(
    panel: RunPanel,
) -> None:
    panel.update({"kind": "stage", "name": "prepare", "text": "building the collections"})
    assert "building the collections" in shown(panel)
    assert "spent" not in shown(panel)
    panel.update(action(seconds_left=None, minutes=None, budget_usd=None, budget_calls=None))
    text = shown(panel)
    assert "2.0 min, 0.2500 USD, 40 LLM calls" in text
    assert "left" not in text


def test_what_was_decided_is_gone_when_the_search_ends(panel: RunPanel) -> None:
    panel.update(action())
    panel.update({"kind": "note", "name": "search", "text": "the search ends", "standing": standing(ndcg_at_10=0.8)})
    text = shown(panel)
    assert "0.8000" in text
    assert "why" not in text


def test_a_narrow_terminal_folds_lines_and_loses_none(panel: RunPanel) -> None:
    panel.update(action())
    text = shown(panel, width=40)
    assert max(map(len, text.splitlines())) <= 40
    assert "expected" in text


def test_on_a_terminal_the_log_stands_above_the_panel_which_goes_at_the_end() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=80)
    with live_observer(console) as show:
        show(action())
        show({"kind": "decision", "name": "merge", "text": "taken [provisionally]"})
        show({"kind": "note", "name": "merge", "text": "a word " * 40})
        show({"kind": "progress", "name": "merge", "text": "weightings", "done": 1, "total": 2})
    written = stream.getvalue()
    assert "taken [provisionally]" in written
    assert "weightings" not in written, "progress is in the panel alone"
    assert "incumbent" in written
    assert "\x1b[2K" in written, "the panel is erased"
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written).replace("\r", "\n").splitlines()
    assert max(map(len, lines)) <= 80, "a longer line would push the panel out of its place"


def test_without_a_terminal_lines_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with run_observer(as_json=False) as show:
        show(action())
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].endswith("3. merge the experts")
