"""BM25 and the start together teach one expert of queries, if they rank better than the start and minutes are left."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from stm_agent.domain.load import domain_of_collection
from stm_agent.domain.sources import judged_domain_data
from stm_agent.domain.spec import DomainSpec, ExpertSpec, TeacherSpec
from stm_agent.loop.fused_teacher import NOT_MEASURED, FusedTeacher, compare
from stm_agent.loop.recipes import plan_experts
from stm_agent.loop.run_plan import Speed
from stm_agent.loop.time_table import USABLE
from stm_agent.testing.tiny import tiny_beir, tiny_collection

FAST = Speed(passages=1000.0, queries=5000.0)
BETTER = FusedTeacher(bm25=0.3, gain=0.04, error=0.01)


@pytest.fixture
def planned(tmp_path: Path) -> DomainSpec:
    spec = domain_of_collection(tiny_beir(tmp_path / "folder"))
    return spec.model_copy(
        update={"general": (), "train": spec.train.model_copy(update={"batch_size": 8, "learning_rate": 0.01})}
    )


def told(spec: DomainSpec, teacher: FusedTeacher, minutes: float = 30, speed: Speed = FAST) -> tuple[DomainSpec, str]:
    """Return the planned domain, and the line about distilling."""
    data = judged_domain_data(tiny_collection())
    domain, reasons = plan_experts(spec, data, minutes=minutes, speed=speed, teacher=teacher)
    (line,) = [reason for reason in reasons if "distilled:" in reason]
    return domain, line


def distilled(spec: DomainSpec) -> list[ExpertSpec]:
    return [expert for expert in spec.experts if expert.loss == "distil"]


def test_a_teacher_that_ranks_better_than_the_start_teaches_one_expert_of_queries(planned: DomainSpec) -> None:
    spec, line = told(planned, BETTER)
    (expert,) = distilled(spec)
    assert (expert.name, expert.side, expert.sources) == ("queries-distilled", "query", ("train",))
    assert spec.experts[-1] == expert, "what is left to learn when the others are trained"
    assert spec.teach == TeacherSpec(encoders=("own",), bm25=0.3, encoder_weights=(0.7,))
    assert line.endswith(
        "BM25 and the start together have nDCG@10 +0.040 beside the start alone (standard error 0.010)"
    )


def test_a_gain_within_its_standard_error_teaches_nothing(planned: DomainSpec) -> None:
    spec, line = told(planned, FusedTeacher(bm25=0.1, gain=0.01, error=0.02))
    assert not distilled(spec)
    assert spec.teach == planned.teach
    assert line.startswith("no expert of queries is distilled: BM25 and the start together have nDCG@10 +0.010")


def test_it_takes_minutes_that_the_other_experts_leave(planned: DomainSpec) -> None:
    slow = Speed(passages=2.0, queries=40.0)
    spec, line = told(planned, BETTER, 8, slow)
    assert not distilled(spec)
    assert "minutes, and the other experts leave" in line
    least = next(minutes for minutes in range(8, 200) if distilled(told(planned, BETTER, minutes, slow)[0]))
    _, reasons = plan_experts(planned, judged_domain_data(tiny_collection()), minutes=least, speed=slow, teacher=BETTER)
    assert "one distilled expert of queries" in reasons[-1]
    assert float(reasons[-1].rpartition("; ")[2].split()[0]) <= least * USABLE + 0.1


def test_a_teacher_that_the_domain_names_is_left_to_its_experts(planned: DomainSpec) -> None:
    named = planned.model_copy(update={"teach": TeacherSpec(scores="cross-encoder:some/model")})
    spec, line = told(named, BETTER)
    assert not distilled(spec)
    assert spec.teach == named.teach
    assert "list an expert with loss: distil to use it" in line


def test_a_plan_before_the_start_was_scored_has_the_minutes_and_says_what_decides(planned: DomainSpec) -> None:
    spec, line = told(planned, NOT_MEASURED)
    assert distilled(spec)
    assert line.endswith("rank the search half better than the start alone, which the run measures")


def test_without_judged_pairs_nothing_is_distilled(planned: DomainSpec) -> None:
    data = dataclasses.replace(judged_domain_data(tiny_collection()), sources={})
    spec, reasons = plan_experts(planned, data, minutes=30, speed=FAST, teacher=BETTER)
    assert not distilled(spec)
    assert not any("distilled" in reason for reason in reasons)


def test_the_gain_is_that_of_the_best_share_of_bm25_with_its_standard_error() -> None:
    qrels = {query: {"a": 1} for query in ("x", "y", "z")}
    near = {query: {"a": 0.5, "b": 0.6} for query in qrels}
    words = {"x": {"a": 4.0}, "y": {"a": 4.0}}
    teacher = compare(near, words, qrels)
    lifted = 1 - 1 / 1.584962500721156
    assert teacher.gain == pytest.approx(lifted * 2 / 3), "the third query shares no word with its passage"
    assert teacher.error == pytest.approx(lifted / 3)
    assert (teacher.bm25, teacher.teaches) == (0.1, True)
    none = compare(near, {}, qrels)
    assert (none.gain, none.teaches) == (0.0, False)
