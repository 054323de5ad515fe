"""What a state offers: what its data allow, short trainings before long ones, and nothing twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.data import Pair
from stm_agent.domain.spec import DomainSpec
from stm_agent.evaluate.metrics import Scores
from stm_agent.loop.actions.action import Action
from stm_agent.loop.actions.menu import offered
from stm_agent.loop.actions.slice import AddExpert
from stm_agent.loop.actions.training import expert_of
from stm_agent.loop.state import Expert, RatedModel, State
from stm_agent.loop.training_data import TrainingData
from stm_agent.merge.adapted import AdaptedModel
from stm_agent.merge.job import Rating


def rated(spec: DomainSpec, score: float, *adapters: Path) -> RatedModel:
    model = AdaptedModel(spec.backbone, adapters, (1.0,) * len(adapters))
    rating = Rating(Scores(score, 0.0, 0.0, {"q": score}), 0.5)
    return RatedModel(label="a model", model=model, instruction=Instruction(), rating=rating)


def trained(spec: DomainSpec, name: str, score: float, folder: Path) -> Expert:
    (folder / "adapter").mkdir(parents=True, exist_ok=True)
    return Expert(
        name=name,
        spec_name=name,
        variant="FT",
        folder=folder,
        rated=rated(spec, score, folder / "adapter"),
        texts_per_second=1.0,
    )


@pytest.fixture
def start(tiny_domain: DomainSpec) -> State:
    return State.start(rated(tiny_domain, 0.4))


def menu(spec: DomainSpec, state: State, done: tuple[str, ...] = ()) -> dict[str, list[Action]]:
    context: Any = SimpleNamespace(
        spec=spec, plan=None, run=SimpleNamespace(identity={}), _traits={"type": {"q": "question"}}
    )
    kinds: dict[str, list[Action]] = {}
    for action in offered(context, state, done):
        kinds.setdefault(action.kind, []).append(action)
    return kinds


def test_an_expert_waits_for_its_data_and_for_the_one_it_starts_from(tiny_domain: DomainSpec, start: State) -> None:
    first = menu(tiny_domain, start)
    assert set(first) == {"search-instruction", "optimize-program", "prepare-data", "train-expert", "distil"}
    assert [action.to_json()["expert"] for action in first["train-expert"]] == ["plain"]
    prepared = replace(start, training_data=TrainingData(), round=1)
    assert [action.to_json()["expert"] for action in menu(tiny_domain, prepared)["train-expert"]] == ["plain"]


def test_what_was_done_is_offered_again_only_with_other_data_or_another_model(
    tiny_domain: DomainSpec, start: State, tmp_path: Path
) -> None:
    (train,) = menu(tiny_domain, start)["train-expert"]
    done = (train.key(start),)
    assert "train-expert" not in menu(tiny_domain, start, done)
    plain = trained(tiny_domain, "plain", 0.5, tmp_path / "plain")
    after = replace(start, experts=(plain,), provisional=plain.rated, training_data=TrainingData(), round=1)
    offers = menu(tiny_domain, after, done)
    starts = [(action.to_json()["expert"], action.to_json()["start"]) for action in offers["train-expert"]]
    assert ("plain", "incumbent") in starts
    assert ("hard", "listed") in starts
    assert {action.round for action in offers["prepare-data"]} == {2}, "the newest model mines"
    pair = Pair("written:1", "a query", "a passage", "written", "1")
    written = replace(after, training_data=TrainingData(written=(pair,)))
    assert train.key(written) != train.key(after)


def test_a_long_training_comes_after_a_short_one_that_was_better_than_the_start(
    tiny_domain: DomainSpec, start: State, tmp_path: Path
) -> None:
    plain = tiny_domain.experts[0].model_copy(update={"steps": 400})
    spec = tiny_domain.model_copy(update={"experts": (plain,)})

    def rungs(score: float | None) -> set[str]:
        experts = () if score is None else (trained(spec, "plain", score, tmp_path / "plain"),)
        offers = menu(spec, replace(start, experts=experts))
        return {str(action.to_json()["rung"]) for kind in ("train-expert", "distil") for action in offers[kind]}

    assert rungs(None) == rungs(0.3) == {"short"}
    assert rungs(0.5) == {"whole"}
    assert expert_of(spec, "plain", "short").steps == 100
    sliced = AddExpert(by="type", slice="question")
    assert (sliced.spec(spec).steps, sliced.model_copy(update={"rung": "short"}).spec(spec).steps) == (200, 50)


def test_two_experts_can_be_merged_and_the_best_can_be_continued(
    tiny_domain: DomainSpec, start: State, tmp_path: Path
) -> None:
    experts = tuple(trained(tiny_domain, name, 0.5, tmp_path / name) for name in ("plain", "hard"))
    offers = menu(tiny_domain, replace(start, experts=experts))
    assert [action.to_json()["side"] for action in offers["merge"]] == ["both"]
    assert len(offers["continue-training"]) == 2
    worse = tuple(trained(tiny_domain, name, 0.3, tmp_path / name) for name in ("plain", "hard"))
    assert "continue-training" not in menu(tiny_domain, replace(start, experts=worse))
