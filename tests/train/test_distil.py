"""Loss distil and the anchor: sentence-transformers' arithmetic on the teacher's lists."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from peft import PeftModel
from pydantic import ValidationError
from sentence_transformers.sentence_transformer import losses

from stm_agent.backbone.load import load_backbone
from stm_agent.domain.spec import ExpertSpec
from stm_agent.errors import DataError
from stm_agent.mine.lists import Candidate, ScoredList
from stm_agent.train.aids import Aids
from stm_agent.train.anchor import prepare_anchor
from stm_agent.train.batch_plan import plan_batches
from stm_agent.train.data import training_rows
from stm_agent.train.losses import make_loss
from stm_agent.train.request import TrainingRequest


def expert(**options):
    return ExpertSpec(name="x", sources=("train",), steps=2, **{"loss": "distil", "candidates": 3, **options})


def lists_of(pairs, counts=(3,)):
    """The candidates of each pair are the positives of the next ones, less and less relevant."""
    lists = {}
    for row, pair in enumerate(pairs):
        others = [pairs[(row + step) % len(pairs)] for step in range(1, counts[row % len(counts)] + 1)]
        lists[pair.id] = ScoredList(
            0.8, tuple(Candidate(p.positive, p.id, 0.7 - 0.1 * n) for n, p in enumerate(others))
        )
    return lists


def loss_of(rows, spec, train, backbone, aids=None):
    """Return the loss of the first six rows, and their columns' vectors."""
    model = load_backbone(backbone)
    features = [model.preprocess(column[:6]) for column in rows.columns.values()]
    parts = [model(dict(column))["sentence_embedding"] for column in features]
    aids = aids or Aids(grades=torch.tensor(rows.grades))
    return make_loss(model, spec, train, aids)([dict(f) for f in features], torch.arange(6)), parts, model


def test_distil_is_the_teachers_kl_and_a_share_of_infonce(fit, backbone):
    spec = expert(gold=0.2)
    rows = training_rows(fit.pairs, {}, spec, lists=lists_of(fit.pairs))
    assert rows.grades[0] == pytest.approx([1.0, 0.7, 0.6, 0.5])
    value, parts, model = loss_of(rows, spec, fit.train, backbone)
    kl = losses.DistillKLDivLoss(model, student_temperature=1 / 20, teacher_temperature=0.05)
    contrast = losses.MultipleNegativesRankingLoss(model, scale=20.0)
    wanted = kl.compute_loss_from_embeddings(parts, torch.tensor(rows.grades[:6])) * 20.0**2
    wanted = wanted + 0.1 * contrast.compute_loss_from_embeddings(parts[:2], None)
    assert value.item() == pytest.approx(wanted.item(), abs=1e-4)


def test_a_missing_candidate_takes_no_part(fit, backbone):
    spec, train = expert(), fit.train.model_copy(update={"infonce_share": 0.0})
    rows = training_rows(fit.pairs, {}, spec, lists=lists_of(fit.pairs, counts=(3, 1)))
    assert rows.skipped == {"candidate missing, its cell is masked": 12}
    value, parts, model = loss_of(rows, spec, train, backbone)
    query, *passages = (part.detach() for part in parts)
    expected = 0.0
    for row, targets in enumerate(torch.tensor(rows.grades[:6])):
        full = targets.isfinite()
        scores = torch.stack([query[row] @ passage[row] for passage in passages])[full] * 20.0
        target = (targets[full] / 0.05).softmax(dim=0)
        expected += torch.nn.functional.kl_div(scores.log_softmax(dim=0), target, reduction="sum").item() / 6
    assert value.item() == pytest.approx(expected, abs=1e-4)
    value.backward()
    assert all(w.grad.isfinite().all() for w in model.parameters() if w.grad is not None)


def test_each_copy_of_a_row_shows_the_next_candidates(fit):
    rows = training_rows(fit.pairs, {}, expert(), lists=lists_of(fit.pairs, counts=(6,)))
    shown = [[rows.columns[f"candidate_{n}"][12 * copy] for n in (1, 2, 3)] for copy in range(2)]
    assert rows.copies == 2
    assert [*shown[0], *shown[1]] == [pair.positive for pair in fit.pairs[1:7]]


def test_rows_that_share_a_candidate_may_share_a_batch(fit):
    spec = expert(candidates=11)
    rows = training_rows(fit.pairs, {}, spec, lists=lists_of(fit.pairs, counts=(11,)))
    assert [len(batch) for batch in plan_batches(rows, spec, fit.train, 0)] == [6, 6]


def test_pairs_without_scores_are_left_out_and_counted(fit):
    lists = lists_of(fit.pairs[:4])
    rows = training_rows(fit.pairs, {}, expert(), lists=lists)
    assert len(rows) == 4
    assert rows.skipped["no teacher scores, left out"] == 8
    with pytest.raises(DataError, match="no usable training pair"):
        training_rows(fit.pairs, {}, expert(), lists={})


def test_an_expert_learns_by_it(fit):
    done = fit("distil", steps=25, loss="distil", candidates=3, lists=lists_of(fit.pairs, counts=(3, 2)))
    assert np.mean(done.losses[-5:]) < 0.8 * np.mean(done.losses[:5])


def request_of(fit, backbone, spec, start=None):
    return TrainingRequest(
        expert=spec, pairs=fit.pairs, negatives={}, backbone=backbone, train=fit.train, seed=0, start=start
    )


@pytest.mark.parametrize("loss", ["infonce", "distil"])
def test_the_anchor_is_the_distance_from_the_backbones_vectors(fit, backbone, loss):
    plain = expert(loss=loss)
    rows = training_rows(fit.pairs, {}, plain, lists=lists_of(fit.pairs), query_prefix="ask: ")
    origin = prepare_anchor(load_backbone(backbone), rows, [range(12)], request_of(fit, backbone, plain))
    assert origin.texts[0].startswith("ask: ")
    # Vectors of other texts as the anchor, since the distance of the untrained model from itself is 0.
    moved = type(origin)(origin.texts, origin.vectors.roll(1, 0), origin.cells)
    grades = torch.tensor(rows.grades)
    values = [
        loss_of(rows, spec, fit.train, backbone, Aids(grades=grades, anchor=anchor))[0].item()
        for spec, anchor in ((plain, None), (expert(loss=loss, anchor_weight=2.0), moved))
    ]
    _, parts, _ = loss_of(rows, plain, fit.train, backbone, Aids(grades=grades))
    targets = moved.targets(torch.arange(6))
    distance = np.mean(
        [(1 - (part * target).sum(dim=1)).mean().item() for part, target in zip(parts, targets, strict=True)]
    )
    assert values[1] - values[0] == pytest.approx(2.0 * distance, abs=1e-3)
    still = loss_of(rows, expert(loss=loss, anchor_weight=2.0), fit.train, backbone, Aids(grades=grades, anchor=origin))
    assert still[0].item() == pytest.approx(values[0], abs=1e-3)


def test_an_anchored_expert_stays_nearer_to_its_backbone(fit, backbone):
    model = load_backbone(backbone)
    texts = [pair.query for pair in fit.pairs]
    distances = []
    for weight in (0.0, 20.0):
        done = fit(f"anchored-{weight}", steps=15, anchor_weight=weight)
        moved = load_backbone(backbone)
        moved[0].model = PeftModel.from_pretrained(moved[0].model, str(done.adapter))
        distances.append(1 - float((model.encode(texts) * moved.encode(texts)).sum(axis=1).mean()))
    assert distances[1] < 0.5 * distances[0]


def test_an_expert_that_continues_is_anchored_to_the_backbone(fit, backbone):
    first = fit("first", steps=3)
    rows = training_rows(fit.pairs, {}, expert(loss="infonce"))
    model = load_backbone(backbone)
    request = request_of(fit, backbone, expert(loss="infonce"), start=first.adapter)
    anchor = prepare_anchor(None, rows, [range(12)], request)
    assert np.allclose(anchor.vectors, model.encode(anchor.texts), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "gist", "anchor_weight": 1.0}, "anchor_weight needs loss infonce or distil"),
        ({"loss": "distil", "negatives": {"mined": 1}}, "takes candidates, not negatives"),
        ({"loss": "distil", "teacher_weight": 1.0}, "part of loss infonce, not of distil"),
        ({"loss": "distil", "candidates": 0}, "greater than or equal to 1"),
    ],
)
def test_what_does_not_fit_is_named(options, message):
    with pytest.raises(ValidationError, match=message):
        ExpertSpec.model_validate({"name": "x", "sources": ["train"], "steps": 1, **options})
