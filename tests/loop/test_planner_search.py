"""The planner's program is optimised on past decisions: by the gain for its price of what it answers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from stm_agent.cli.main import build
from stm_agent.errors import BudgetExceeded, ConfigError
from stm_agent.files import append_jsonl, read_jsonl
from stm_agent.llm.answer import Messages
from stm_agent.llm.scripted import ScriptedProvider
from stm_agent.loop.actions.action import Action
from stm_agent.loop.actions.instruction import SearchInstruction
from stm_agent.loop.actions.merge import MergeExperts
from stm_agent.loop.actions.program import OptimizeProgram
from stm_agent.loop.actions.training import TrainExpert
from stm_agent.loop.events import silent
from stm_agent.loop.history import Decision, Step, credits, record_decision, record_outcome
from stm_agent.loop.options import Options
from stm_agent.loop.planner_examples import Worth, read_decisions
from stm_agent.loop.planner_search import PlannerOptions, optimize_planner
from stm_agent.loop.policies.answers import STOP
from stm_agent.loop.runs import open_run, run_state
from stm_agent.loop.situations import SITUATION
from stm_agent.synthesize.program_text import ProgramText
from stm_agent.traces import read_traces

CHEAP, DEAR, POOR = TrainExpert(expert="plain"), MergeExperts(), SearchInstruction()
PRICES: tuple[tuple[Action, float], ...] = ((POOR, 30.0), (DEAR, 300.0), (CHEAP, 20.0))
BETTER = "Train experts first."


class Planner:
    """A planner that takes the first line, or an expert if its instructions say so; counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, messages: Messages) -> str:
        self.calls += 1
        if "You improve the instructions" in messages[0]["content"]:
            assert "the best gain for its price was train-expert" in messages[1]["content"]
            return f"```\n{BETTER}\n```"
        lines = re.findall(r"(?:train-expert|merge|search-instruction) [^:\n]*=[^:\n]*(?=:)", messages[-1]["content"])
        wanted = "train-expert" if BETTER in messages[0]["content"] else "search-instruction"
        return next(line for line in lines if line.startswith(wanted))


@pytest.fixture
def planner(monkeypatch: pytest.MonkeyPatch) -> Planner:
    answers = Planner()
    monkeypatch.setattr(ScriptedProvider, "named", classmethod(lambda cls, name: cls(answers)))
    return answers


def past_run(runs: Path, seed: int, *, decisions: int = 6) -> Path:
    """Write a run in which experts gained much, a merge little for much time, and instructions nothing."""
    run = open_run(runs, "tiny", {"seed": seed})
    gains = {POOR.kind: 0.0, DEAR.kind: 0.01, CHEAP.kind: 0.04}
    for number in range(1, decisions + 1):
        action, price = PRICES[(seed + number) % len(PRICES)]
        menu = [
            {"action": offered.to_json(), "seconds": seconds, "dollars": 0.0, "calls": 0} for offered, seconds in PRICES
        ]
        left = {"seconds": 600.0, "dollars": None, "calls": None}
        run.ledger.record(SITUATION, number=number, state=f"run {seed}, decision {number}", menu=menu, left=left)
        decision = Decision(action=action, reason="a test", by="random", key=f"{number}", seconds=price)
        record_decision(run.ledger, number, decision)
        step = Step(
            number=number,
            decision=decision,
            gain=gains[action.kind],
            expected=gains[action.kind],
            seconds=price,
            failed=False,
            label="m",
        )
        record_outcome(run.ledger, step)
    run.close()
    return run.folder


def search(workspace: Path, **changes: Any) -> dict[str, Any]:
    options = PlannerOptions(
        llm=Options(generator="scripted:planner", seed=0, budget_calls=changes.pop("calls", None)),
        **{"proposals": 2, "examples": 6, "held": 8, **changes},
    )
    target = workspace / "programs" / "planner_optimised.py"
    return optimize_planner(options, workspace=workspace, runs=workspace / "runs", target=target, observer=silent)


def test_a_text_that_gains_more_for_its_price_is_written_and_nothing_is_paid_twice(
    workspace: Path, planner: Planner
) -> None:
    for seed in range(5):
        past_run(workspace / "runs", seed)
    report = search(workspace)
    first, *others = report["candidates"]
    assert max(row["rating"] for row in others) == 1.0 > first["rating"]
    assert report["accepted"], report["reason"]
    before, after = report["held_out"]["means"]
    assert after == 1.0 > before
    assert ProgramText.of(Path(report["written"]), "action").instructions == {"self": BETTER}
    run = workspace / "runs" / report["run"]
    assert run_state(run) == "finished"
    trials = {trial["trial"]: trial for trial in read_traces(run / "traces.jsonl")}
    won = next(trial for trial in trials.values() if trial["accepted"])
    assert won["parent"] == first["trial"]
    assert won["messages"] and won["shown"][0]["why"]

    paid = planner.calls
    (run / "program.json").unlink()
    Path(report["written"]).unlink()
    again = search(workspace)
    assert planner.calls == paid, "a search that was killed at its end pays nothing twice"
    assert again["candidates"] == report["candidates"]
    shown = CliRunner().invoke(
        build(),
        [
            "loop",
            "optimize-planner",
            "--planner",
            "scripted:planner",
            "--proposals",
            "2",
            "--examples",
            "6",
            "--held",
            "8",
            "--workspace",
            str(workspace),
            "--json",
        ],
    )
    assert shown.exit_code == 0, shown.output
    assert json.loads(shown.stdout)["accepted"]


def test_calls_are_capped_over_planning_and_rewriting(workspace: Path, planner: Planner) -> None:
    for seed in range(3):
        past_run(workspace / "runs", seed)
    with pytest.raises(ConfigError, match="--budget-calls 8 cannot compare two programs; raise it to 29"):
        search(workspace, calls=8)
    assert planner.calls == 0
    with pytest.raises(BudgetExceeded, match="29 calls is spent; raise --budget-calls"):
        search(workspace, calls=29, proposals=8)
    assert 0 < planner.calls <= 29
    before = planner.calls
    assert search(workspace, calls=300, proposals=8)["candidates"][0]["rating"] < 1.0
    assert before < planner.calls < before + 40, "a raised ceiling continues"


def test_too_few_decisions_are_refused_in_one_line_that_counts_what_cannot_be_used(
    workspace: Path, planner: Planner
) -> None:
    folder = past_run(workspace / "runs", 0, decisions=3)
    old = past_run(workspace / "runs", 1, decisions=3)
    (old / "ledger.jsonl").write_text('{"schema": 1, "event": "outcome"}\n')
    rows = [
        row for row in read_jsonl(folder / "ledger.jsonl") if not (row["event"] == SITUATION and row["number"] == 2)
    ]
    (folder / "ledger.jsonl").unlink()
    for row in rows:
        append_jsonl(folder / "ledger.jsonl", row)
    message = (
        r"2 past decisions of 1 runs .*1 decisions without a recorded menu, 1 ledgers of another version.*make more"
    )
    with pytest.raises(ConfigError, match=message):
        search(workspace)
    assert planner.calls == 0


def test_an_answer_is_worth_its_gain_per_second_as_a_share_of_the_best(tmp_path: Path) -> None:
    for seed in range(2):
        past_run(tmp_path, seed)
    decisions = read_decisions(tmp_path).rows
    worth = Worth(decisions)
    poor = next(row for row in decisions if row.action == POOR)
    shares = {offer.action.kind: worth.share(poor, offer) for offer in (*poor.menu, STOP)}
    assert shares["train-expert"] == 1.0
    assert shares["search-instruction"] == 0.0, "it was done, and gained nothing"
    assert 0.0 < shares["merge"] < 0.2
    assert shares["stop"] == 0.0
    assert worth.best(poor).action == CHEAP


def test_a_program_is_credited_with_what_is_learnt_from_the_data_it_wrote() -> None:
    kinds = [OptimizeProgram().kind, "write-queries", "train-expert", "write-queries"]
    assert credits(list(zip(kinds, [0.0, 0.0, 0.03, 0.0], strict=True))) == [0.03, 0.03, 0.03, None]
