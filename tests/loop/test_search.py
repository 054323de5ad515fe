"""Whole runs under each policy: they end, a killed one keeps its decisions, and what happened can be read."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from stm_agent.cli.main import build
from stm_agent.domain.spec import DomainSpec
from stm_agent.errors import ConfigError
from stm_agent.files import read_json, read_jsonl
from stm_agent.inspect.why import reason_lines, why
from stm_agent.loop.events import Event
from stm_agent.loop.optimize import optimize
from stm_agent.loop.options import Options
from stm_agent.loop.report_rows import Report
from stm_agent.loop.seeds import optimize_seeds, summarize
from stm_agent.loop.state_summary import read_summary, summary_text

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("proof_in_this_process")]

KILLED = """
import os, signal, sys
from pathlib import Path
from stm_agent.domain.spec import DomainSpec
from stm_agent.loop.events import Event
from stm_agent.loop.optimize import optimize
from stm_agent.loop.options import Options

spec, workspace, policy, stages = sys.argv[1:]
left = int(stages)

def observer(event):
    global left
    left -= event["kind"] == "stage"
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)

options = Options(generator="scripted:numbered", policy=policy, patience=2, planner_share=0.5)
spec, workspace = DomainSpec.model_validate_json(Path(spec).read_text()), Path(workspace)
optimize(spec, options, workspace=workspace, runs=workspace / "runs", observer=observer)
"""


@pytest.fixture
def small(tiny_domain: DomainSpec) -> DomainSpec:
    """An expert that needs nothing, one of written queries, and one of queries alone."""
    values = tiny_domain.model_dump(mode="json")
    values["experts"] = [
        {"name": "plain", "sources": ["train"], "steps": 6},
        {"name": "asked", "sources": ["written"], "steps": 3},
        {"name": "side", "sources": ["train"], "steps": 6, "side": "query"},
    ]
    values["synthesize"] |= {"queries": 12, "proposals": 0}
    values["loop"] |= {"probe_steps": 0, "bootstrap": 200}
    values["teach"] |= {"encoders": [], "bm25": 1.0}
    return DomainSpec.model_validate(values)


def run(spec: DomainSpec, workspace: Path, observer: Any = lambda event: None, **flags: Any) -> Report:
    options = Options(**{"generator": "scripted:numbered", "patience": 2, **flags})
    return optimize(spec, options, workspace=workspace, runs=workspace / "runs", observer=observer)


def decisions(folder: Path) -> list[tuple[int, dict[str, Any]]]:
    return [(row["number"], row["action"]) for row in read_jsonl(folder / "ledger.jsonl") if row["event"] == "action"]


@pytest.mark.parametrize("policy", ["planner", "tpe"])
def test_a_killed_run_keeps_its_decisions_and_ends(small: DomainSpec, workspace: Path, policy: str) -> None:
    if policy == "tpe":
        pytest.importorskip("optuna")
    domain = workspace / "small.json"
    domain.write_text(small.model_dump_json())
    arguments = [str(domain), str(workspace), policy, "9"]
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    (folder,) = (path.parent for path in (workspace / "runs").glob("*/run.json"))
    before = decisions(folder)
    assert before
    report = run(small, workspace, policy=policy, planner_share=0.5)
    assert (report["run"], report["state"]) == (folder.name, "finished")
    after = decisions(folder)
    assert after[: len(before)] == before
    assert [number for number, _ in after] == list(range(1, len(after) + 1)), "each decision was written once"
    # All decisions are in the ledger now: repeating them gives the same scores and asks no LLM.
    calls = len(read_jsonl(folder / "llm.jsonl"))
    (folder / "report.json").unlink()
    again = run(small, workspace, policy=policy, planner_share=0.5)
    assert again["rows"] == report["rows"]
    assert decisions(folder) == after
    assert len(read_jsonl(folder / "llm.jsonl")) == calls


def test_a_planner_that_answers_nonsense_falls_back_and_is_counted(small: DomainSpec, workspace: Path) -> None:
    events: list[str] = []
    report = run(
        small, workspace, lambda event: events.append(event["kind"]), policy="planner", planner_share=1.0, patience=1
    )
    assert report["state"] == "finished"
    fallen = [warning for warning in report["warnings"] if warning.startswith("planner: decision")]
    assert fallen
    assert all("gain-per-cost decides; so far" in warning for warning in fallen)
    assert "action" in events
    rows = read_jsonl(workspace / "runs" / report["run"] / "ledger.jsonl")
    assert {row["by"] for row in rows if row["event"] == "action"} == {"gain-per-cost"}
    (workspace / "runs" / report["run"] / "report.json").unlink()
    again = run(small, workspace, policy="planner", planner_share=1.0, patience=1)
    assert [warning for warning in again["warnings"] if warning.startswith("planner: ")] == fallen


def test_a_planner_that_reads_the_menu_decides(small: DomainSpec, workspace: Path) -> None:
    flags = {"policy": "planner", "planner_share": 1.0, "patience": 1, "reflection": "scripted:planner"}
    report = run(small, workspace, **flags)
    assert not [warning for warning in report["warnings"] if warning.startswith("planner: ")]
    rows = read_jsonl(workspace / "runs" / report["run"] / "ledger.jsonl")
    chosen = [(row["by"], row["action"]["kind"]) for row in rows if row["event"] == "action"]
    assert chosen[0] == ("planner", "train-query-expert")
    assert {by for by, _ in chosen} == {"planner"}


def test_the_state_and_the_reasons_of_a_run_can_be_read(small: DomainSpec, workspace: Path) -> None:
    events: list[Event] = []
    report = run(small, workspace, events.append, policy="stm", patience=None, budget_minutes=600.0)
    folder = workspace / "runs" / report["run"]
    state = read_summary(folder)
    assert {part["by"] for part in state["slices"]} == {"BM25", "field", "length", "type"}
    shown = [event for event in events if "standing" in event]
    numbers = [event["choice"]["number"] for event in shown if "choice" in event]
    assert numbers == [row["number"] for row in state["tried"]]
    last = shown[-1]["standing"]
    assert (last["run"], last["ndcg_at_10"]) == (report["run"], state["models"]["incumbent"]["search"])
    assert [stair["best"] for stair in last["stairs"]] == sorted(stair["best"] for stair in last["stairs"])
    assert json.loads(json.dumps(events)) == events, "every event is a line of JSON"
    kinds = [row["action"]["kind"] for row in state["tried"]]
    assert kinds[0] == "search-instruction"
    assert kinds[-2:] == ["train-query-expert", "merge"]
    assert 0 < state["left"]["seconds"] < 600 * 60 * 0.9, "the last tenth is for export and test"
    text = summary_text(state)
    assert "incumbent: " in text
    assert "train expert plain: +" in text
    assert re.search(r"staircase: 0\.\d{4}, 0\.\d{4} after \d+ \(\d+ s\)", text)
    written = report["cost"]["writing"]["queries"]
    assert written["asked"] >= written["written"] > 0
    assert written["calls"] >= written["asked"]
    lines = list(reason_lines(why(folder)))
    assert lines[0] == f"model of run {report['run']}: {report['model_label']}"
    assert any("look at the accept half" in line for line in lines)
    for name in report["weights"]:
        assert any(line.strip().startswith((f"expert {name}", f"{name}, weight")) for line in lines)
    for command in (["runs", "show", "last", "--state"], ["traces", "why", "last"]):
        shown = CliRunner().invoke(build(), [*command, "--workspace", str(workspace)])
        assert shown.exit_code == 0, shown.output
        assert report["model_label"] in shown.output


def test_minutes_that_end_before_anything_are_refused_in_one_line(small: DomainSpec, workspace: Path) -> None:
    with pytest.raises(ConfigError, match=r"minutes are too few: .*; set --budget-minutes \d+ or more"):
        run(small, workspace, policy="random", budget_minutes=0.00001)
    assert not list((workspace / "runs").glob("*/llm.jsonl"))


def test_a_stop_file_from_before_is_removed_and_noted(small: DomainSpec, workspace: Path) -> None:
    report = run(small, workspace, policy="stm", patience=1)
    folder = workspace / "runs" / report["run"]
    (folder / "report.json").unlink()
    (folder / "stop").write_text("")
    again = run(small, workspace, policy="stm", patience=1)
    assert any("request to stop from before" in note for note in again["notes"])
    assert again["rows"] == report["rows"]


def test_several_seeds_give_mean_and_spread_and_the_best_model_on_dev(small: DomainSpec, workspace: Path) -> None:
    options = Options(generator="scripted:numbered", patience=1)
    both = optimize_seeds(small, options, (0, 1), workspace=workspace, runs=workspace / "runs")
    reports = {seed: read_json(workspace / "runs" / name / "report.json") for seed, name in both["runs"].items()}
    scores = [report["rows"]["merged"]["ndcg_at_10"] for report in reports.values()]
    assert both["rows"]["merged"]["mean"] == pytest.approx(sum(scores) / 2)
    assert both["rows"]["merged"]["highest"] == max(scores)
    assert reports[both["best_seed"]]["dev"]["merged"] == max(report["dev"]["merged"] for report in reports.values())
    assert summarize({0: reports[0]})["rows"]["merged"]["spread"] == 0.0
    with pytest.raises(ConfigError, match="twice"):
        optimize_seeds(small, options, (0, 0), workspace=workspace, runs=workspace / "runs")
