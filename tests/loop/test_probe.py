"""A probe orders training pairs by what they teach, gives the same scores again, and costs next to nothing then."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.build import build_domain_data
from stm_agent.domain.data import Pair
from stm_agent.domain.spec import DomainSpec
from stm_agent.errors import DataError
from stm_agent.evaluate.scoring import ScoredTask
from stm_agent.job import Job
from stm_agent.loop.probe import MOST_PAIRS, ProbeSetting, probe, score_probed
from stm_agent.loop.single import build_job


@pytest.fixture
def pairs(tiny_domain: DomainSpec, workspace: Path) -> tuple[Pair, ...]:
    return build_domain_data(tiny_domain.collection, workspace).sources["train"]


@pytest.fixture
def setting(tiny_domain: DomainSpec, workspace: Path, tmp_path: Path) -> ProbeSetting:
    data = build_domain_data(tiny_domain.collection, workspace)
    return ProbeSetting(
        backbone=tiny_domain.backbone,
        train=tiny_domain.train,
        task=ScoredTask("search", data.collection.texts, data.collection.splits["dev"]),
        instruction=Instruction(),
        build=lambda job: build_job(job, tmp_path / "runs"),
        groups=data.groups,
        cache=tmp_path / "vectors",
    )


def wrong(pairs: tuple[Pair, ...]) -> list[Pair]:
    """Return pairs whose passage is another pair's."""
    shifted = [*pairs[7:], *pairs[:7]]
    return [replace(pair, positive=other.positive, group=pair.id) for pair, other in zip(pairs, shifted, strict=True)]


@pytest.mark.parametrize("kind", ["query-map", "query-side", "lora"])
def test_right_pairs_are_rated_above_wrong_ones(setting, pairs, kind):
    steps = 400 if kind == "query-map" else 40
    right = probe(setting, pairs, kind, steps=steps)
    assert right.scores.ndcg_at_10 > probe(setting, wrong(pairs), kind, steps=steps).scores.ndcg_at_10 + 0.1
    assert right.scores.per_query.keys() == setting.task.split.queries.keys()


def test_a_probe_is_a_job_that_is_built_once(setting, pairs):
    built: list[str] = []

    def build(job: Job) -> Path:
        built.append(job.key())
        return setting.build(job)

    watched = replace(setting, build=build)
    first = probe(watched, pairs, "query-map", steps=5)
    again = probe(watched, list(reversed(pairs)), "query-map", steps=5)
    assert (first.scores, built[:2]) == (again.scores, built[2:]), "the order of the pairs decides nothing"


def test_the_model_of_a_probe_can_be_scored_on_the_accept_half(setting, pairs):
    done = probe(setting, pairs, "query-side", steps=2)
    other = replace(setting.task, name="accept")
    assert score_probed(setting, done.model, other).ndcg_at_10 == done.scores.ndcg_at_10


def test_passages_that_are_not_scored_compete_in_training(setting, pairs):
    foreign = [Pair(f"f{n}", f"question {n}", f"a passage of its own {n}", "written", f"g{n}") for n in range(8)]
    assert probe(setting, foreign, "query-map", steps=2).scores.ndcg_at_10 >= 0


def test_no_pairs_cannot_be_probed(setting):
    with pytest.raises(DataError, match="no training pair"):
        probe(setting, [], "query-map")


def test_a_probe_of_many_pairs_trains_on_a_bounded_draw(setting, monkeypatch):
    monkeypatch.setattr("stm_agent.loop.probe.MOST_PAIRS", 4)
    seen: list[int] = []

    def build(job: Job) -> Path:
        seen.append(len(job.pairs))  # type: ignore[attr-defined]
        raise DataError("enough")

    many = [Pair(str(n), "q", f"passage {n}", "s", str(n)) for n in range(9)]
    with pytest.raises(DataError, match="enough"):
        probe(replace(setting, build=build), many, "query-map")
    assert seen == [4]
    assert MOST_PAIRS >= 500
