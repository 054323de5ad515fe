"""A probe decides whether written queries that miss their passage are left out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from stm_agent.domain.data import Pair
from stm_agent.domain.spec import WRITTEN, DomainSpec, ExpertSpec
from stm_agent.files import read_jsonl
from stm_agent.llm.answer import Messages
from stm_agent.llm.scripted import ScriptedProvider
from stm_agent.loop import round_trip_probe
from stm_agent.loop.actions.data import PrepareData
from stm_agent.loop.context import RunContext
from stm_agent.loop.costs import workload_of
from stm_agent.loop.options import Options
from stm_agent.loop.prepare import open_context
from stm_agent.loop.round_trip_probe import ProbedPairs, filter_by_probe
from stm_agent.loop.runs import RunFolder
from stm_agent.loop.state import RatedModel, State


def answers(messages: Messages) -> str:
    """Write the words of some passages, and of the others nothing that is there."""
    *_, finding = messages[-1]["content"].split("A finding of ")
    number = sum(map(ord, finding))
    return f"{finding.split()[0]} number {number}" if number % 3 else f"nothing {number}"


@pytest.fixture
def spec(tiny_domain: DomainSpec) -> DomainSpec:
    expert = ExpertSpec.model_validate({"name": "w", "sources": ["written"], "steps": 1})
    synthesize = {"queries": 40, "pairs": 0, "attempts": 1, "round_trip": "probe"}
    spec = tiny_domain.model_copy(update={"experts": (expert,)})
    return DomainSpec.model_validate({**spec.model_dump(), "synthesize": synthesize})


@pytest.fixture
def context(spec: DomainSpec, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunContext]:
    monkeypatch.setattr(ScriptedProvider, "named", classmethod(lambda cls, name: cls(answers)))
    run, runs = RunFolder(workspace / "runs", spec.name, {"test": "round trip"}), workspace / "runs"
    options = Options(generator="scripted:words", seed=0)
    with open_context(spec, options, run, workspace=workspace, runs=runs, observer=lambda event: None) as opened:
        yield opened
    run.close()


def people(context: RunContext) -> tuple[Pair, ...]:
    return tuple(pair for source in context.data.sources.values() for pair in source)


def wrong(pairs: tuple[Pair, ...]) -> tuple[Pair, ...]:
    """Return pairs whose passage is another pair's."""
    shifted = (*pairs[7:], *pairs[:7])
    return tuple(
        replace(pair, id=f"{pair.id}?", positive=other.positive, group=f"{pair.id}?")
        for pair, other in zip(pairs, shifted, strict=True)
    )


def test_the_filter_is_taken_if_the_probe_is_better_with_it_and_not_if_it_is_worse(
    context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(round_trip_probe, "STEPS", MappingProxyType({"lora": 40}))
    right = people(context)
    bad = wrong(right)
    taken = filter_by_probe(context, (*right, *bad), {pair.id for pair in bad})
    assert taken == ProbedPairs(right, compared=1)
    kept = filter_by_probe(context, (*right, *bad), {pair.id for pair in right})
    assert kept == ProbedPairs((*right, *bad), compared=1)
    first, second = context.run.ledger.entries("round trip")
    assert first["filtered"] > first["unfiltered"] == second["unfiltered"] > second["filtered"]
    assert (first["kept"], second["kept"], first["steps"]) == (True, False, 40)
    assert f"{first['filtered']:.4f} without them and {first['unfiltered']:.4f} with them" in context.notes[-2]
    assert context.run.ledger.entries("look") == [], "the accept half is not asked"


def test_nothing_is_probed_if_nothing_would_be_left_out_or_too_little_would_stay(context: RunContext) -> None:
    pairs = people(context)
    assert filter_by_probe(context, pairs, frozenset()) == ProbedPairs(pairs)
    assert not [text for text in context.warnings if text.startswith("data")]
    assert filter_by_probe(context, pairs, {pair.id for pair in pairs[3:]}) == ProbedPairs(pairs)
    assert "fewer than one batch of 8" in context.warnings[-1]
    assert context.run.ledger.entries("round trip") == []


def test_a_failed_probe_costs_the_filter_alone(context: RunContext, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no memory")

    monkeypatch.setattr(round_trip_probe, "probe", fail)
    pairs = people(context)
    assert filter_by_probe(context, pairs, {pairs[0].id}) == ProbedPairs(pairs)
    assert [failure.lever for failure in context.failures] == ["probe of the round trip"]


@pytest.mark.timeout(300)
def test_a_run_probes_what_was_written_once(
    spec: DomainSpec, workspace: Path, context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(round_trip_probe, "STEPS", MappingProxyType({"lora": 2}))
    unsaid = round_trip_probe.ProbeSetting.of(context, context.probed).instruction
    rated = RatedModel(
        label="backbone", model=context.backbone, instruction=unsaid, rating=context.rate(context.backbone, unsaid)
    )
    state = State.start(rated)
    action = PrepareData()
    work = workload_of(context)
    plain = spec.model_copy(update={"synthesize": spec.synthesize.model_copy(update={"round_trip": 0})})
    assert action.estimate(work, state).seconds > action.estimate(replace(work, spec=plain), state).seconds
    after = action.run(context, state)
    assert after.training_data is not None
    (entry,) = context.run.ledger.entries("round trip")
    assert 8 <= entry["found"] < entry["pairs"]
    assert len(after.training_data.written) == entry["found" if entry["kept"] else "pairs"]
    assert {pair.source for pair in after.training_data.written} == {WRITTEN}
    assert after.considered == state.considered + 1
    stages = len(read_jsonl(context.run.ledger.path))
    again = PrepareData(round=2).run(context, after)
    assert again.considered == after.considered, "a later round uses the same pairs"
    repeated = action.run(context, state)
    assert repeated.training_data == after.training_data
    trained = [row for row in context.run.ledger.entries("stage") if row["name"] == "train"]
    assert len({row["folder"] for row in trained}) == 2, "a repeated run finds its probes again"
    assert stages > 0
