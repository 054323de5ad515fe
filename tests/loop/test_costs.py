"""What actions and the end of a run are priced at, and what a budget leaves for actions."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from stm_agent.domain.spec import DomainSpec
from stm_agent.loop import costs
from stm_agent.loop.actions.instruction import SearchInstruction
from stm_agent.loop.actions.merge import MergeExperts
from stm_agent.loop.context import RunContext
from stm_agent.loop.costs import Rates, Workload, rates_of
from stm_agent.loop.ending import models_to_encode
from stm_agent.loop.run_plan import RunPlan, Speed

RATES = Rates(passage=0.1, query=0.01, call=1.0, dollars=0.0)


def workload(spec: DomainSpec, **sizes: int) -> Workload:
    usual = {"documents": 1000, "searched": 1000, "queries": 100, "guard_passages": 0, "guard_queries": 50}
    return Workload(spec=spec, rates=RATES, pool=1000, instructions=4, framings=0, **{**usual, **sizes})


def test_a_corpus_that_is_searched_whole_is_not_encoded_at_the_end(tiny_domain: DomainSpec) -> None:
    whole, part = workload(tiny_domain), workload(tiny_domain, documents=1000, searched=400)
    # The whole corpus, for the best expert and for the merged model.
    assert part.ending.seconds - whole.ending.seconds == pytest.approx(2 * 1000 * RATES.passage)
    search = SearchInstruction()
    state: Any = None
    longer = search.estimate(part, state).seconds - search.estimate(whole, state).seconds
    assert longer == pytest.approx(1000 * RATES.passage)


def test_a_merge_of_queries_is_priced_by_what_is_encoded(tiny_domain: DomainSpec) -> None:
    def price(experts: int, methods: tuple[str, ...]) -> float:
        merge = tiny_domain.merge.model_copy(update={"methods": methods, "verify": 3})
        action = MergeExperts(side="query")
        object.__setattr__(action, "experts", lambda state: [object()] * experts)
        work, state = workload(tiny_domain.model_copy(update={"merge": merge})), SimpleNamespace()
        return action.estimate(work, state).seconds  # type: ignore[arg-type]

    once = price(1, ("linear", "ties"))
    assert once > 3 * 150 * RATES.query, "queries of guards are encoded too"
    assert price(2, ("linear",)) < price(2, ("linear", "ties")) < price(4, ("linear", "ties"))


def test_the_end_encodes_nothing_that_experts_of_queries_stand_on() -> None:
    def model(name: str) -> Any:
        return SimpleNamespace(documents=SimpleNamespace(name=name, source_key=lambda: name))

    def expert(side: str, name: str, ndcg: float) -> Any:
        rating = SimpleNamespace(domain=SimpleNamespace(ndcg_at_10=ndcg))
        return SimpleNamespace(side=side, rated=SimpleNamespace(model=shared[name], rating=rating))

    def left(listed: tuple[str, ...], provisional: str, *experts: Any) -> int:
        spec: Any = SimpleNamespace(experts=[SimpleNamespace(side=side) for side in listed])
        state: Any = SimpleNamespace(
            base=SimpleNamespace(model=shared["start"]),
            provisional=SimpleNamespace(model=shared[provisional]),
            experts=experts,
        )
        return models_to_encode(spec, state)

    shared = {name: model(name) for name in ("start", "both", "merge")}
    both, queries = expert("both", "both", 0.7), expert("query", "merge", 0.8)
    assert left(("query",), "start") == 0, "the start was scored on the whole corpus"
    assert left(("both", "query"), "start") == 2, "an expert of both sides is still to come"
    assert left(("both", "query"), "merge", both) == 2
    assert left(("both", "query"), "merge", both, queries) == 0
    assert left(("both", "query"), "merge", expert("both", "both", 0.9), queries) == 1, "the best expert has a row"


def test_what_is_spared_at_the_end_is_not_for_levers_that_change_the_passages(tiny_domain: DomainSpec) -> None:
    clock = SimpleNamespace(seconds=lambda: 60.0)
    context: Any = SimpleNamespace(minutes=10.0, ending=300.0, spared=200.0, clock=clock)
    assert RunContext.seconds_left(context) == pytest.approx(600 - 300 + 200 - 60)
    assert MergeExperts().needed(context, None) == 200.0  # type: ignore[arg-type]
    assert MergeExperts(side="query").needed(context, None) == 0.0  # type: ignore[arg-type]
    assert SearchInstruction().needed(context, None) == 200.0  # type: ignore[arg-type]


def test_a_large_corpus_keeps_more_than_a_tenth_of_the_minutes_for_its_test(tiny_domain: DomainSpec) -> None:
    def left(work: Workload, minutes: float | None) -> float:
        clock = SimpleNamespace(seconds=lambda: 60.0)
        context: Any = SimpleNamespace(minutes=minutes, ending=work.ending.seconds, spared=0.0, clock=clock)
        return RunContext.seconds_left(context)

    small, large = workload(tiny_domain), workload(tiny_domain, documents=3000, searched=400)
    assert left(small, 30.0) == pytest.approx(30 * 60 * 0.9 - 60)
    assert left(large, 30.0) == pytest.approx(30 * 60 - large.ending.seconds - 60)
    assert left(large, None) == float("inf")


def test_prices_are_those_of_the_speed_that_the_plan_measured(
    tiny_domain: DomainSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[object] = []
    monkeypatch.setattr(costs, "read_spending", lambda path: SimpleNamespace(usd=0.0, calls=0, seconds=0.0))
    monkeypatch.setattr(costs, "_assumed_dollars", lambda options: 0.0)
    monkeypatch.setattr(costs, "measured_speed", lambda *about: measured.append(about) or Speed(passages=1, queries=1))

    def context(plan: RunPlan | None) -> Any:
        clock = SimpleNamespace(working=lambda: __import__("contextlib").nullcontext())
        run, generator = SimpleNamespace(llm_ledger=None), SimpleNamespace(options=None)
        return SimpleNamespace(
            plan=plan, speed=None, spec=tiny_domain, data=None, clock=clock, run=run, generator=generator
        )

    planned = context(RunPlan(spec=tiny_domain, speed=Speed(passages=50.0, queries=400.0)))
    assert (rates_of(planned).passage, rates_of(planned).query) == (1 / 50, 1 / 400)
    assert not measured
    unplanned = context(None)
    assert rates_of(unplanned) == rates_of(unplanned)
    assert len(measured) == 1, "the machine is measured once"
    again = RunPlan.from_json(planned.plan.to_json())
    assert again.speed == planned.plan.speed
