"""A folder needs no choices: start, length and experts follow from the data, the machine and the minutes."""

from __future__ import annotations

import dataclasses
import re
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stm_agent.domain import starts
from stm_agent.domain.data import DomainData, Pair
from stm_agent.domain.load import domain_of_collection
from stm_agent.domain.sources import judged_domain_data
from stm_agent.domain.spec import BackboneSpec, DomainSpec
from stm_agent.domain.starts import AUTO_STARTS, GPU_STARTS
from stm_agent.errors import ConfigError, StopRequested
from stm_agent.evaluate.bm25 import Bm25Index
from stm_agent.files import read_json, write_json
from stm_agent.inspect.front import pick, read_front
from stm_agent.loop import data as data_lever
from stm_agent.loop import optimize as loop_optimize
from stm_agent.loop import planning
from stm_agent.loop.advice import minutes_decide
from stm_agent.loop.context import RunContext
from stm_agent.loop.estimate import CALL_SECONDS
from stm_agent.loop.export import _command
from stm_agent.loop.failures import MINUTES, Failure
from stm_agent.loop.optimize import optimize
from stm_agent.loop.options import PLANNED_MINUTES, Options
from stm_agent.loop.plan import plan
from stm_agent.loop.recipes import NO_TIME_TO_WRITE, plan_experts
from stm_agent.loop.report import _point_taken
from stm_agent.loop.round_trip_probe import ProbedPairs
from stm_agent.loop.run_plan import RunPlan, Speed
from stm_agent.loop.starting import fit_to_start, race_seconds, with_starts
from stm_agent.loop.time_table import QUERY_EXPERTS, USABLE, time_table
from stm_agent.loop.useful_training import FEWEST_STEPS
from stm_agent.machine import Machine
from stm_agent.merge.adapted import AdaptedModel
from stm_agent.merge.recipe import MethodOptions
from stm_agent.testing.pico import pico_decoder
from stm_agent.testing.tiny import tiny_beir, tiny_collection

FAST = Speed(passages=1000.0, queries=5000.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_beir(tmp_path / "My data (v2)")


@pytest.fixture
def planned(folder: Path, tmp_path: Path) -> DomainSpec:
    """The domain of a folder, with two pico decoders in the race."""
    spec = domain_of_collection(folder)
    starts = [
        BackboneSpec(model=str(pico_decoder(tmp_path / name)), max_length=length)
        for name, length in (("a", 32), ("b", 8))
    ]
    return spec.model_copy(
        update={
            "backbone": starts[0],
            "starts": (starts[1],),
            "baseline": None,
            "general": (),
            "train": spec.train.model_copy(update={"batch_size": 8, "learning_rate": 0.01}),
            "loop": spec.loop.model_copy(update={"bootstrap": 300}),
        }
    )


def test_a_folder_leaves_start_and_experts_open(folder: Path) -> None:
    spec = domain_of_collection(folder)
    assert spec.planned
    assert (spec.backbone, *spec.starts) == AUTO_STARTS


def test_with_a_gpu_models_of_the_hub_race_too(
    folder: Path, planned: DomainSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(cores=8, memory_gib=64.0, gpu="NVIDIA H200")
    monkeypatch.setattr(starts, "this_machine", lambda: machine)
    spec = domain_of_collection(folder)
    assert (spec.backbone, *spec.starts) == (*AUTO_STARTS, *GPU_STARTS)
    assert with_starts(planned, ("auto",)).starts[-2:] == GPU_STARTS


def test_auto_in_a_file_stands_for_the_starts_within_reach(folder: Path) -> None:
    values = domain_of_collection(folder).model_dump(mode="json") | {"backbone": "auto"}
    values.pop("starts")
    spec = DomainSpec.model_validate(values)
    assert (spec.backbone, *spec.starts) == AUTO_STARTS


def test_both_sides_are_trained_first_and_several_experts_of_queries_after_them(planned: DomainSpec) -> None:
    spec, reasons = plan_experts(planned, judged_domain_data(tiny_collection()), minutes=30, speed=FAST)
    first, *queries = spec.experts
    assert (first.side, len(queries)) == ("both", QUERY_EXPERTS)
    assert all(expert.side == "query" and expert.steps >= FEWEST_STEPS for expert in queries)
    assert [expert.bag for expert in queries] == [False, True, True, True], "one expert sees all pairs"
    assert any("both sides are trained for" in reason for reason in reasons)


def test_on_a_slow_machine_the_side_of_queries_is_trained_alone(planned: DomainSpec) -> None:
    slow = Speed(passages=1.0, queries=200.0)
    spec, reasons = plan_experts(planned, judged_domain_data(tiny_collection()), minutes=6, speed=slow)
    assert {expert.side for expert in spec.experts} == {"query"}
    assert any("only the side of queries" in reason for reason in reasons)


def test_minutes_that_are_too_few_are_refused_with_the_number_that_is_enough(planned: DomainSpec) -> None:
    data, slow = judged_domain_data(tiny_collection()), Speed(passages=0.5, queries=5.0)
    with pytest.raises(ConfigError, match=r"1 minutes are too few.*--budget-minutes (\d+) or more") as refused:
        plan_experts(planned, data, minutes=1, speed=slow)
    enough = float(str(refused.value).split("--budget-minutes ")[1].split()[0])
    assert plan_experts(planned, data, minutes=enough, speed=slow)[0].experts


def test_passages_as_short_as_queries_still_get_a_plan_in_few_minutes(planned: DomainSpec) -> None:
    data, even = judged_domain_data(tiny_collection()), Speed(passages=5.0, queries=5.0)
    with pytest.raises(ConfigError, match=r"--budget-minutes \d+ or more") as refused:
        plan_experts(planned, data, minutes=1, speed=even)
    least = int(str(refused.value).split("--budget-minutes ")[1].split()[0])
    assert all(_fits(planned, data, minutes, even) for minutes in range(least, 3 * least)), "more minutes always fit"


def _fits(spec: DomainSpec, data: DomainData, minutes: float, speed: Speed, spent: float = 0.0) -> bool:
    try:
        return bool(plan_experts(spec, data, minutes=minutes, speed=speed, spent=spent)[0].experts)
    except ConfigError:
        return False


def test_minutes_that_are_too_few_for_every_start_are_refused_before_the_race(
    planned: DomainSpec, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "measured_speed", lambda start, data: Speed(passages=0.5, queries=5.0))
    monkeypatch.setattr(planning, "race_starts", lambda context: pytest.fail("the race began"))
    with pytest.raises(ConfigError, match="1 minutes are too few"):
        run(planned, workspace, budget_minutes=1)


def test_one_start_that_is_fast_enough_lets_the_race_begin(
    planned: DomainSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Speed(passages=0.5, queries=5.0)
    monkeypatch.setattr(planning, "measured_speed", lambda start, data: slow if start == planned.backbone else FAST)
    data = judged_domain_data(tiny_collection())
    planning.refuse_too_few_minutes(planned, data, 4, {})
    # The slow start takes two minutes of the race alone.
    with pytest.raises(ConfigError, match=r"1 minutes are too few.*, start race 2\.0"):
        planning.refuse_too_few_minutes(planned, data, 1, {})


def test_a_start_that_was_lost_in_the_race_is_reported_by_a_resumed_run_too(
    planned: DomainSpec, tmp_path: Path
) -> None:
    lost = Failure("start nowhere", "error", "no such model")
    write_json(tmp_path / planning.PLAN, RunPlan(spec=planned, failures=(lost,)).to_json())
    context: Any = SimpleNamespace(
        spec=planned, own_backbone=planned.backbone, run=SimpleNamespace(folder=tmp_path), failures=[]
    )
    planning.settle_plan(context)
    assert context.failures == [lost]


def test_minutes_that_a_slow_race_took_are_not_planned_again(planned: DomainSpec) -> None:
    data, slow = judged_domain_data(tiny_collection()), Speed(passages=1.0, queries=200.0)
    assert _fits(planned, data, 8, slow)
    with pytest.raises(ConfigError, match=r"\(5.0 min have passed\)"):
        plan_experts(planned, data, minutes=8, speed=slow, spent=5.0)


def test_without_train_pairs_the_corpus_and_the_generator_teach(planned: DomainSpec) -> None:
    spec, _ = plan_experts(planned, unlabelled(), minutes=30, speed=FAST)
    assert {source for expert in spec.experts for source in expert.sources} == {"written", "sentences"}


def test_few_pairs_teach_beside_what_is_written_and_no_source_is_dropped(planned: DomainSpec) -> None:
    data = judged_domain_data(tiny_collection())
    pairs = data.sources["train"]

    def learnt_from(sources: dict[str, tuple[Pair, ...]]) -> tuple[tuple[str, ...], str]:
        spec, reasons = plan_experts(planned, dataclasses.replace(data, sources=sources), minutes=30, speed=FAST)
        return spec.experts[0].sources, next(line for line in reasons if line.startswith("experts learn from"))

    few, line = learnt_from({"train": pairs[:15], "none": ()})
    assert few == ("train", "written", "sentences")
    assert line == f"experts learn from train, written, sentences: {15 + len(data.pool)} pairs and passages"
    assert learnt_from({"train": pairs[:15], "notes": pairs[15:16]}) == (
        ("train", "notes"),
        "experts learn from train, notes: 16 pairs",
    )


def test_a_plan_of_judged_pairs_says_that_nothing_is_written(planned: DomainSpec) -> None:
    _, reasons = plan_experts(planned, judged_domain_data(tiny_collection()), minutes=30, speed=FAST)
    assert any("--policy gain-per-cost also tries written queries" in reason for reason in reasons)


@pytest.mark.parametrize(
    ("queries", "asked_for", "kept", "said"),
    [
        (30, False, 30, "BM25 finds the passage of 100% of the 30 written queries among its first 10"),
        (30, True, 30, None),
        (10, False, 0, "at least 20 are needed, so experts learn without them"),
        (-30, False, 0, "BM25 finds the passage of 0% of the 30 written queries"),
    ],
)
def test_written_queries_that_miss_their_passages_are_not_learnt(
    planned: DomainSpec,
    monkeypatch: pytest.MonkeyPatch,
    queries: int,
    asked_for: bool,
    kept: int,
    said: str | None,
) -> None:
    texts = {f"d{number}": f"word{number} of passage" for number in range(40)}
    # A negative number: every query asks for another passage.
    shift = 1 if queries < 0 else 0
    written = tuple(
        Pair(f"w{number}", f"word{number + shift}", texts[f"d{number}"], "written", f"g{number}")
        for number in range(abs(queries))
    )
    lines: list[str] = []
    context: Any = SimpleNamespace(
        spec=SimpleNamespace(
            experts=[SimpleNamespace(sources=("written",))], synthesize=SimpleNamespace(queries=abs(queries))
        ),
        plan=RunPlan(spec=planned),
        run=SimpleNamespace(identity={"domain": {"experts": [1] if asked_for else []}}),
        data=None,
        documents=texts,
        lexical=Bm25Index(texts),
        clock=SimpleNamespace(working=nullcontext),
        has_time=lambda lever: True,
        note=lambda name, text: lines.append(text),
        warn=lambda name, text: lines.append(text),
    )
    monkeypatch.setattr(data_lever, "searched_pool", lambda spec, data: texts)
    monkeypatch.setattr(data_lever, "more_written_queries", lambda *arguments: ProbedPairs(written))
    assert len(data_lever._written_queries(context, {}).pairs) == kept
    assert said is None if not lines else said in lines[0]


def unlabelled() -> DomainData:
    return dataclasses.replace(judged_domain_data(tiny_collection()), sources={})


def test_calls_for_written_queries_and_the_race_are_planned_and_leave_fewer_steps(planned: DomainSpec) -> None:
    data, slow = unlabelled(), Speed(passages=1.0, queries=10.0)
    writes, silent = (
        planned.model_copy(update={"synthesize": planned.synthesize.model_copy(update={"queries": count})})
        for count in (60, 0)
    )
    cases = ((silent, 0.0), (writes, 0.0), (writes, 60.0))
    tables = [time_table(spec, data, 20, slow, race=race) for spec, race in cases]
    assert [(table.writing, table.race) for table in tables] == [
        (0, 0),
        (60 * CALL_SECONDS, 0),
        (60 * CALL_SECONDS, 60),
    ]
    assert [tables[0].left - table.left for table in tables] == pytest.approx(
        [0, 60 * CALL_SECONDS, 60 + 60 * CALL_SECONDS]
    )
    plans = [plan_experts(spec, data, minutes=20, speed=slow, race=race) for spec, race in cases]
    most, fewer, fewest = (sum(expert.steps for expert in spec.experts) for spec, _ in plans)
    assert most > fewer > fewest
    line = plans[-1][1][-1]
    assert line.startswith("minutes, about: start race 1.0, writing queries 2.0, encoding the corpus 1.0, ")
    totals = [float(reasons[-1].rpartition("; ")[2].split()[0]) for _, reasons in plans]
    assert totals == pytest.approx([20 * USABLE] * 3, abs=0.3), "the whole of what is planned, and no more"


def test_minutes_that_hold_no_calls_still_train_on_sentences(planned: DomainSpec) -> None:
    data, fast = unlabelled(), Speed(passages=100.0, queries=1000.0)
    writes = planned.model_copy(update={"synthesize": planned.synthesize.model_copy(update={"queries": 192})})
    assert len(data.pool) * CALL_SECONDS > 1.5 * 60, "a call for each passage"
    spec, reasons = plan_experts(writes, data, minutes=1.5, speed=fast)
    assert {source for expert in spec.experts for source in expert.sources} == {"sentences"}
    assert reasons[0] == NO_TIME_TO_WRITE
    roomy, reasons = plan_experts(writes, data, minutes=30, speed=fast)
    assert "written" in roomy.experts[0].sources
    assert NO_TIME_TO_WRITE not in reasons


def test_judged_pairs_need_no_minutes_for_calls(planned: DomainSpec) -> None:
    assert time_table(planned, judged_domain_data(tiny_collection()), 30, FAST).writing == 0


def test_minutes_that_have_passed_are_in_the_line_of_the_minutes(planned: DomainSpec) -> None:
    _, reasons = plan_experts(planned, judged_domain_data(tiny_collection()), minutes=30, speed=FAST, spent=2.0)
    assert reasons[-1].startswith("minutes, about: passed already 2.0, ")


def test_the_seconds_of_a_race_are_those_of_all_its_starts() -> None:
    data = judged_domain_data(tiny_collection())
    dev = len(data.collection.splits["dev"].queries)
    one = race_seconds(data, [Speed(passages=10.0, queries=20.0)])
    assert one == pytest.approx(60 / 10 + 0.4 * dev / 20)
    assert race_seconds(data, [Speed(passages=10.0, queries=20.0)] * 2) == pytest.approx(2 * one)
    assert race_seconds(data, []) == 0


def test_a_named_start_takes_the_place_of_the_backbone(planned: DomainSpec, tmp_path: Path) -> None:
    other = str(pico_decoder(tmp_path / "other"))
    spec = with_starts(planned, (other,))
    assert (spec.backbone.model, spec.starts) == (other, ())
    assert with_starts(planned, ("auto",)).backbone == AUTO_STARTS[0]
    assert planned.backbone in with_starts(planned, ("auto",)).starts
    assert with_starts(planned, ()) == planned


def test_learning_rates_of_a_raw_decoder_are_lowered_for_a_ready_encoder(
    tmp_path: Path, tiny_domain: DomainSpec
) -> None:
    from stm_agent.backbone.load import load_backbone

    ready = tmp_path / "ready"
    load_backbone(tiny_domain.backbone, packed=False).save(str(ready))
    started = with_starts(tiny_domain, (str(ready),))
    spec = fit_to_start(started, started.backbone, tiny_domain.backbone)
    assert spec.train.learning_rate == pytest.approx(tiny_domain.train.learning_rate / 4)
    assert {expert.teacher_weight for expert in spec.experts} == {0.0}
    same = fit_to_start(started, tiny_domain.backbone, tiny_domain.backbone)
    assert same.train == tiny_domain.train
    planned = domain_of_collection(tiny_beir(tmp_path / "folder"))
    raw_first = with_starts(planned, (tiny_domain.backbone.model, str(ready)))
    assert fit_to_start(raw_first, started.backbone, planned.backbone).train == planned.train, "these are for it"


@pytest.mark.usefixtures("proof_in_this_process")
def test_a_ready_encoder_that_a_user_names_is_trained_gently(tiny_domain: DomainSpec, workspace: Path) -> None:
    from stm_agent.backbone.load import load_backbone

    ready = workspace / "ready"
    load_backbone(tiny_domain.backbone, packed=False).save(str(ready))
    report = run(tiny_domain, workspace, starts=(str(ready),))
    spec = read_json(workspace / "runs" / report["run"] / "plan.json")["spec"]
    assert spec["train"]["learning_rate"] == pytest.approx(tiny_domain.train.learning_rate / 4)


def test_the_plan_is_printed_before_anything_is_spent(planned: DomainSpec, workspace: Path) -> None:
    steps = plan(planned, workspace, Options(generator="scripted:numbered", budget_minutes=30))
    text = "\n".join(step["what"] for step in steps)
    assert {"dollars", "disk", "memory", "dev"} <= {step["stage"] for step in steps}
    assert re.search(r"minutes, about: start race \d+\.\d, encoding the corpus", text)
    assert "passages and" in text and "a second" in text
    assert "expert queries-1" in text
    assert not any(path.is_dir() for path in (workspace / "runs").iterdir()), "nothing was begun"


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("proof_in_this_process")
def test_a_folder_becomes_a_model_with_two_sides(planned: DomainSpec, workspace: Path) -> None:
    report = run(planned, workspace, controls=True)
    assert [row["name"] for row in report["race"]] == ["BM25", planned.backbone.model, planned.starts[0].model]
    assert {"BM25", "base", "merged", "merged + BM25", "all-in-one"} <= set(report["rows"])
    assert report["rows"]["merged"]["ndcg_at_10"] > report["rows"]["base"]["ndcg_at_10"]
    folder = workspace / "runs" / report["run"]
    assert read_json(folder / "plan.json")["reasons"] == report["plan"]
    assert 0 <= read_json(folder / "fusion.json")["weight"] <= 1
    names = {line["name"] for line in map_ledger(folder, "expert")}
    assert {f"queries-{number}" for number in range(1, QUERY_EXPERTS + 1)} <= names
    (control,) = map_ledger(folder, "control")
    experts = read_json(folder / "plan.json")["spec"]["experts"]
    assert control["steps"] == sum(expert["steps"] for expert in experts), "as many steps, of both sides and of queries"
    points = read_front(folder)
    assert list(points["experts"])[-1] == "incumbent", "in the order of the weights, not of the alphabet"
    taken = {name: weight for name, weight in report["weights"].items() if weight}
    if points["taken"]:
        done = pick(folder, points["taken"], workspace / "exported")
        assert {name: weight for name, weight in done["weights"].items() if weight} == taken
    # A point that was not exported has a card of its own.
    write_json(folder / "report.json", {**read_json(folder / "report.json"), "front_taken": None})
    done = pick(folder, 1, workspace / "picked")
    card = (workspace / "picked" / "README.md").read_text()
    assert all(f"| {name} | {weight:g} |" in card for name, weight in done["weights"].items())
    again = run(planned, workspace, controls=True, fresh=True)
    assert again["rows"] == report["rows"], "the same seed gives the same model"


def test_the_exported_point_of_a_front_of_queries_is_known_by_the_method_of_that_side(tmp_path: Path) -> None:
    ties, backbone = MethodOptions(method="ties"), BackboneSpec(model="nowhere")
    queries = AdaptedModel(backbone, (tmp_path / "a", tmp_path / "b"), (0.4, 0.6), ties)
    best: Any = SimpleNamespace(model=AdaptedModel(backbone, queries=queries), weights={"a": 0.4, "b": 0.6})
    points = [{"weights": [0.4, 0.6], "method": method.model_dump(mode="json")} for method in (MethodOptions(), ties)]
    state: Any = SimpleNamespace(
        merged=(SimpleNamespace(name="a"), SimpleNamespace(name="b")), merge=SimpleNamespace(front=points)
    )
    assert _point_taken(state, best) == 2


def test_the_start_race_of_a_dry_run_takes_the_seconds_of_every_start(
    planned: DomainSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, slow = judged_domain_data(tiny_collection()), Speed(passages=1.0, queries=20.0)
    monkeypatch.setattr(planning, "measured_speed", lambda start, data: FAST if start == planned.backbone else slow)
    line = planning.dry_plan(planned, data, minutes=30).reasons[-1]
    assert "start race 1.0," in line
    alone = planning.dry_plan(planned.model_copy(update={"starts": ()}), data, minutes=30).reasons[-1]
    assert "start race" not in alone, "one start alone does not race"


@pytest.mark.parametrize(("experts", "ceiling"), [(False, PLANNED_MINUTES), (True, None)])
def test_only_a_run_that_plans_its_experts_has_a_ceiling_that_nobody_gave(
    planned: DomainSpec, tiny_domain: DomainSpec, experts: bool, ceiling: float | None
) -> None:
    spec = tiny_domain if experts else planned
    assert Options().with_ceiling(planned=spec.planned).budget_minutes == ceiling
    assert Options(budget_minutes=0.0).with_ceiling(planned=spec.planned).budget_minutes == 0.0


def test_a_folder_without_minutes_is_the_run_of_30_minutes_and_knows_what_is_left(
    planned: DomainSpec, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contexts: list[RunContext] = []

    def stop_here(context: RunContext) -> None:
        contexts.append(context)
        assert 0 < context.seconds_left() <= 0.9 * 60 * PLANNED_MINUTES
        with monkeypatch.context() as late:
            late.setattr(context.clock, "seconds", lambda: 0.91 * 60 * PLANNED_MINUTES)
            assert not context.has_time("expert both-sides"), "a machine that became slower loses the lever"
        raise StopRequested("far enough")

    monkeypatch.setattr(loop_optimize, "settle_plan", stop_here)
    for flags in ({}, {"budget_minutes": PLANNED_MINUTES}):
        with pytest.raises(StopRequested):
            run(planned, workspace, **flags)
    first, second = contexts
    assert first.run.identity == second.run.identity
    assert first.minutes == PLANNED_MINUTES
    assert [failure.kind for failure in first.failures] == [MINUTES], "and more minutes are another run"
    assert first.generator.minutes == PLANNED_MINUTES
    assert minutes_decide(first.run.identity), "more minutes make another run"


def test_the_command_on_the_card_has_the_minutes_that_decide_the_run() -> None:
    def command(minutes: float | None) -> str:
        identity = {"domain": {"collection": {"path": "my/beir"}}, "flags": {"minutes": minutes}}
        context: Any = SimpleNamespace(run=SimpleNamespace(identity=identity), plan=object(), seed=0, minutes=60.0)
        return _command(context)

    assert command(12.0) == "stm-agent optimize --collection beir --seed 0 --budget-minutes 12"
    assert command(None) == "stm-agent optimize --collection beir --seed 0", "of listed experts they decide nothing"


def run(spec: DomainSpec, workspace: Path, **flags: Any) -> dict[str, Any]:
    options = Options(generator="scripted:numbered", **flags)
    return optimize(spec, options, workspace=workspace, runs=workspace / "runs")


def map_ledger(folder: Path, event: str) -> list[dict[str, Any]]:
    from stm_agent.files import read_jsonl

    return [line for line in read_jsonl(folder / "ledger.jsonl") if line["event"] == event]
