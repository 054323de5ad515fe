"""A user's data of several named sources: experts of one source each stand beside those of all."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from stm_agent.domain.beir import write_beir
from stm_agent.domain.build import build_domain_data
from stm_agent.domain.data import DomainData
from stm_agent.domain.load import domain_of_collection
from stm_agent.domain.sources import judged_domain_data
from stm_agent.domain.spec import BackboneSpec, DomainSpec
from stm_agent.files import read_json, read_jsonl
from stm_agent.loop.optimize import optimize
from stm_agent.loop.options import Options
from stm_agent.loop.plan import plan
from stm_agent.loop.recipes import plan_experts
from stm_agent.loop.run_plan import Speed
from stm_agent.loop.time_table import QUERY_EXPERTS, USABLE
from stm_agent.loop.useful_training import FEWEST_STEPS
from stm_agent.testing.pico import pico_decoder
from stm_agent.testing.tiny import tiny_collection

FAST = Speed(passages=1000.0, queries=5000.0)


@pytest.fixture
def planned(tmp_path: Path) -> DomainSpec:
    """A folder whose documents have a field with two values, each a source; no expert is listed."""
    folder = write_beir(tiny_collection(), tmp_path / "parts")
    rows = read_jsonl(folder / "corpus.jsonl")
    for number, row in enumerate(rows):
        row["metadata"] = {"part": "left" if number % 2 else "right"}
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    spec = domain_of_collection(folder)
    sources = [{"name": name, "by": "part"} for name in ("left", "right")]
    collection = spec.collection.model_validate({**spec.collection.model_dump(), "sources": sources})
    return spec.model_copy(
        update={
            "collection": collection,
            "backbone": BackboneSpec(model=str(pico_decoder(tmp_path / "pico")), max_length=32),
            "starts": (),
            "baseline": None,
            "general": (),
            "train": spec.train.model_copy(update={"batch_size": 8, "learning_rate": 0.01}),
            "loop": spec.loop.model_copy(update={"bootstrap": 300}),
        }
    )


def experts_of(spec: DomainSpec, data: DomainData, minutes: float = 30, speed: Speed = FAST) -> dict[str, int]:
    """Return expert -> steps."""
    planned, _ = plan_experts(spec, data, minutes=minutes, speed=speed)
    return {expert.name: expert.steps for expert in planned.experts}


def line_of(spec: DomainSpec, data: DomainData, minutes: float = 30, speed: Speed = FAST) -> list[str]:
    """Return the lines of the plan about sources."""
    _, reasons = plan_experts(spec, data, minutes=minutes, speed=speed)
    return [line for line in reasons if "sources: experts of one source" in line]


def test_each_source_with_enough_pairs_has_experts_beside_those_of_all(planned: DomainSpec, tmp_path: Path) -> None:
    data = build_domain_data(planned.collection, tmp_path)
    spec, reasons = plan_experts(planned, data, minutes=30, speed=FAST)
    experts = {expert.name: expert for expert in spec.experts}
    assert list(experts) == ["both-sides", "queries-1", "queries-2", "queries-of-left", "queries-of-right"]
    assert experts["queries-of-left"].sources == ("left",)
    assert experts["queries-1"].sources == experts["both-sides"].sources == ("train", "left", "right")
    assert FEWEST_STEPS <= experts["queries-of-left"].steps < experts["queries-1"].steps, "as many passes over fewer"
    pairs = len(data.sources["train"])
    assert f"experts learn from train, left, right: {pairs} pairs" in reasons, "a part repeats the pairs of train"
    (line,) = line_of(planned, data)
    assert line.startswith("3 sources: experts of one source each, beside those of all: queries of left (")
    assert f"learnt in the mix alone: train ({pairs} pairs) (an expert of one source needs" in line


def test_one_source_is_planned_as_before(planned: DomainSpec) -> None:
    data = judged_domain_data(tiny_collection())
    assert list(experts_of(planned, data)) == ["both-sides", *(f"queries-{n}" for n in range(1, QUERY_EXPERTS + 1))]
    assert not line_of(planned, data)


def test_a_source_of_few_pairs_is_learnt_in_the_mix_alone(planned: DomainSpec) -> None:
    data = judged_domain_data(tiny_collection())
    pairs = data.sources["train"]
    data = dataclasses.replace(data, sources={"train": pairs[:-3], "notes": pairs[-3:]})
    assert "queries-of-notes" not in experts_of(planned, data)
    (line,) = line_of(planned, data)
    assert "beside those of all: none" in line
    assert "notes (3 pairs)" in line


def test_both_sides_of_one_source_are_trained_in_the_minutes_that_the_mix_leaves(planned: DomainSpec) -> None:
    data = judged_domain_data(tiny_collection())
    pairs = data.sources["train"] * 40
    # Other texts, so that they are other pairs.
    many = tuple(dataclasses.replace(pair, query=f"{pair.query} {n}") for n, pair in enumerate(pairs))
    half = len(many) // 2
    data = dataclasses.replace(data, sources={"train": many[:half], "web": many[half:]})
    roomy = experts_of(planned, data)
    assert roomy["both-sides-of-train"] == roomy["both-sides-of-web"] == pytest.approx(roomy["both-sides"] / 2, abs=1)
    slow = Speed(passages=50.0, queries=300.0)
    scarce = experts_of(planned, data, 4, slow)
    assert "both-sides" in scarce and not any(name.startswith("both-sides-of") for name in scarce)
    assert "queries-of-web" in scarce, "it takes the place of a bag, so it costs no minutes"
    between = {minutes: experts_of(planned, data, minutes, slow) for minutes in range(4, 200, 4)}
    first = min(minutes for minutes, experts in between.items() if "both-sides-of-train" in experts)
    assert between[first]["both-sides"] == roomy["both-sides"], "first the mix learns all that it can"
    _, reasons = plan_experts(planned, data, minutes=first, speed=slow)
    total = float(reasons[-1].rpartition("; ")[2].split()[0])
    assert "both sides of one source each" in reasons[-1]
    assert total <= first * USABLE + 0.1


def test_the_experts_of_sources_are_in_the_printed_plan(planned: DomainSpec, workspace: Path) -> None:
    rows = plan(planned, workspace, Options(generator="scripted:numbered", budget_minutes=30))
    text = "\n".join(row["what"] for row in rows)
    assert "3 sources: experts of one source each" in text
    assert "expert queries-of-left" in text


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("proof_in_this_process")
def test_experts_of_sources_are_trained_and_merged(planned: DomainSpec, workspace: Path) -> None:
    options = Options(generator="scripted:numbered", budget_minutes=10)
    report = optimize(planned, options, workspace=workspace, runs=workspace / "runs")
    folder = workspace / "runs" / report["run"]
    experts = [row for row in read_jsonl(folder / "ledger.jsonl") if row["event"] == "expert"]
    assert {"queries-of-left", "queries-of-right"} <= {row["name"] for row in experts}
    (left,) = [row for row in experts if row["name"] == "queries-of-left"]
    assert left["sources"] == ["left"]
    fronts = [row for row in read_jsonl(folder / "ledger.jsonl") if row["event"] == "front"]
    assert "queries-of-left" in fronts[-1]["order"], "the merge decides what it is worth"
    assert read_json(folder / "plan.json")["reasons"] == report["plan"]
    assert any(line.startswith("one expert of queries is distilled: BM25 and the start") for line in report["plan"])
    assert "queries-distilled" in fronts[-1]["order"]
    assert list((workspace / "runs" / ".stages").glob("teach-*"))
