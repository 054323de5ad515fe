"""A start that lost the race of the plan can be raced again, trained on, taken, and rolled back without a trace."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.spec import BackboneSpec, DomainSpec
from stm_agent.errors import ConfigError
from stm_agent.evaluate.metrics import Scores
from stm_agent.files import read_json, read_jsonl
from stm_agent.inspect.why import reason_lines, why
from stm_agent.loop import optimize as loop
from stm_agent.loop.actions.action import Action
from stm_agent.loop.actions.menu import offered, read_action
from stm_agent.loop.actions.merge import MergeExperts
from stm_agent.loop.actions.slice import AddExpert
from stm_agent.loop.actions.start import RaceStart, TrainOnStart
from stm_agent.loop.actions.training import TrainExpert
from stm_agent.loop.confirming import confirm
from stm_agent.loop.costs import Cost, Rates, Workload
from stm_agent.loop.history import Decision, credits
from stm_agent.loop.looks import Look
from stm_agent.loop.options import Options
from stm_agent.loop.other_starts import domain_on, on_start, other_starts, race_start
from stm_agent.loop.policies.answers import chosen, menu_text
from stm_agent.loop.policies.gain_per_cost import GainPerCost
from stm_agent.loop.policies.policy import Left, Offer, Situation
from stm_agent.loop.run_plan import RunPlan, StartScore
from stm_agent.loop.starting import fit_to_start
from stm_agent.loop.state import Expert, RatedModel, State
from stm_agent.loop.training_data import TrainingData
from stm_agent.merge.adapted import AdaptedModel
from stm_agent.merge.job import Rating
from stm_agent.testing.pico import pico_decoder


class Listed:
    """Decides what a list holds."""

    def __init__(self, actions: Sequence[Action]) -> None:
        self.actions = actions

    def choose(self, situation: Situation) -> Decision | None:
        number = len(situation.steps)
        return None if number == len(self.actions) else Decision(action=self.actions[number], reason="asked", by="test")


def rated(start: BackboneSpec, score: float, *adapters: Path) -> RatedModel:
    rating = Rating(Scores(score, 0.0, 0.0, {"q": score}), 0.5)
    for adapter in adapters:
        adapter.mkdir(parents=True, exist_ok=True)
    model = AdaptedModel(start, adapters, (1.0,) * len(adapters))
    return RatedModel(label="a model", model=model, instruction=Instruction(query_prompt=start.model), rating=rating)


def expert(name: str, model: RatedModel) -> Expert:
    return Expert(name=name, spec_name=name, variant="FT", folder=Path(name), rated=model, texts_per_second=1.0)


@pytest.fixture
def other(tmp_path: Path) -> str:
    """The path of a start that a planner cannot write as one word."""
    return str(pico_decoder(tmp_path / "another start: b", seed=1))


@pytest.fixture
def plan(tiny_domain: DomainSpec, other: str) -> RunPlan:
    raced = tiny_domain.model_copy(update={"starts": (BackboneSpec(model=other), BackboneSpec(model="lost"))})
    names = {"BM25": 0.2, tiny_domain.backbone.model: 0.4, other: 0.35}
    race = tuple(
        StartScore(name=name, ndcg_at_10=score, seconds_per_1000=None if name == "BM25" else 10 * score)
        for name, score in names.items()
    )
    return RunPlan(spec=fit_to_start(raced, raced.backbone, raced.backbone), race=race, raced=raced)


@pytest.fixture
def context(plan: RunPlan) -> Any:
    return SimpleNamespace(
        spec=plan.spec,
        plan=plan,
        own_backbone=plan.spec.backbone,
        run=SimpleNamespace(identity={}),
        _traits={"type": {"q": "question"}},
    )


def menu(context: Any, state: State, done: Sequence[str] = ()) -> dict[str, list[Action]]:
    kinds: dict[str, list[Action]] = {}
    for action in offered(context, state, done):
        kinds.setdefault(action.kind, []).append(action)
    return kinds


def test_a_plan_remembers_its_race_and_an_older_plan_offers_no_other_start(plan: RunPlan, other: str) -> None:
    assert [start.model for start in other_starts(RunPlan.from_json(plan.to_json()))] == [other]
    older = {name: value for name, value in plan.to_json().items() if name != "raced"}
    assert other_starts(RunPlan.from_json(older)) == other_starts(None) == ()


def test_a_start_is_raced_once_and_then_its_experts_can_be_trained(context: Any, other: str) -> None:
    state = State.start(rated(context.spec.backbone, 0.4))
    first = menu(context, state)
    assert [action.to_json()["model"] for action in first["race-start"]] == [other]
    assert "train-on-start" not in first
    raced = replace(state, starts=(rated(other_starts(context.plan)[0], 0.35),), training_data=TrainingData(), round=1)
    after = menu(context, raced)
    assert "race-start" not in after
    (train,) = after["train-on-start"]
    assert (train.to_json()["expert"], train.to_json()["model"]) == ("plain", other), "'hard' starts from 'plain'"
    done = (train.key(raced),)
    assert "train-on-start" not in menu(context, raced, done)
    assert read_action(train.to_json()) == train


def test_what_is_trained_and_merged_next_stands_on_the_start_of_the_incumbent(context: Any, tmp_path: Path) -> None:
    own, start = context.spec.backbone, other_starts(context.plan)[0]
    experts = (
        expert("plain", rated(own, 0.5, tmp_path / "a")),
        expert("hard", rated(own, 0.5, tmp_path / "b")),
        expert("plain", rated(start, 0.6, tmp_path / "c")),
    )
    before = replace(State.start(rated(own, 0.4)), experts=experts, training_data=TrainingData(), round=1)
    state = replace(before, starts=(rated(start, 0.35),)).taking(experts[2].rated)
    assert (before.backbone, state.backbone) == (own, start)
    assert "merge" in menu(context, before)
    after = menu(context, state)
    assert [merge.experts(state) for merge in after["merge"] if isinstance(merge, MergeExperts)] == [[experts[2]]]
    assert "train-on-start" not in after, "train-expert trains on it"
    assert [action.to_json()["expert"] for action in after["continue-training"]] == ["plain"]
    train = TrainExpert(expert="plain")
    moved = replace(state, provisional=replace(state.provisional, instruction=before.provisional.instruction))
    assert train.key(moved) != train.key(before)
    assert state.taking(before.provisional).backbone == own, "rolled back"


def test_a_start_is_trained_with_the_accepted_instruction_and_its_own_prompts(context: Any) -> None:
    own, start = context.spec.backbone, other_starts(context.plan)[0]
    state = replace(State.start(rated(own, 0.4)), starts=(rated(start, 0.35),))
    find = Instruction(query="Find it", origin="pool", query_prompt="of another model")
    beneath = on_start(replace(state, accepted=find), start.model)
    assert beneath.provisional.instruction == Instruction(query="Find it", origin="pool", query_prompt=start.model)
    assert beneath.backbone == domain_on(context, start).backbone == start
    with pytest.raises(ConfigError, match="start lost was not raced"):
        on_start(state, "lost")
    with pytest.raises(ConfigError, match="start lost did not race in this run; name it with --start"):
        race_start(context, state, "lost", 1)


def test_prices_follow_the_speed_that_a_start_had_in_the_race(context: Any, other: str) -> None:
    rates = Rates(passage=0.1, query=0.01, call=1.0, dollars=0.0)
    work = Workload(
        spec=context.spec,
        rates=rates,
        documents=1000,
        searched=500,
        queries=100,
        guard_passages=0,
        guard_queries=0,
        pool=1000,
        instructions=0,
        framings=0,
        race=context.plan.race,
    )
    state = State.start(rated(context.spec.backbone, 0.4))
    assert RaceStart(model=other).estimate(work, state).seconds == pytest.approx(51.0 * 0.35 / 0.4)
    assert RaceStart(model="lost").estimate(work, state) == work.scoring, "nothing is known of its speed"
    train = TrainOnStart(model=other, expert="plain").estimate(work, state).seconds
    assert train == pytest.approx(TrainExpert(expert="plain").estimate(work, state).seconds * 0.35 / 0.4)


def test_less_is_expected_of_a_start_the_further_it_is_behind(context: Any, other: str) -> None:
    policy, action = GainPerCost({}), RaceStart(model=other)

    def expected(state: State) -> float:
        situation: Any = SimpleNamespace(context=context, state=state, steps=())
        return policy.belief(action, situation).improvement

    state = State.start(rated(context.spec.backbone, 0.4))
    near = expected(replace(state, starts=(rated(BackboneSpec(model=other), 0.39),)))
    adapted = expected(state.taking(rated(context.spec.backbone, 0.5)))
    assert near > expected(state) > adapted


def test_a_race_is_credited_with_the_trainings_on_other_starts() -> None:
    raced = [("race-start", 0.0), ("train-expert", 0.03), ("train-on-start", 0.02)]
    assert credits(raced) == [0.02, 0.03, 0.02]
    assert credits(raced[:1]) == [None], "nothing is known before one is trained"
    assert credits([("race-start", 0.01)]) == [0.01]


def test_a_planner_can_copy_a_name_that_is_not_one_word(other: str) -> None:
    offers = (Offer(RaceStart(model=other), Cost(seconds=1.0)), Offer(RaceStart(model="a"), Cost(seconds=1.0)))
    for line, offer in zip(menu_text(offers).splitlines(), offers, strict=True):
        assert chosen(line, offers, Left()) == offer
        assert chosen(f"- {line.rpartition(': ')[0]}", offers, Left()) == offer
    assert chosen("race-start model=a: because", offers, Left()) == offers[1]


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("proof_in_this_process")
def test_a_run_takes_another_start_exports_it_and_repeats_it_and_rolls_it_back(
    tiny_domain: DomainSpec, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = BackboneSpec(model=str(pico_decoder(workspace / "other", hidden=48, seed=1)), max_length=32)
    plain = tiny_domain.experts[0].model_copy(update={"steps": 12})
    changes: dict[str, Any] = {"starts": (other,), "experts": (plain,)}
    changes["loop"] = tiny_domain.loop.model_copy(update={"probe_steps": 0, "bootstrap": 200})
    # The guard is the same collection, on which the two starts differ.
    changes["merge"] = tiny_domain.merge.model_copy(update={"forgetting_budget": 1.0})
    spec = tiny_domain.model_copy(update=changes)
    names = [tiny_domain.backbone.model, other.model]
    actions: list[Action] = []
    ended: list[State] = []

    def policy_of(options: Options, context: Any, rounds: int) -> tuple[Listed, list[Any]]:
        loser = next(name for name in names if name != context.spec.backbone.model)
        actions[:] = [
            RaceStart(model=loser),
            TrainOnStart(model=loser, expert="plain"),
            TrainExpert(expert="plain", start="incumbent", take=True),
            AddExpert.model_validate({"by": "type", "slice": "statement"}),
        ]
        return Listed(actions), []

    def confirming(context: Any, state: State) -> State:
        ended.append(state)
        return confirm(context, state)

    monkeypatch.setattr(loop, "policy_of", policy_of)
    monkeypatch.setattr(loop, "confirm", confirming)
    options = Options(generator="scripted:numbered", policy="random", controls=True)

    def run(fresh: bool = False) -> dict[str, Any]:
        flags = replace(options, fresh=fresh)
        report: Any = loop.optimize(spec, flags, workspace=workspace, runs=workspace / "runs")
        return report

    report = run()
    folder = workspace / "runs" / report["run"]
    loser = actions[0].to_json()["model"]
    (state,) = ended
    assert report["failures"] == []
    assert [start.model.backbone.model for start in state.starts] == [loser]
    rows = read_jsonl(folder / "ledger.jsonl")
    trained = [row for row in rows if row["event"] == "expert"]
    assert trained[0]["start"] == loser
    assert state.backbone.model == loser, "the expert on the other start was taken"
    assert "all-in-one" in report["rows"], "an expert for a slice has a control too"
    assert f"Backbone {loser}" in (folder / "model" / "README.md").read_text()
    assert report["rows"]["base"]["ndcg_at_10"] != report["rows"]["merged"]["ndcg_at_10"]
    text = "\n".join(reason_lines(why(folder)))
    assert f"stands on another start, {loser}" in text
    decided = [row["action"] for row in rows if row["event"] == "action"]
    (folder / "report.json").unlink()
    assert run()["rows"] == report["rows"], "a resumed run repeats it"
    assert [row["action"] for row in read_jsonl(folder / "ledger.jsonl") if row["event"] == "action"] == decided

    refused = Look(confirmed=False, reason="not confirmed")
    monkeypatch.setattr("stm_agent.loop.confirming.take_look", lambda context, state, *models, what: (refused, state))
    back = run(fresh=True)
    assert back["model_label"] == "backbone"
    assert back["rows"]["merged"]["ndcg_at_10"] == pytest.approx(back["rows"]["base"]["ndcg_at_10"], abs=1e-6)
    plan_file = workspace / "runs" / back["run"] / "plan.json"
    assert (
        f"The start as it is: {read_json(plan_file)['spec']['backbone']['model']}"
        in (workspace / "runs" / back["run"] / "model" / "README.md").read_text()
    )


def test_a_start_that_is_worse_in_general_is_not_trained_on(context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    decided: list[str] = []
    context.clock = SimpleNamespace(working=contextlib.nullcontext)
    context.timed = lambda name, text: contextlib.nullcontext()
    context.run.ledger = SimpleNamespace(record=lambda event, **values: None)
    context.decide = lambda lever, text, **values: decided.append(text)
    context.rate = lambda model, instruction: Rating(Scores(0.9, 0.0, 0.0, {"q": 0.9}), 0.1)
    monkeypatch.setattr(AdaptedModel, "open", lambda self: SimpleNamespace(model=SimpleNamespace(prompts={})))
    state = State.start(rated(context.spec.backbone, 0.4))
    assert race_start(context, state, other_starts(context.plan)[0].model, 1) == state
    assert "worse on the general tasks by more than the budget: 0.1000" in decided[0]
