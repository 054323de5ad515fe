"""A lever that fails costs that lever: the run goes on, says so, and exports the best model it has."""

from __future__ import annotations

import os
import signal
import weakref
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from stm_agent.backbone.memory_errors import memory_errors
from stm_agent.domain.spec import DomainSpec
from stm_agent.errors import OutOfMemory, StopRequested
from stm_agent.files import read_json, read_jsonl
from stm_agent.loop.advice import advice
from stm_agent.loop.optimize import optimize
from stm_agent.loop.options import Options

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("proof_in_this_process")]


@pytest.fixture
def run(tiny_domain: DomainSpec, workspace: Path) -> Any:
    def call(spec: DomainSpec = tiny_domain, observer: Any = lambda event: None, **flags: Any) -> Any:
        options = Options(**{"generator": "scripted:numbered", **flags})
        return optimize(spec, options, workspace=workspace, runs=workspace / "runs", observer=observer)

    return call


def failures(report: Any) -> dict[str, str]:
    return {failure["lever"]: failure["kind"] for failure in report["failures"]}


def change_expert(spec: DomainSpec, number: int, **values: Any) -> DomainSpec:
    experts = list(spec.experts)
    experts[number] = experts[number].model_copy(update=values)
    return spec.model_copy(update={"experts": tuple(experts)})


def has_model(workspace: Path, report: Any) -> bool:
    return (workspace / "runs" / report["run"] / "model" / "modules.json").is_file()


def test_an_llm_that_is_gone_costs_what_it_would_have_written(run: Any, workspace: Path) -> None:
    report = run(generator="scripted:gone")
    assert failures(report) == {"written negatives": "llm", "instruction reflections": "llm"}
    assert report["state"] == "finished"
    assert {"expert plain", "expert hard", "merged"} <= set(report["rows"])
    assert has_model(workspace, report)
    recorded = read_jsonl(workspace / "runs" / report["run"] / "ledger.jsonl")
    assert {entry["lever"] for entry in recorded if entry["event"] == "failure"} == set(failures(report))
    merges = sum(entry["event"] == "merge" for entry in recorded)
    instructions = sum(
        int(entry["text"].split(" instructions tried")[0].split()[-1])
        for entry in recorded
        if entry["event"] == "decision" and entry["lever"] == "instruction"
    )
    assert report["gate"]["considered"] == instructions + merges + 1, "the second variant of expert hard was probed"


@pytest.mark.parametrize(
    ("program", "reason"),
    [("import nowhere_to_be_found\n", "nowhere_to_be_found"), ("def build(:\n", "invalid syntax")],
)
def test_a_broken_program_costs_its_lever(run: Any, workspace: Path, program: str, reason: str) -> None:
    (workspace / "programs" / "hard_negatives.py").write_text(program)
    report = run()
    assert failures(report) == {"written negatives": "error"}
    assert reason in report["failures"][0]["reason"]
    assert "hard_negatives.py" in report["failures"][0]["reason"]
    assert has_model(workspace, report)


def test_an_expert_whose_check_fails_is_left_out_and_the_others_go_on(
    run: Any, tiny_domain: DomainSpec, workspace: Path
) -> None:
    # A learning rate of nearly nothing leaves the vectors as they were.
    report = run(change_expert(tiny_domain, 1, learning_rate=1e-30))
    assert failures(report) == {"probe FT of expert hard": "check", "probe FT+SHN of expert hard": "check"}
    assert any("expert hard skipped: every probe of it failed" in warning for warning in report["warnings"])
    assert "expert plain" in report["rows"]
    assert "expert hard" not in report["rows"]
    assert has_model(workspace, report)


@pytest.mark.parametrize(
    ("probe_steps", "fails_with_negatives", "lost"),
    [(4, False, "probe FT of expert hard"), (0, True, "expert hard FT+SHN")],
)
def test_a_variant_that_fails_costs_itself_and_another_is_trained(
    run: Any,
    tiny_domain: DomainSpec,
    monkeypatch: pytest.MonkeyPatch,
    probe_steps: int,
    fails_with_negatives: bool,
    lost: str,
) -> None:
    from stm_agent.errors import CheckFailed
    from stm_agent.train import expert as module

    whole = module.train_expert

    def fail_one(spec: Any, pairs: Any, negatives: Any, **kwargs: Any) -> Any:
        if spec.name == "hard" and bool(negatives) == fails_with_negatives:
            raise CheckFailed("loss-falls", 1.0, "this variant fails")
        return whole(spec, pairs, negatives, **kwargs)

    monkeypatch.setattr(module, "train_expert", fail_one)
    loop = tiny_domain.loop.model_copy(update={"probe_steps": probe_steps})
    report = run(tiny_domain.model_copy(update={"loop": loop}))
    assert failures(report) == {lost: "check"}
    assert "expert hard" in report["rows"]


def test_memory_that_runs_out_halves_the_batch_once(
    run: Any, tiny_domain: DomainSpec, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stm_agent.train import expert as module

    whole = module.train_expert
    models: list[weakref.ref[torch.Tensor]] = []

    def short_of_memory(spec: Any, *args: Any, **kwargs: Any) -> Any:
        if (spec.batch_size or kwargs["train"].batch_size) > 4:
            model = torch.zeros(8)
            models.append(weakref.ref(model))
            with memory_errors("training"):
                torch.empty(1 << 55)
        if any(model() is not None for model in models):
            pytest.fail("the model of the failed training is still in memory")
        return whole(spec, *args, **kwargs)

    monkeypatch.setattr(module, "train_expert", short_of_memory)
    report = run()
    assert models
    assert report["failures"] == []
    assert any("halved from 8 to 4 pairs" in warning for warning in report["warnings"])
    assert "expert plain" in report["rows"]


def test_memory_that_runs_out_in_any_stage_is_one_error(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from stm_agent.merge.export_job import ExportJob

    monkeypatch.setattr(ExportJob, "build", lambda self, folder: torch.empty(1 << 55))
    with pytest.raises(OutOfMemory, match="while running stage export"):
        run()


def test_too_few_pairs_for_a_batch_end_in_the_backbone_not_in_a_crash(
    run: Any, tiny_domain: DomainSpec, workspace: Path
) -> None:
    train = tiny_domain.train.model_copy(update={"batch_size": 10_000})
    report = run(tiny_domain.model_copy(update={"train": train}))
    assert report["failures"] == []
    assert report["model_label"] == "backbone"
    assert any("no merge: no expert was trained" in warning for warning in report["warnings"])
    assert has_model(workspace, report)


def test_minutes_that_are_spent_skip_every_lever_and_a_raised_budget_goes_on(run: Any, workspace: Path) -> None:
    report = run(budget_minutes=0.0)
    assert set(failures(report).values()) == {"budget"}
    assert report["model_label"] == "backbone"
    assert has_model(workspace, report)
    assert run(budget_minutes=0.0) == report, "the same budget gives the same answer"
    more = run(budget_minutes=60.0)
    assert more["run"] == report["run"]
    assert more["failures"] == []
    assert "expert hard" in more["rows"]
    # The first opening was for the backbone; both are on record.
    assert more["test_openings"] == 1 + (more["model_label"] != "backbone")


def stopper(stage: str) -> Any:
    def observer(event: Any) -> None:
        if event["kind"] == "stage" and event["text"].startswith(stage):
            os.kill(os.getpid(), signal.SIGINT)

    return observer


@pytest.mark.parametrize("stage", ["trying", "searching merge weights"])
def test_ctrl_c_ends_at_a_safe_point_with_the_best_model_and_the_same_command_resumes(
    run: Any, workspace: Path, stage: str
) -> None:
    with pytest.raises(StopRequested, match=r"stopped by SIGINT; the best model so far is in .*, the same command"):
        run(observer=stopper(stage))
    (folder,) = (path.parent for path in (workspace / "runs").glob("*/run.json"))
    stopped = read_json(folder / "report.json")
    assert (stopped["state"], stopped["rows"]) == ("stopped", {})
    assert stopped["test_openings"] == 0
    trained = [entry["name"] for entry in read_jsonl(folder / "ledger.jsonl") if entry["event"] == "expert"]
    assert stopped["model_label"].startswith("expert") == bool(trained), "an expert of the stopped round is the best"
    assert (folder / "model" / "modules.json").is_file()
    if trained:
        resumed = run()
        assert (resumed["state"], resumed["run"]) == ("finished", folder.name)


def test_a_stop_file_stops_a_run(run: Any, workspace: Path) -> None:
    def observer(event: Any) -> None:
        if event["kind"] == "stage" and event["text"].startswith("training expert plain"):
            (folder,) = (path.parent for path in (workspace / "runs").glob("*/run.json"))
            (folder / "stop").write_text("")

    with pytest.raises(StopRequested, match="stm-agent runs stop"):
        run(observer=observer)


class Killed(BaseException):
    """As a kill: nothing in the engine may catch it."""


def test_a_resume_after_the_minutes_are_spent_throws_no_finished_work_away(run: Any, workspace: Path) -> None:
    def killer(event: Any) -> None:
        if event["kind"] == "stage" and event["name"] == "test":
            raise Killed

    with pytest.raises(Killed):
        run(observer=killer, budget_minutes=60.0)
    (clock,) = (workspace / "runs").glob("*/clock")
    (clock / "1-aaaa.json").write_text('{"seconds": 36000}')
    report = run(budget_minutes=60.0)
    assert report["failures"] == []
    assert "expert hard" in report["rows"]


def test_a_stop_of_a_continued_run_keeps_the_finished_report_and_model(run: Any, workspace: Path) -> None:
    report = run(budget_minutes=0.0)
    folder = workspace / "runs" / report["run"]
    with pytest.raises(StopRequested, match="the model of the finished run stays"):
        run(budget_minutes=60.0, observer=stopper("training expert plain"))
    assert read_json(folder / "report.json") == report
    assert has_model(workspace, report)


def test_a_model_that_cannot_be_exported_leaves_the_backbone(
    run: Any, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stm_agent.errors import CheckFailed
    from stm_agent.merge import export as module

    whole = module.export_merged

    def refuse_merges(model: Any, delta: Any, *args: Any, **kwargs: Any) -> None:
        if delta is not None:
            raise CheckFailed("finite-weights", 1.0, "the merge has NaN weights; look at its experts")
        whole(model, delta, *args, **kwargs)

    monkeypatch.setattr(module, "export_merged", refuse_merges)
    report = run()
    assert failures(report) == {"export": "check"}
    assert report["model_label"] == "backbone"
    assert has_model(workspace, report)


def test_a_raised_budget_goes_on_with_what_is_left_of_alpha(run: Any, tiny_domain: DomainSpec, workspace: Path) -> None:
    spec = tiny_domain.model_copy(update={"merge": tiny_domain.merge.model_copy(update={"variants": True})})
    report = run(spec, budget_usd=0.0, price_in=1.0, price_out=1.0)
    assert "budget" in failures(report).values()
    assert report["gate"]["looks"]
    more = run(spec, budget_usd=10.0, price_in=1.0, price_out=1.0)
    assert more["run"] == report["run"]
    assert more["failures"] == []
    assert more["gate"]["looks"] > report["gate"]["looks"], "the models differ, so it was tested again"
    assert report["gate"]["alpha_spent"] < more["gate"]["alpha_spent"] <= 0.8 * more["gate"]["alpha"] + 1e-9
    spent = [
        entry["gate"]["spent"]
        for entry in read_jsonl(workspace / "runs" / report["run"] / "ledger.jsonl")
        if entry["event"] == "look"
    ]
    assert spent == sorted(spent)


def test_a_run_that_confirms_nothing_says_what_would_help(run: Any, tiny_domain: DomainSpec) -> None:
    # Vectors that training leaves as they were are no expert, so nothing can be better than the start.
    spec = change_expert(change_expert(tiny_domain, 0, learning_rate=1e-30), 1, learning_rate=1e-30)
    lines = [line for line in run(spec)["warnings"] if "the start is written as the model" in line]
    assert len(lines) == 1
    for way in ("what would help", "more dev queries", "more judged pairs to train on", "what the lost levers name"):
        assert way in lines[0]


@pytest.mark.parametrize(
    ("minutes", "lost", "way"),
    [
        (None, [], ""),
        (30.0, [], "more minutes (another run with more steps"),
        (30.0, ["budget"], "a higher budget (levers were lost to it)"),
    ],
)
def test_minutes_help_only_a_run_that_had_a_limit(minutes: float | None, lost: list[str], way: str) -> None:
    context = finished(minutes, lost)
    line = advice(context)
    assert "the 60 that gains are accepted on show none below about 0.030" in line
    assert way in line
    assert ("minutes" in line) == way.startswith("more minutes")
    assert "--generator" not in line, "no expert learns from written queries"


@pytest.mark.parametrize("sources", [["written", "sentences"], ["train", "written"]])
def test_a_stronger_generator_helps_where_experts_learn_from_written_queries(sources: list[str]) -> None:
    line = advice(finished(30.0, [], sources))
    assert "a stronger --generator (experts learn from queries that embedded:smollm2-135m writes)" in line


def finished(minutes: float | None, lost: list[str], sources: Sequence[str] = ("train",)) -> Any:
    return SimpleNamespace(
        spec=SimpleNamespace(experts=[SimpleNamespace(sources=["train"]), SimpleNamespace(sources=sources)]),
        generator=SimpleNamespace(options=SimpleNamespace(model="embedded:smollm2-135m")),
        gate=SimpleNamespace(halves=SimpleNamespace(accept=range(60)), smallest_gain=lambda: 0.03),
        data=SimpleNamespace(sources={"train": range(5000)}),
        failures=[SimpleNamespace(kind=kind) for kind in lost],
        minutes=minutes,
        run=SimpleNamespace(identity={"flags": {"minutes": minutes}}),
    )
