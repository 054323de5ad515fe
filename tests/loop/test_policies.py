"""What each policy chooses from a menu, what a planner's answer may be, and when a search ends."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stm_agent.domain.spec import DomainSpec
from stm_agent.errors import BudgetExceeded, ConfigError, RunError
from stm_agent.llm.access import LlmAccess
from stm_agent.llm.options import LlmOptions
from stm_agent.loop import stop_rules
from stm_agent.loop.actions.action import Action
from stm_agent.loop.actions.data import PrepareData, WriteQueries
from stm_agent.loop.actions.instruction import SearchInstruction
from stm_agent.loop.actions.menu import read_action
from stm_agent.loop.actions.merge import MergeExperts
from stm_agent.loop.actions.training import ContinueTraining, TrainExpert, TrainQueryExpert
from stm_agent.loop.costs import Cost
from stm_agent.loop.earlier import earlier_gains
from stm_agent.loop.history import Decision, Step, credited_gains, record_decision, record_outcome, stored_decision
from stm_agent.loop.ledger import Ledger
from stm_agent.loop.options import Options
from stm_agent.loop.policies.answers import Fallback, chosen, menu_text
from stm_agent.loop.policies.gain_per_cost import Belief, GainPerCost
from stm_agent.loop.policies.policy import Left, Offer, correction
from stm_agent.loop.policies.random_choice import RandomChoice
from stm_agent.loop.policies.stm import FixedOrder, published_order
from stm_agent.loop.runs import open_run

TRAIN, OTHER = TrainExpert(expert="plain", take=True), TrainExpert(expert="hard", take=True)
SEARCH, MERGE = SearchInstruction(), MergeExperts()


def situation(*priced: tuple[Action, float], steps: tuple[Step, ...] = (), seconds: float = math.inf) -> Any:
    menu = tuple(Offer(action, Cost(seconds=cost)) for action, cost in priced)
    left = Left(seconds=seconds)
    affordable = tuple(offer for offer in menu if left.allows(offer.cost))
    state = SimpleNamespace(training_data=object(), experts=())
    return SimpleNamespace(menu=menu, affordable=affordable, left=left, steps=steps, state=state)


def step(action: Action, gain: float, *, number: int = 1, seconds: float = 10.0, estimate: float = 10.0) -> Step:
    decision = Decision(action=action, reason="a test", by="random", key="k", seconds=estimate)
    return Step(
        number=number, decision=decision, gain=gain, expected=gain, seconds=seconds, failed=False, label="merge"
    )


def test_the_published_order_is_instruction_data_experts_merge_in_every_round(tiny_domain: DomainSpec) -> None:
    kinds = [action.kind for action in published_order(tiny_domain, 2)]
    once = ["search-instruction", "prepare-data", "train-expert", "train-expert", "merge"]
    assert kinds == once * 2
    seen = SimpleNamespace(context=SimpleNamespace(spec=tiny_domain), steps=(step(SEARCH, 0.0),) * len(kinds))
    assert FixedOrder(2).choose(seen) is None


def test_random_draws_the_same_again_and_only_what_can_be_afforded() -> None:
    offers = [(TRAIN, 5.0), (OTHER, 50.0), (SEARCH, 5.0), (MERGE, 500.0)]
    draws = [RandomChoice(seed).choose(situation(*offers, seconds=20.0)) for seed in range(30)]
    assert {draw.action for draw in draws if draw} == {TRAIN, SEARCH}
    again = [RandomChoice(seed).choose(situation(*offers, seconds=20.0)) for seed in range(30)]
    assert again == draws
    assert RandomChoice(0).choose(situation(*offers, seconds=1.0)) is None


def test_gain_per_cost_prefers_the_cheaper_of_two_alike_and_what_brought_more() -> None:
    policy = GainPerCost({})
    cheaper = policy.choose(situation((TRAIN, 60.0), (OTHER, 20.0)))
    assert cheaper is not None
    assert cheaper.action == OTHER
    nothing = tuple(step(SEARCH, 0.0, number=number) for number in range(1, 6))
    better = policy.choose(situation((SEARCH, 10.0), (MERGE, 30.0), steps=nothing, seconds=35.0))
    assert better is not None
    assert better.action == MERGE


def test_what_gains_most_together_is_chosen_and_not_what_is_cheapest_at_first() -> None:
    # The cheap ones gain more for each second, and would leave too little time for the one that gains most.
    policy = GainPerCost({"train-expert": [0.2, 0.2]})
    cheap = [(TrainQueryExpert(expert=f"q{number}"), 20.0) for number in range(3)]
    dear = policy.choose(situation((TRAIN, 300.0), *cheap, seconds=330.0))
    assert dear is not None
    assert dear.action == TRAIN
    left = policy.choose(situation((TRAIN, 300.0), *cheap, seconds=290.0))
    assert left is not None
    assert left.action in [action for action, _ in cheap]


def test_the_first_expert_of_both_sides_comes_before_what_stands_on_it() -> None:
    offers = [(TrainQueryExpert(expert="q"), 5.0), (SEARCH, 5.0), (TRAIN, 50.0)]
    seen = situation(*offers, seconds=100.0)
    first = GainPerCost({}).choose(seen)
    assert first is not None
    assert first.action == TRAIN
    seen.state.experts = (SimpleNamespace(side="both"),)
    then = GainPerCost({}).choose(seen)
    assert then is not None
    assert then.action == offers[0][0]


def test_one_more_action_of_a_kind_is_expected_to_gain_less() -> None:
    policy, other = GainPerCost({}), TrainQueryExpert(expert="q")
    seen = situation((OTHER, 50.0), (other, 50.0), steps=(step(TRAIN, 0.03),), seconds=60.0)
    seen.state.experts = (SimpleNamespace(side="both"),)
    chosen_one = policy.choose(seen)
    assert chosen_one is not None
    assert chosen_one.action == other, "the gain of the first was over an untrained model"


def test_data_are_not_bought_if_no_time_is_left_to_learn_from_them() -> None:
    seen = situation((PrepareData(), 5.0), (SEARCH, 5.0), seconds=30.0)
    seen.state.training_data = None
    spec = SimpleNamespace(experts=("plain",))
    seen.workload = SimpleNamespace(spec=spec, training=lambda expert: Cost(seconds=26.0))
    chosen_one = GainPerCost({}).choose(seen)
    assert chosen_one is not None
    assert chosen_one.action == SEARCH
    seen.workload.training = lambda expert: Cost(seconds=10.0)
    chosen_one = GainPerCost({}).choose(seen)
    assert chosen_one is not None
    assert chosen_one.action == PrepareData()


def test_dollars_count_without_a_ceiling_on_minutes() -> None:
    seen = situation((TRAIN, 20.0), (OTHER, 20.0))
    paid = Offer(TRAIN, Cost(seconds=20.0, dollars=4.0))
    seen.affordable, seen.left = (paid, seen.menu[1]), Left(dollars=5.0)
    free = GainPerCost({}).choose(seen)
    assert free is not None
    assert free.action == OTHER


def test_gain_per_cost_learns_from_earlier_runs_and_ends_when_nothing_is_expected() -> None:
    offers = situation((SEARCH, 10.0), (MERGE, 10.0))
    usual = GainPerCost({}).choose(offers)
    taught = GainPerCost({"search-instruction": [0.1, 0.1, 0.1]}).choose(offers)
    assert usual is not None
    assert taught is not None
    assert (usual.action, taught.action) == (MERGE, SEARCH)
    failed = tuple(replace(step(SEARCH, 0.0, number=number), failed=True) for number in range(1, 4))
    instead = GainPerCost({}).choose(situation((SEARCH, 10.0), (MERGE, 25.0), steps=failed, seconds=30.0))
    assert instead is not None
    assert instead.action == MERGE, "a lever that fails gains nothing"
    worse = tuple(step(SEARCH, -0.05, number=number) for number in range(1, 40))
    assert GainPerCost({}).choose(situation((SEARCH, 10.0), steps=worse)) is None


def test_the_expected_improvement_never_is_below_the_gain_nor_below_zero() -> None:
    assert Belief(0.01, 0.0).improvement == 0.01
    assert Belief(-0.01, 0.0).improvement == 0.0
    assert Belief(0.0, 0.01).improvement == pytest.approx(0.01 / math.sqrt(2 * math.pi))


def test_tpe_suggests_the_same_for_the_same_history() -> None:
    pytest.importorskip("optuna")
    from stm_agent.loop.policies.tpe import TpeChoice

    steps = tuple(step(TRAIN if number % 2 else SEARCH, 0.02 * (number % 2), number=number) for number in range(1, 9))
    offers = [(TRAIN, 5.0), (SEARCH, 5.0), (MERGE, 5.0)]
    first, again = (TpeChoice(3).choose(situation(*offers, steps=steps)) for _ in range(2))
    assert first == again
    assert first is not None
    assert TpeChoice(3).choose(situation((TRAIN, 5.0), seconds=1.0)) is None


def test_tpe_without_optuna_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from stm_agent.loop.policies.tpe import TpeChoice

    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"stm-agent\[optuna\]"):
        TpeChoice(0)


def test_every_line_of_the_menu_is_an_answer_that_a_planner_may_give() -> None:
    offers = situation((TRAIN, 5.0), (SEARCH, 5.0), (WriteQueries(queries=8, where="failing"), 5.0), (MERGE, 5.0))
    for line, offer in zip(menu_text(offers.menu).splitlines(), offers.menu, strict=True):
        assert chosen(line, offers.menu, offers.left) == offer
        assert chosen(f"- {line.partition(':')[0]}\nbecause it is cheap", offers.menu, offers.left) == offer
    assert chosen("stop", offers.menu, offers.left).action.kind == "stop"


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ("", "not on the menu"),
        ("buy-more-cores", "not on the menu"),
        ("search-instruction what=incumbent", "not on the menu"),
        ("train-expert expert=unknown", "wrong parameters"),
        ("train-expert expert=plain steps=9", "wrong parameters"),
        ("train-expert plain", "wrong parameters"),
        ("merge side=both", "unaffordable"),
    ],
)
def test_an_answer_that_cannot_be_used_names_its_fault(answer: str, fault: str) -> None:
    offers = situation((TRAIN, 5.0), (MERGE, 500.0), seconds=60.0)
    with pytest.raises(Fallback, match=fault):
        chosen(answer, offers.menu, offers.left)


def test_actions_survive_json_and_wrong_parameters_are_named() -> None:
    for action in (TRAIN, SEARCH, MERGE, PrepareData(round=2), ContinueTraining(expert="plain@2")):
        assert read_action(action.to_json()) == action
    with pytest.raises(ConfigError, match="action train-expert: start"):
        read_action({"kind": "train-expert", "expert": "plain", "start": "nowhere"})
    with pytest.raises(ConfigError, match="action fly: kind"):
        read_action({"kind": "fly"})


def test_a_decision_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    decision = Decision(action=TRAIN, reason="cheap", by="planner", key="abc", seconds=12.5, dollars=0.25)
    record_decision(Ledger(tmp_path / "ledger.jsonl"), 1, decision)
    again = Ledger(tmp_path / "ledger.jsonl")
    assert stored_decision(again, 1) == decision
    assert stored_decision(again, 2) is None
    record_decision(again, 1, decision)
    assert len(again.entries()) == 1


def test_measured_seconds_correct_the_estimates_of_their_kind_alone() -> None:
    steps: tuple[Step, ...] = ()
    for number in range(1, 9):
        # What is asked for follows from the steps so far, as in a run.
        price = 10.0 * correction(steps, "train-expert")
        steps = (*steps, step(TRAIN, 0.0, number=number, seconds=70.0, estimate=price))
    assert correction(steps, "train-expert") == pytest.approx(7 ** (8 / 9))
    assert correction(steps, "merge") == 1.0


def test_gains_of_earlier_runs_are_read_and_a_ledger_of_another_version_teaches_nothing(tmp_path: Path) -> None:
    for seed in range(3):
        run = open_run(tmp_path, "tiny", {"seed": seed})
        record_outcome(run.ledger, step(TRAIN, 0.01 * (seed + 1)))
        run.close()
    names = sorted(path.parent.name for path in tmp_path.glob("*/run.json"))
    own = next(name for name in names if "0.03" in (tmp_path / name / "ledger.jsonl").read_text())
    old = next(name for name in names if "0.01" in (tmp_path / name / "ledger.jsonl").read_text())
    (tmp_path / old / "ledger.jsonl").write_text('{"schema": 1, "event": "outcome"}\n')
    assert earlier_gains(tmp_path, besides=own) == {"train-expert": [0.02]}
    with pytest.raises(RunError, match="schema 1, this version reads 2; begin a new run with --fresh"):
        Ledger(tmp_path / old / "ledger.jsonl").entries()


def test_new_data_is_credited_with_what_the_actions_after_it_gain() -> None:
    outcomes = [("prepare-data", 0.0), ("train-expert", 0.1), ("merge", 0.02), ("write-queries", 0.0), ("merge", -0.01)]
    assert credited_gains([*outcomes, ("prepare-data", 0.0)]) == {
        "prepare-data": [0.1],
        "train-expert": [pytest.approx(0.12)],
        "merge": [0.02, -0.01],
        "write-queries": [0.0],
    }


def test_a_search_ends_by_patience_by_target_and_when_nothing_can_be_afforded() -> None:
    rated = SimpleNamespace(rating=SimpleNamespace(domain=SimpleNamespace(ndcg_at_10=0.7), general=0.5))
    merge = SimpleNamespace(forgetting_budget=0.1)
    seen = situation((MERGE, 90.0), steps=(step(TRAIN, 0.1), step(SEARCH, 0.0), step(MERGE, -0.1)), seconds=60.0)
    seen.state = SimpleNamespace(provisional=rated, base=rated, experts=())
    seen.context = SimpleNamespace(spec=SimpleNamespace(merge=merge))
    assert stop_rules.patience(2)(seen) == "2 actions in a row brought nothing"
    assert stop_rules.patience(3)(seen) is None
    seen.steps = (step(TRAIN, 0.1), step(SEARCH, 0.0), step(PrepareData(), 0.0))
    assert stop_rules.patience(2)(seen) is None, "data alone cannot gain"
    seen.steps = ()
    assert "0.7000 on the search half reaches the target of 0.7" in str(stop_rules.target(0.7)(seen))
    assert stop_rules.target(0.71)(seen) is None
    assert "merge the experts) takes about 90 s" in str(stop_rules.budget(seen))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"policy": "best"}, "--policy best does not exist; use stm, random"),
        ({"planner_share": 1.5}, "--planner-share"),
        ({"patience": 0}, "--patience 0"),
        ({"target": 75.0}, "--target 75"),
    ],
)
def test_a_flag_that_no_policy_can_use_is_refused(flags: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Options(**flags)


def test_a_ceiling_on_calls_ends_the_calls_of_a_run(tmp_path: Path) -> None:
    access = LlmAccess(
        options=LlmOptions(model="scripted:numbered"), cache=tmp_path / "llm", ledger=tmp_path / "llm.jsonl", calls=1
    )
    for question, allowed in (("first", True), ("second", False)):
        client = access.open()
        try:
            if allowed:
                assert client.complete([{"role": "user", "content": question}]).text
            else:
                with pytest.raises(BudgetExceeded, match="1 calls is spent; raise --budget-calls"):
                    client.complete([{"role": "user", "content": question}])
        finally:
            client.close()
    assert not Left(calls=3).allows(Cost(seconds=0.0, calls=4))
