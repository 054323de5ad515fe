"""Which variants an expert is offered, and that only a probe which beats the incumbent changes it."""

from __future__ import annotations

from contextlib import suppress
from types import SimpleNamespace

import pytest

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.collection import Split
from stm_agent.domain.spec import ExpertSpec, LoopSpec, NegativeSpec
from stm_agent.errors import CheckFailed
from stm_agent.evaluate.metrics import Scores
from stm_agent.files import read_jsonl
from stm_agent.loop import variants as module
from stm_agent.loop.gate import Gate, GateSpec
from stm_agent.loop.halves import cut_dev
from stm_agent.loop.training import TrainingPlan
from stm_agent.loop.training_data import TrainingData
from stm_agent.loop.variants import choose_variant, variants

ASKED = Instruction("Find the passage.")
HARD = ExpertSpec(name="hard", sources=("train",), steps=9, negatives=NegativeSpec(synthetic=1, structural=1))


def labels(spec, instruction):
    return [variant.label for variant in variants(spec, instruction)]


def test_all_four_of_stm_are_offered_where_there_is_something_to_try():
    plain = HARD.model_copy(update={"negatives": NegativeSpec(structural=1)})
    assert labels(plain, Instruction()) == ["FT"]
    assert labels(HARD, Instruction()) == ["FT", "FT+SHN"]
    assert labels(plain, ASKED) == ["FT+PO", "FT"]
    assert labels(HARD, ASKED) == ["FT+PO", "FT+SHN+PO", "FT", "FT+SHN"]
    offered = {variant.label: variant for variant in variants(HARD, ASKED)}
    assert offered["FT"].spec.negatives == NegativeSpec(structural=1)
    assert offered["FT"].instruction == Instruction()
    assert offered["FT+SHN+PO"].spec == HARD
    assert offered["FT+SHN+PO"].instruction == ASKED


def test_a_checkpoint_keeps_its_own_prompts_without_an_instruction():
    own = Instruction.none({"query": "q: ", "document": "d: "})
    assert [variant.instruction for variant in variants(HARD, own)] == [own, own]
    plain = {variant.label: variant.instruction for variant in variants(HARD, own.saying("Find it.", "seed:a"))}["FT"]
    assert (plain.query_prefix, plain.passage_prefix) == ("q: ", "d: ")


def test_a_pool_of_prompts_comes_first_and_what_it_replaces_is_on_offer():
    pooled = HARD.model_copy(update={"prompts": "retrieval.yaml"})
    assert labels(pooled, ASKED) == ["FT+GP", "FT+SHN+GP", "FT+PO", "FT+SHN+PO", "FT", "FT+SHN"]
    assert {variant.label: variant.spec.prompts for variant in variants(pooled, ASKED)}["FT+PO"] is None


def test_a_loss_that_needs_negatives_is_not_tried_without():
    margin = ExpertSpec(name="m", sources=("train",), steps=9, loss="margin", negatives=NegativeSpec(mined=2))
    assert labels(margin, Instruction()) == ["FT+SHN"]
    assert labels(margin, ASKED) == ["FT+SHN+PO", "FT+SHN"]
    kept = margin.model_copy(update={"negatives": NegativeSpec(mined=2, structural=1)})
    assert labels(kept, Instruction()) == ["FT", "FT+SHN"]


def scores(value):
    per_query = {str(query): value + 0.001 * (query % 3) for query in range(60)}
    return Scores(value, 0.0, 0.0, per_query)


def context_of(loop, decisions=()):
    qrels = {str(query): {str(query): 1} for query in range(60)}
    gate = Gate(cut_dev(Split("dev", {query: f"query {query}" for query in qrels}, qrels)), GateSpec(samples=200))
    return SimpleNamespace(
        spec=SimpleNamespace(loop=loop),
        gate=gate,
        has_time=lambda lever: True,
        accept_scores=lambda rated: rated.rating.domain.per_query,
        decide=lambda lever, text, **data: decisions.append((text, data["kept"])),
        attempt=lambda lever: suppress(CheckFailed),
        note=lambda lever, text: None,
        warn=lambda lever, text: None,
        expect=lambda jobs: None,
    )


def plan(training_data=None):
    return TrainingPlan(spec=HARD, pairs=(), training_data=training_data or TrainingData(), start=None)


@pytest.mark.parametrize(
    ("by_label", "chosen"),
    [
        ({"FT+PO": 0.5, "FT+SHN+PO": 0.5, "FT": 0.4, "FT+SHN": 0.3}, "FT+PO"),
        ({"FT+PO": 0.5, "FT+SHN+PO": 0.6, "FT": 0.7, "FT+SHN": 0.3}, "FT"),
        ({"FT+PO": 0.5, "FT+SHN+PO": 0.8, "FT": 0.7, "FT+SHN": 0.9}, "FT+SHN"),
    ],
)
def test_the_best_probe_that_beats_the_incumbent_wins(monkeypatch, by_label, chosen):
    decisions = []
    monkeypatch.setattr(module, "_probe", lambda _context, variant, *_: scores(by_label[variant.label]))
    context = context_of(LoopSpec(probe_steps=2), decisions)
    choice = choose_variant(context, plan(), ASKED)
    assert choice.order[0].label == chosen
    assert choice.compared == 3, "the gate must know how many were tried"
    assert [kept for _, kept in decisions] == [by_label[label] > 0.5 for label in ("FT+SHN+PO", "FT", "FT+SHN")]
    assert decisions[0][0].startswith("expert hard: FT+SHN+PO instead of FT+PO")


@pytest.mark.parametrize(
    ("failing", "order"),
    [
        (["FT+SHN"], ["FT", "FT+SHN+PO", "FT+PO"]),
        (["FT+PO"], ["FT+SHN", "FT", "FT+SHN+PO"]),
        (["FT+PO", "FT+SHN+PO", "FT"], ["FT+SHN"]),
        (["FT+PO", "FT+SHN+PO", "FT", "FT+SHN"], []),
    ],
)
def test_a_probe_that_fails_loses_to_the_others(monkeypatch, failing, order):
    by_label = {"FT+PO": 0.5, "FT+SHN+PO": 0.6, "FT": 0.7, "FT+SHN": 0.9}

    def probe(_context, variant, *_):
        if variant.label in failing:
            raise CheckFailed("finite-loss", 1.0, "it fails")
        return scores(by_label[variant.label])

    monkeypatch.setattr(module, "_probe", probe)
    choice = choose_variant(context_of(LoopSpec(probe_steps=2), []), plan(), ASKED)
    assert [variant.label for variant in choice.order] == order
    assert choice.compared == max(len(order) - 1, 0)


def test_without_probes_everything_asked_for_is_kept():
    context = context_of(LoopSpec())
    assert choose_variant(context, plan(), ASKED).order[0].label == "FT+SHN+PO"
    assert choose_variant(context, plan(), Instruction()).order[0].label == "FT+SHN"


@pytest.mark.usefixtures("proof_in_this_process")
def test_the_merge_can_choose_among_all_variants(tiny_domain, workspace):
    from stm_agent.loop.optimize import optimize
    from stm_agent.loop.options import Options

    merge = tiny_domain.merge.model_copy(update={"variants": True, "verify": 1})
    spec = tiny_domain.model_copy(update={"merge": merge})
    options = Options(generator="scripted:numbered", controls=True)
    report = optimize(spec, options, workspace=workspace, runs=workspace / "runs")
    assert {"expert plain", "expert hard FT", "expert hard FT+SHN", "all-in-one"} <= set(report["rows"])
    front = [
        entry for entry in read_jsonl(workspace / "runs" / report["run"] / "ledger.jsonl") if entry["event"] == "front"
    ]
    assert set(front[-1]["experts"]) == {"plain", "hard FT", "hard FT+SHN"}
