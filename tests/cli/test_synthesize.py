"""``stm-agent synthesize`` writes by itself, and has commands below it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from stm_agent.cli.synthesize import app
from stm_agent.errors import ConfigError


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--domain NAME --output DIR"),
        (["--domain", "biomedical", "optimize"], "behind its name"),
        (["optimize"], "--domain NAME .* or --collection DIR"),
        (["compare", "--domain", "biomedical", "--generator", "a"], "two different generators"),
        (["compare", "--domain", "biomedicine", "--generator", "a", "--generator", "b"], "did you mean biomedical"),
    ],
)
def test_options_that_do_not_fit_are_named(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CliRunner().invoke(app, arguments, catch_exceptions=False)


CANDIDATE = {"trial": "p0001", "rating": 0.25, "pairs": 8, "probe": 0.5, "lora": None}
REPORT: dict[str, Any] = {
    "candidates": [CANDIDATE],
    "probe": {"kind": "query-side", "candidates": 1, "spearman": None},
    "cost": {"usd": 0.5, "calls": 12, "minutes": 3.0},
    "passages": 1000,
    "untrained": 0.4,
    "reason": "no candidate's pairs are better in a probe",
    "written": None,
}


def test_a_search_prints_its_ladder_and_that_nothing_was_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: dict[str, Any] = {}

    def search(spec: Any, options: Any, **more: Any) -> dict[str, Any]:
        seen.update(more, options=options)
        return REPORT

    monkeypatch.setattr("stm_agent.loop.program_search.optimize_program", search)
    (tmp_path / "programs").mkdir()
    call = ["optimize", "--domain", "biomedical", "--budget-calls", "500", "--workspace", str(tmp_path)]
    text = CliRunner().invoke(app, call, catch_exceptions=False).stdout
    assert "p0001      0.250       8   0.5000        -" in text
    assert "needs three candidates with both, there are 1" in text
    assert text.endswith("nothing is written: the program stays as it is\n")
    assert json.loads(CliRunner().invoke(app, [*call, "--json"]).stdout) == REPORT
    assert seen["target"] == tmp_path / "programs" / "queries_optimised.py"
    assert seen["options"].llm.budget_calls == 500


def test_ceilings_and_seed_reach_what_writes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[Any] = []

    def write(spec: Any, workspace: Path, runs: Path, output: Path, options: Any, **more: Any) -> dict[str, object]:
        seen.append(options)
        return {"written": 1, "ended_by": "budget of 5 calls is spent"}

    monkeypatch.setattr("stm_agent.loop.synthesize_single.synthesize_domain", write)
    (tmp_path / "programs").mkdir()
    call = ["--domain", "biomedical", "--output", str(tmp_path / "out"), "--workspace", str(tmp_path)]
    flags = ["--budget-usd", "1", "--budget-calls", "5", "--budget-minutes", "2", "--seed", "7"]
    text = CliRunner().invoke(app, [*call, *flags], catch_exceptions=False).stdout
    assert "budget of 5 calls is spent" in text
    (options,) = seen
    assert (options.budget_usd, options.budget_calls, options.budget_minutes, options.seed) == (1.0, 5, 2.0, 7)
