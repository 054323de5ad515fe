"""Looks are counted over all processes and endings of a run: a repeated one is free, a new one gets what is left."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.collection import Split
from stm_agent.domain.spec import BackboneSpec
from stm_agent.evaluate.metrics import Scores
from stm_agent.files import read_jsonl, write_json
from stm_agent.loop.confirming import confirm
from stm_agent.loop.failures import Failure
from stm_agent.loop.gate import Gate, GateSpec
from stm_agent.loop.halves import cut_dev
from stm_agent.loop.ledger import Ledger
from stm_agent.loop.looks import INSTRUCTION, alpha_spent, take_look
from stm_agent.loop.state import RatedModel, State
from stm_agent.merge.adapted import AdaptedModel
from stm_agent.merge.job import Rating
from stm_agent.merge.recipe import MethodOptions

QUERIES = {f"q{number}": f"question {number}" for number in range(120)}
GATE = Gate(cut_dev(Split("dev", QUERIES, {query: {query: 1} for query in QUERIES})), GateSpec(looks=2, samples=2000))
BUDGET = GATE.spec.budget
LOST = Failure("expert hard", "budget", "the budget is spent")


def rating(gain: float, noise: float = 0.01) -> Rating:
    per_query = {query: 0.4 + gain + noise * (number % 7 - 3) for number, query in enumerate(QUERIES)}
    return Rating(Scores(sum(per_query.values()) / len(per_query), 0.0, 0.0, per_query), 0.5)


@pytest.fixture
def process(tmp_path: Path) -> Any:
    """Return what begins another process of the same run."""

    def begin(*failures: Failure) -> Any:
        decisions: list[str] = []
        return SimpleNamespace(
            gate=GATE,
            failures=list(failures),
            plan=None,
            spec=SimpleNamespace(backbone=BackboneSpec(model="nowhere")),
            run=SimpleNamespace(folder=tmp_path / "run", ledger=Ledger(tmp_path / "run" / "ledger.jsonl")),
            rate=lambda model, instruction: rating(float(model.adapters[0].parent.name.removeprefix("gain-"))),
            accept_scores=lambda rated: rated.rating.domain.per_query,
            decide=lambda lever, text, **data: decisions.append(text),
            note=lambda lever, text: decisions.append(text),
            warn=lambda lever, text: decisions.append(text),
            decisions=decisions,
        )

    return begin


def rated(folder: Path, gain: float, noise: float = 0.01) -> RatedModel:
    stage = folder / ".stages" / f"gain-{gain}"
    (stage / "adapter").mkdir(parents=True, exist_ok=True)
    write_json(stage / "manifest.json", {"key": "k", "files": {}})
    model = AdaptedModel(BackboneSpec(model="nowhere"), (stage / "adapter",), (1.0,))
    return RatedModel(
        label=f"gain {gain}", model=model, experts=("a",), instruction=Instruction(), rating=rating(gain, noise)
    )


def base() -> RatedModel:
    return RatedModel(
        label="backbone", model=AdaptedModel(BackboneSpec(model="nowhere")), instruction=Instruction(), rating=rating(0)
    )


def looks(folder: Path) -> list[Any]:
    return [entry for entry in read_jsonl(folder / "run" / "ledger.jsonl") if entry["event"] == "look"]


def ended(context: Any, *, with_: RatedModel) -> State:
    return confirm(context, State.start(base()).taking(with_))


def test_a_resumed_run_repeats_its_looks_and_spends_nothing(process: Any, tmp_path: Path) -> None:
    def whole(context: Any) -> State:
        look, state = take_look(context, State.start(base()), rated(tmp_path, 0.02), base(), what=INSTRUCTION)
        assert look.confirmed
        return confirm(context, state.taking(rated(tmp_path, 0.05)))

    first = process()
    state = whole(first)
    recorded = looks(tmp_path)
    resumed = process()
    assert whole(resumed) == state
    assert resumed.decisions == first.decisions
    assert looks(tmp_path) == recorded
    assert (state.gate.looks, state.gate.spent) == (2, pytest.approx(BUDGET))


def test_a_continued_run_spends_only_what_its_endings_left(process: Any, tmp_path: Path) -> None:
    ended(process(LOST), with_=rated(tmp_path, 0.05, 0.5))
    assert alpha_spent(process()) == pytest.approx(BUDGET / 2), "an ending that may be continued keeps half"
    context = process()
    _, state = take_look(context, State.start(base()), rated(tmp_path, 0.02), base(), what=INSTRUCTION)
    assert state.gate.spent == pytest.approx(BUDGET / 2 + BUDGET / 2 / 8), "its looks are planned over the rest"
    ended(context, with_=rated(tmp_path, 0.06))
    assert alpha_spent(context) == pytest.approx(BUDGET)
    assert [entry["gate"]["spent"] for entry in looks(tmp_path)] == sorted(
        entry["gate"]["spent"] for entry in looks(tmp_path)
    )


def test_a_run_that_spent_all_its_alpha_confirms_nothing_more(process: Any, tmp_path: Path) -> None:
    ended(process(), with_=rated(tmp_path, 0.0, 0.5))
    state = ended(process(), with_=rated(tmp_path, 0.05))
    assert state.confirmed.label == "backbone"
    assert alpha_spent(process()) == pytest.approx(BUDGET)


def test_the_same_model_stays_confirmed_in_a_continued_run(process: Any, tmp_path: Path) -> None:
    assert ended(process(LOST), with_=rated(tmp_path, 0.05)).confirmed.label == "gain 0.05"
    assert ended(process(), with_=rated(tmp_path, 0.05)).confirmed.label == "gain 0.05"
    assert len(looks(tmp_path)) == 1


@pytest.mark.parametrize(("gain", "confirmed"), [(0.04, "gain 0.05"), (0.08, "gain 0.08"), (None, "gain 0.05")])
def test_a_continued_run_must_beat_the_model_that_was_confirmed(
    process: Any, tmp_path: Path, gain: float | None, confirmed: str
) -> None:
    ended(process(LOST), with_=rated(tmp_path, 0.05))
    for context in (process(), process()):
        state = ended(context, with_=base() if gain is None else rated(tmp_path, gain))
        assert state.confirmed == replace(rated(tmp_path, float(confirmed.split()[1])), label=confirmed)
        assert state.provisional == state.confirmed


@pytest.mark.parametrize("method", [MethodOptions(), MethodOptions(method="ties", density=0.3)])
@pytest.mark.parametrize("beneath", [True, False])
def test_a_confirmed_model_with_a_side_of_queries_comes_back_whole(
    process: Any, tmp_path: Path, method: MethodOptions, beneath: bool
) -> None:
    documents, one, two = (rated(tmp_path, gain).model for gain in (0.05, 0.06, 0.07))
    queries = AdaptedModel(documents.backbone, (*one.adapters, *two.adapters), (0.4, 0.6), method)
    model = replace(documents if beneath else AdaptedModel(documents.backbone), queries=queries)
    both = replace(rated(tmp_path, 0.05), model=model, experts=("b", "c"))
    first, second = process(LOST), process()
    second.rate = lambda model, instruction: rating(0.05)
    assert ended(first, with_=both).confirmed == both
    assert ended(second, with_=base()).confirmed == both
    assert both.weights == {"b": 0.4, "c": 0.6}


def test_a_damaged_side_of_queries_is_named(process: Any, tmp_path: Path) -> None:
    documents, queries = (rated(tmp_path, gain).model for gain in (0.05, 0.06))
    ended(process(LOST), with_=replace(rated(tmp_path, 0.05), model=replace(documents, queries=queries)))
    (tmp_path / ".stages" / "gain-0.06" / "manifest.json").unlink()
    context = process()
    assert ended(context, with_=base()).confirmed.label == "backbone"
    assert "cannot be used again" in context.decisions[0]


def test_a_confirmed_model_that_is_damaged_is_named(process: Any, tmp_path: Path) -> None:
    ended(process(LOST), with_=rated(tmp_path, 0.05))
    (tmp_path / ".stages" / "gain-0.05" / "manifest.json").unlink()
    context = process()
    assert ended(context, with_=rated(tmp_path, 0.01, 0.5)).confirmed.label == "backbone"
    assert "gain 0.05 was confirmed before and cannot be used again" in context.decisions[0]
