"""An instruction is accepted by a look of its own, apart from the model, and can be given up again."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.collection import Split
from stm_agent.domain.spec import BackboneSpec, InstructSpec, MergeSpec
from stm_agent.evaluate.metrics import Scores
from stm_agent.instruct.job import FoundInstruction
from stm_agent.loop import instructing
from stm_agent.loop.confirming import confirm
from stm_agent.loop.gate import Gate, GateSpec
from stm_agent.loop.halves import cut_dev
from stm_agent.loop.instructing import improve_instruction
from stm_agent.loop.ledger import Ledger
from stm_agent.loop.merging import consider_models
from stm_agent.loop.state import Expert, RatedModel, State
from stm_agent.merge.adapted import AdaptedModel
from stm_agent.merge.job import Rating

QUERIES = {f"q{number}": f"question {number}" for number in range(120)}
DEV = Split("dev", QUERIES, {query: {query: 1} for query in QUERIES})
GATE = Gate(cut_dev(DEV), GateSpec(looks=2, samples=2000))
BACKBONE = BackboneSpec(model="nowhere")
FIND, NONE = Instruction("Find it", "", "seed:find"), Instruction()


def rating(gain: float, queries: Any = QUERIES) -> Rating:
    per_query = {query: 0.4 + (gain if query in queries else 0.0) + 0.01 * (len(query) % 2) for query in QUERIES}
    return Rating(Scores(sum(per_query.values()) / len(per_query), 0.0, 0.0, per_query), 0.5)


def rated(gain: float = 0.0, instruction: Instruction = NONE, name: str = "") -> RatedModel:
    from pathlib import Path

    adapters = (Path(name),) if name else ()
    model = AdaptedModel(BACKBONE, adapters, (1.0,) * len(adapters))
    experts = (name,) if name else ()
    return RatedModel(
        label=name or "backbone", model=model, experts=experts, instruction=instruction, rating=rating(gain)
    )


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Any:
    decisions: list[tuple[str, bool]] = []
    found = SimpleNamespace(winner=FIND, gain=0.2, queries=QUERIES)
    value = SimpleNamespace(
        gate=GATE,
        spec=SimpleNamespace(backbone=BACKBONE, instruct=InstructSpec(), merge=MergeSpec()),
        found=found,
        rate=lambda model, instruction: rating(found.gain, found.queries),
        accept_scores=lambda rated: rated.rating.domain.per_query,
        decide=lambda lever, text, **data: decisions.append((text, data["kept"])),
        decisions=decisions,
        failures=[],
        plan=None,
        run=SimpleNamespace(
            folder=tmp_path, ledger=Ledger(tmp_path / "ledger.jsonl"), traces=tmp_path / "traces.jsonl"
        ),
    )

    def search(_context: Any, incumbent: RatedModel, round_: int, what: str) -> tuple[FoundInstruction, None]:
        result = FoundInstruction(
            winner=found.winner, trial="i0001", tried=3, favourite=found.winner, finalists=(), rejected={}
        )
        return result, None

    monkeypatch.setattr(instructing, "_search", search)
    return value


def test_a_gain_on_both_halves_is_accepted_and_confirmed(context: Any) -> None:
    state = improve_instruction(context, State.start(rated()), 1, what="incumbent")
    assert state.provisional.instruction == state.confirmed.instruction == FIND
    assert state.gate.looks == 1
    assert 0 < state.gate.spent < GATE.spec.alpha


def test_a_gain_on_the_search_half_alone_is_not_accepted(context: Any) -> None:
    context.found.queries = GATE.halves.search
    state = improve_instruction(context, State.start(rated()), 1, what="incumbent")
    assert state.provisional.instruction == NONE
    assert context.decisions[-1][1] is False
    assert "not confirmed" in context.decisions[-1][0] or "nothing to confirm" in context.decisions[-1][0]


def test_a_gain_below_what_an_instruction_costs_takes_no_look(context: Any) -> None:
    context.found.gain = 0.004
    state = improve_instruction(context, State.start(rated()), 1, what="incumbent")
    assert state.provisional.instruction == NONE
    assert state.gate.looks == 0


def test_no_instruction_takes_the_place_of_one_that_gains_nothing(context: Any) -> None:
    context.found.winner, context.found.gain = NONE, 0.0
    state = improve_instruction(context, State.start(rated(0.0, FIND)), 2, what="incumbent")
    assert state.provisional.instruction == NONE


def test_an_accepted_instruction_survives_a_merge_that_is_refused(context: Any) -> None:
    state = improve_instruction(context, State.start(rated()), 1, what="incumbent")
    forgetful = rated(0.3, FIND, "merge")
    worse = Rating(forgetful.rating.domain, 0.1)
    state = consider_models(context, state, state.experts, None, 1)
    assert state.provisional.instruction == FIND
    expert = Expert(
        name="a", spec_name="a", variant="FT", folder=None, rated=rated(-0.1, FIND, "a"), texts_per_second=1.0
    )
    state = replace(state, experts=(replace(expert, rated=replace(expert.rated, rating=worse)),))
    assert consider_models(context, state, state.experts, None, 1).confirmed.instruction == FIND


def test_the_best_single_expert_is_a_candidate_when_the_merge_is_refused(context: Any) -> None:
    experts = tuple(
        Expert(
            name=name, spec_name=name, variant="FT", folder=None, rated=rated(gain, NONE, name), texts_per_second=1.0
        )
        for name, gain in (("a", 0.1), ("b", 0.3))
    )
    state = consider_models(context, State.start(rated()), experts, None, 1)
    assert state.provisional.label == "b"
    assert state.confirmed.label == "backbone", "nothing is claimed before the look at the accept half"


@pytest.mark.parametrize(("lead", "taken"), [(0.001, "merge"), (0.2, "a")])
def test_an_expert_alone_replaces_the_merge_only_if_it_is_clearly_better(context: Any, lead: float, taken: str) -> None:
    merged, alone = rated(0.2, NONE, "merge"), rated(0.2 + lead, NONE, "a")
    noise = {query: (-1) ** number * 0.05 for number, query in enumerate(alone.rating.domain.per_query)}
    per_query = {query: score + noise[query] for query, score in alone.rating.domain.per_query.items()}
    scores = replace(alone.rating.domain, per_query=per_query)
    alone = replace(alone, rating=replace(alone.rating, domain=scores))
    expert = Expert(name="a", spec_name="a", variant="FT", folder=None, rated=alone, texts_per_second=1.0)
    assert consider_models(context, State.start(rated()), (expert,), merged, 1).provisional.label == taken


@pytest.mark.parametrize(("gain", "instruction"), [(0.2, FIND), (0.004, NONE), (-0.1, NONE)])
def test_an_instruction_accepted_on_a_merge_that_is_rolled_back_is_tried_on_the_confirmed_model(
    context: Any, gain: float, instruction: Instruction
) -> None:
    merge = replace(rated(0.1, NONE, "merge"), rating=rating(0.1, GATE.halves.search))
    merge_with = rating(0.2, QUERIES)
    lost = {query: (0.2 if query in GATE.halves.search else -0.5) for query in QUERIES}
    context.rate = lambda model, _: merge_with if model.adapters else rating(gain)
    state = improve_instruction(context, State.start(rated()).taking(merge), 1, what="merge")
    assert state.accepted == state.provisional.instruction == FIND
    assert state.confirmed.instruction == NONE
    worse = {query: value + lost[query] for query, value in rating(0.0).domain.per_query.items()}
    refused = replace(state.provisional, rating=Rating(Scores(0.0, 0.0, 0.0, worse), 0.5))
    state = confirm(context, state.taking(refused))
    assert (state.confirmed.model, state.provisional) == (rated().model, state.confirmed)
    assert state.confirmed.instruction == instruction
    text, accepted = context.decisions[-1]
    assert accepted == (instruction == FIND)
    assert ("'Find it' stays" if accepted else "'Find it' is given up") in text


def test_no_instruction_wins_a_tie_for_the_confirmed_model_too(context: Any) -> None:
    context.found.winner, context.found.gain = NONE, 0.0
    state = improve_instruction(context, State.start(rated(0.0, FIND)), 2, what="incumbent")
    assert state.confirmed.instruction == NONE
    assert state.gate.looks == 0, "it costs nothing"


def test_no_instruction_wins_a_tie_after_the_merge_it_was_preferred_on_is_rolled_back(context: Any) -> None:
    context.found.winner, context.found.gain = NONE, 0.0
    merge = rated(0.0, FIND, "merge")
    state = improve_instruction(context, State.start(rated(0.0, FIND)).taking(merge), 2, what="merge")
    assert (state.provisional.instruction, state.confirmed.instruction) == (NONE, FIND)
    assert confirm(context, state).confirmed.instruction == NONE
