"""Worthless changes are rarely confirmed, real ones are, and alpha is never overspent."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from stm_agent.domain.collection import Split
from stm_agent.errors import ConfigError, DataError
from stm_agent.loop.gate import Gate, GateSpec, GateState
from stm_agent.loop.halves import cut_dev
from stm_agent.loop.paired_test import difference, sign_flip_p_value


def gate(count: int, **spec: float) -> Gate:
    queries = {f"q{number}": f"text {number}" for number in range(count)}
    split = Split("dev", queries, {query: {f"d{query}": 1} for query in queries})
    return Gate(cut_dev(split), GateSpec(**{"samples": 500, **spec}))


def scored(values: np.ndarray) -> dict[str, float]:
    return {f"q{number}": float(value) for number, value in enumerate(values)}


def walk(random: np.random.Generator, worth: float, count: int = 80, proposals: int = 20) -> bool:
    """Return whether a run of proposals that are each truly worth ``worth`` ends with a confirmed change."""
    judge = gate(count)
    base = incumbent = random.normal(0.5, 0.3, count)
    for _ in range(proposals):
        challenger = incumbent + random.normal(worth, 0.1, count)
        if judge.consider(scored(challenger), scored(incumbent)).accepted:
            incumbent = challenger
    return judge.confirm(scored(incumbent), scored(base), GateState())[0].confirmed


def test_runs_of_worthless_proposals_are_rarely_confirmed():
    random = np.random.default_rng(0)
    confirmed = sum(walk(random, 0.0) for _ in range(200))
    # 5 % of 200 are 10; more than 20 has a chance of 1 in 1,000.
    assert confirmed <= 20


def test_runs_of_good_proposals_are_confirmed():
    random = np.random.default_rng(0)
    assert sum(walk(random, 0.03) for _ in range(40)) >= 36


def test_a_clear_gain_is_taken_and_confirmed():
    judge = gate(60)
    better, base = scored(np.linspace(0.5, 0.7, 60)), scored(np.full(60, 0.4))
    verdict = judge.consider(better, base)
    assert verdict.accepted
    assert 0 < verdict.expected < verdict.gain
    outcome, state = judge.confirm(better, base, GateState())
    assert outcome.confirmed
    assert 0 < outcome.low < outcome.gain
    assert state == GateState(looks=1, spent=judge.spec.budget)
    assert outcome.reason.startswith("confirmed: +0.2")


def test_consider_sees_the_search_half_alone_and_confirm_the_accept_half_alone():
    judge, base = gate(60), scored(np.full(60, 0.4))
    on_search = base | dict.fromkeys(judge.halves.search, 0.6)
    on_accept = base | {query: 0.6 + 0.001 * number for number, query in enumerate(judge.halves.accept)}
    assert judge.consider(on_search, base).gain == pytest.approx(0.2)
    assert judge.consider(on_accept, base).gain == 0
    assert not judge.confirm(on_search, base, GateState())[0].confirmed
    assert judge.confirm(on_accept, base, GateState())[0].confirmed


def test_a_worse_challenger_is_not_taken_and_never_confirmed():
    judge, base, worse = gate(60), scored(np.full(60, 0.4)), scored(np.full(60, 0.39))
    assert not judge.consider(worse, base).accepted
    assert judge.confirm(worse, base, GateState())[0].p_value == 1


def test_the_best_of_many_candidates_is_expected_to_bring_less():
    judge, random = gate(100), np.random.default_rng(1)
    base = random.normal(0.5, 0.2, 100)
    challenger = base + random.normal(0.02, 0.1, 100)
    expected = [judge.consider(scored(challenger), scored(base), tried).expected for tried in (1, 10, 400)]
    assert expected == sorted(expected, reverse=True)


def test_what_looks_the_same_is_taken_alone_and_not_as_the_best_of_many():
    judge, base = gate(100), scored(np.full(100, 0.4))
    signs = {query: 0.1 * (-1) ** number for number, query in enumerate(judge.halves.search)}
    challenger = {query: value + signs.get(query, 0.0) for query, value in base.items()}
    assert judge.consider(challenger, base).accepted
    assert not judge.consider(challenger, base, tried=400).accepted
    assert not judge.consider(challenger, base, costly=True).accepted


def test_what_is_worse_by_more_than_the_noise_is_not_taken_however_noisy():
    judge, base = gate(20), scored(np.full(20, 0.4))
    challenger = base | {query: 0.4 - 0.1 * number for number, query in enumerate(judge.halves.search)}
    assert not judge.consider(challenger, base).accepted


def test_the_incumbent_itself_is_never_taken():
    judge, base = gate(20), scored(np.full(20, 0.4))
    assert not judge.consider(base, base).accepted


@pytest.mark.parametrize("looks", [1, 2, 5])
def test_alpha_is_never_overspent(looks: int):
    judge, state = gate(40, looks=looks), GateState()
    base = scored(np.full(40, 0.4))
    for number in range(looks + 3):
        challenger = scored(np.random.default_rng(number).normal(0.4, 0.1, 40))
        outcome, state = judge.confirm(challenger, base, state)
        assert state.spent <= judge.spec.budget + 1e-12 < judge.spec.alpha
    assert state.spent == pytest.approx(judge.spec.budget)
    assert outcome.level == 0
    assert not outcome.confirmed


def test_the_last_look_of_a_run_that_ends_early_spends_what_is_left():
    judge, base = gate(40, looks=4), scored(np.full(40, 0.4))
    better = scored(np.linspace(0.5, 0.6, 40))
    _, state = judge.confirm(better, base, GateState())
    outcome, state = judge.confirm(better, base, state, last=True)
    assert state.spent == pytest.approx(judge.spec.budget)
    assert outcome.level > 0.9 * judge.spec.budget


def test_nothing_changed_costs_no_look():
    judge, base = gate(40), scored(np.full(40, 0.4))
    outcome, state = judge.confirm(base, base, GateState())
    assert state == GateState()
    assert not outcome.confirmed


def test_a_resumed_run_replays_its_verdicts():
    random = np.random.default_rng(3)
    base, better = scored(random.normal(0.4, 0.2, 70)), scored(random.normal(0.45, 0.2, 70))
    first, state = gate(70, looks=3).confirm(better, base, GateState())
    stored = GateState(**json.loads(json.dumps(state.to_json())))
    assert stored == state
    turned = dict(reversed(better.items()))
    assert gate(70, looks=3).confirm(turned, base, GateState()) == (first, state)
    assert gate(70, looks=3).confirm(better, base, stored) == gate(70, looks=3).confirm(better, base, state)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_one_to_four_queries_crash_nothing_and_confirm_nothing_after_a_few_tries(count: int):
    judge = gate(count)
    base, better = scored(np.zeros(count)), scored(np.ones(count))
    judge.consider(better, base, 400)
    assert not judge.confirm(better, base, GateState(), tried=20)[0].confirmed
    assert judge.smallest_gain((better, base)) >= 0


def test_dev_that_was_not_cut_asks_for_more_the_more_was_tried():
    judge = gate(10)
    base, better = scored(np.zeros(10)), scored(np.linspace(0.1, 0.2, 10))
    assert judge.confirm(better, base, GateState(), tried=20)[0].confirmed
    assert not judge.confirm(better, base, GateState(), tried=100)[0].confirmed


def test_a_lasting_cost_needs_evidence_of_its_own():
    judge, base = gate(60), scored(np.full(60, 0.4))
    model = scored(np.linspace(0.5, 0.6, 60))
    helps = {query: value + 0.02 + 0.0001 * number for number, (query, value) in enumerate(model.items())}
    idle = {query: value + (0.02 if number % 2 else -0.02) for number, (query, value) in enumerate(model.items())}
    outcome, _ = judge.confirm(helps, base, GateState())
    assert judge.confirm_cost(helps, model, outcome, least=0.005).confirmed
    assert not judge.confirm_cost(helps, model, outcome, least=0.1).confirmed
    assert not judge.confirm_cost(idle, model, outcome, least=0.0).confirmed
    assert not judge.confirm_cost(helps, model, replace(outcome, confirmed=False), least=0.005).confirmed


def test_the_smallest_gain_falls_with_the_number_of_queries():
    gains = [gate(count).smallest_gain() for count in (40, 160, 640)]
    assert gains[0] == pytest.approx(2 * gains[1], rel=0.01)
    assert gains[1] == pytest.approx(2 * gains[2], rel=0.01)


def test_the_smallest_gain_is_confirmed_about_as_often_as_it_says():
    random, judge = np.random.default_rng(5), gate(100)
    base = random.normal(0.5, 0.2, 100)
    noise = random.normal(0, 0.1, (200, 100))
    worth = judge.smallest_gain((scored(base + noise[0]), scored(base)))
    confirmed = [judge.confirm(scored(base + worth + row), scored(base), GateState())[0].confirmed for row in noise]
    assert 0.65 < np.mean(confirmed) < 0.95


def test_queries_of_one_group_count_as_one_draw():
    values = {f"q{number}": (1.0 if number % 20 < 10 else -0.8) for number in range(100)}
    zero, alone = dict.fromkeys(values, 0.0), {query: number for number, query in enumerate(values)}
    grouped = {query: number // 10 for query, number in alone.items()}
    queries = tuple(values)
    assert difference(values, zero, queries, grouped).error > 2 * difference(values, zero, queries, alone).error


def test_the_drawn_p_value_agrees_with_the_exact_one():
    sums = np.random.default_rng(2).normal(0.3, 1.0, 13)
    exact = sign_flip_p_value(sums)
    drawn = sign_flip_p_value(np.append(sums, 1e-9), samples=20_000)
    assert drawn == pytest.approx(exact, abs=0.02)


def test_a_missing_score_is_named():
    judge, base = gate(20), scored(np.zeros(20))
    with pytest.raises(DataError, match="query 'q"):
        judge.consider({}, base)


@pytest.mark.parametrize("spec", [{"alpha": 0.0}, {"alpha": 1.0}, {"looks": 0}, {"samples": 0}])
def test_a_gate_that_cannot_be_used_is_refused(spec: dict[str, float]):
    with pytest.raises(ConfigError):
        gate(20, **spec)
