"""Every loss is sentence-transformers' own: the same number on the same vectors, and an expert learns by it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sentence_transformers.sentence_transformer import losses

from stm_agent.backbone.load import load_backbone
from stm_agent.domain.data import Pair
from stm_agent.domain.spec import DomainSpec, ExpertSpec, NegativeSpec, TrainSpec
from stm_agent.errors import ConfigError
from stm_agent.mine.negatives import Negative
from stm_agent.train.aids import Aids, Helpers, prepare_aids
from stm_agent.train.data import training_rows
from stm_agent.train.losses import GRADE_TEMPERATURE, make_loss

WITH_NEGATIVES = ("cached-infonce", "gist", "cached-gist", "margin", "listwise")


def teacher(texts):
    """Place texts by their letters: near where they share words, which is all the test needs."""
    return np.stack([[text.count(letter) + 0.1 for letter in "abcdefghijkl"] for text in texts]).astype(np.float32)


def expert(loss, **options):
    return ExpertSpec(
        name=loss, sources=("train",), steps=2, loss=loss, **{"negatives": NegativeSpec(synthetic=1), **options}
    )


@pytest.fixture
def step(fit, backbone):
    """A function of an expert: its loss on one batch of six, the columns' vectors, and the aids it had."""

    def take(spec, train=fit.train):
        model = load_backbone(backbone)
        negatives = {pair.id: (Negative(f"the {pair.query} is lazy", "synthetic"),) for pair in fit.pairs}
        rows = training_rows(fit.pairs, negatives, spec)
        helpers = Helpers(teacher, guide=lambda: load_backbone(backbone))
        aids = prepare_aids(model, spec, rows, [range(12)], helpers, start=None, seed=0, prefixes=("", ""))
        batch = torch.arange(6)
        features = [model.preprocess(column[:6]) for column in rows.columns.values()]
        parts = [model(dict(column))["sentence_embedding"] for column in features]
        return make_loss(model, spec, train, aids)([dict(f) for f in features], batch).item(), parts, aids, model

    return take


def test_cached_infonce_is_infonce_whatever_the_mini_batch(step, fit):
    value, parts, _, model = step(expert("cached-infonce"), fit.train.model_copy(update={"mini_batch": 2}))
    plain = losses.MultipleNegativesRankingLoss(model, scale=20.0).compute_loss_from_embeddings(parts, None)
    assert value == pytest.approx(plain.item(), abs=1e-4)


@pytest.mark.parametrize("name", ["gist", "cached-gist"])
def test_the_guide_leaves_out_what_it_finds_nearer_than_the_positive(step, name):
    guided, parts, _, _ = step(expert(name))
    query, positive, negative = parts
    scores = torch.cat([query @ positive.T, query @ negative.T], dim=1)
    # The guide is the untrained model itself, so its cosines are these.
    own = scores.diagonal().unsqueeze(1)
    masked = scores.masked_fill(scores > own, -torch.inf)
    masked[range(6), range(6)] = own.squeeze(1)
    assert 0 < int((scores > own).sum()) < scores.numel() - 6
    expected = torch.nn.functional.cross_entropy(masked * 20.0, torch.arange(6))
    assert guided == pytest.approx(expected.item(), abs=1e-4)


def test_margin_is_margin_mse_on_the_teachers_scores(step):
    value, parts, aids, model = step(expert("margin"))
    scores = aids.lesson.scores(torch.arange(6))
    vectors = aids.lesson.targets(torch.arange(6))
    cosine = torch.nn.functional.cosine_similarity
    assert torch.allclose(scores[:, 1], cosine(vectors[0], vectors[2]), atol=1e-6)
    assert value == pytest.approx(
        losses.MarginMSELoss(model).compute_loss_from_embeddings(parts, scores).item(), abs=1e-5
    )


def test_listwise_orders_by_grade(step):
    value, parts, aids, _ = step(expert("listwise"))
    assert aids.grades[:6].tolist() == [[1.0, 0.0]] * 6
    scores = torch.stack([(parts[0] * passage).sum(dim=1) for passage in parts[1:]], dim=1) * 20.0
    target = (aids.grades[:6] / GRADE_TEMPERATURE).softmax(dim=1)
    distance = torch.nn.functional.kl_div(scores.log_softmax(dim=1), target, reduction="batchmean")
    assert value == pytest.approx(distance.item(), abs=1e-4)


def test_related_passages_join_the_list_with_their_grade(caplog):
    pairs = [
        Pair("1", "q one", "first", "train", "a", related=(("half", 0.5),)),
        Pair("2", "q two", "second", "train", "b"),
    ]
    rows = training_rows(pairs, {}, expert("listwise", negatives=NegativeSpec(), related=1))
    assert rows.columns["related_1"] == ["half", "first"]
    assert rows.grades == [[1.0, 0.5], [1.0, 0.0]]
    assert rows.skipped == {"related passage missing, a random one taken": 1}


def test_matryoshka_adds_the_same_loss_on_shorter_vectors(step, fit):
    plain = ExpertSpec(name="plain", sources=("train",), steps=1)
    value, parts, _, model = step(plain, fit.train.model_copy(update={"matryoshka": (8,)}))
    own = losses.MultipleNegativesRankingLoss(model, scale=20.0)
    short = [torch.nn.functional.normalize(part[:, :8], dim=1) for part in parts]
    both = own.compute_loss_from_embeddings(parts, None) + own.compute_loss_from_embeddings(short, None)
    assert value == pytest.approx(both.item(), abs=1e-4)


def test_matryoshka_longer_than_the_vector_is_named(step, fit):
    with pytest.raises(ConfigError, match="asks for 64 dimensions, the backbone has 32"):
        step(ExpertSpec(name="plain", sources=("train",), steps=1), fit.train.model_copy(update={"matryoshka": (64,)}))


@pytest.mark.parametrize("name", WITH_NEGATIVES)
def test_an_expert_learns_by_it(fit, backbone, name):
    negatives = {pair.id: (Negative(f"the {pair.query} is lazy", "synthetic"),) for pair in fit.pairs}
    helpers = Helpers(teacher, guide=lambda: load_backbone(backbone))
    train = fit.train.model_copy(update={"mini_batch": 4, "embeddings": not name.startswith("cached")})
    done = fit(
        name, steps=25, loss=name, asked=NegativeSpec(synthetic=1), negatives=negatives, helpers=helpers, train=train
    )
    assert np.mean(done.losses[-5:]) < 0.8 * np.mean(done.losses[:5])


def test_gradient_checkpointing_changes_no_number(fit, monkeypatch):
    from transformers import modeling_utils

    own, calls = modeling_utils.checkpoint, []

    def counting(*args, **kwargs):
        calls.append(1)
        return own(*args, **kwargs)

    monkeypatch.setattr(modeling_utils, "checkpoint", counting)
    plain, checkpointed = (
        fit(name, steps=3, train=fit.train.model_copy(update={"gradient_checkpointing": switch})).losses
        for name, switch in (("plain", False), ("checkpointed", True))
    )
    assert checkpointed == pytest.approx(plain, abs=1e-4)
    # Two layers in each of three steps, and none before it was asked for.
    assert len(calls) == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "gist", "teacher_weight": 1.0}, "part of loss infonce, not of gist"),
        ({"loss": "margin"}, "needs negatives"),
        ({"loss": "listwise"}, "needs negatives"),
        ({"loss": "gist", "negatives": {"mined": 2}}, "one hard negative at most"),
        ({"related": 1}, "need loss listwise"),
        ({"source_weights": {"other": 2.0}}, "which is none of its sources"),
        ({"loss": "hinge"}, "Input should be 'infonce'"),
    ],
)
def test_what_does_not_fit_a_loss_is_named(options, message):
    with pytest.raises(ValidationError, match=message):
        ExpertSpec.model_validate({"name": "x", "sources": ["train"], "steps": 1, **options})


def test_what_a_loss_lacks_is_named(fit, backbone):
    rows = training_rows(fit.pairs, {}, ExpertSpec(name="x", sources=("train",), steps=1))
    model = load_backbone(backbone)
    for loss, message in (("margin", "has loss margin and no teacher"), ("gist", "has loss gist and no guide")):
        with pytest.raises(ConfigError, match=message):
            prepare_aids(model, expert(loss), rows, [], Helpers(), start=None, seed=0, prefixes=("", ""))
    assert (
        prepare_aids(model, expert("cached-infonce"), rows, [], Helpers(), start=None, seed=0, prefixes=("", ""))
        == Aids()
    )


def test_domain_refuses_what_excludes_each_other():
    base = {"name": "d", "task": "t", "collection": {"kind": "hpo"}, "backbone": {"model": "embedded:smollm2-135m"}}
    cases = (
        ({"matryoshka": [64]}, {"teacher_weight": 1.0}, "needs the whole vector"),
        ({"gradient_checkpointing": True}, {"loss": "cached-infonce"}, "excludes train: gradient_checkpointing"),
        ({"patience": 2}, {}, "set evaluate_every too"),
    )
    for train, options, message in cases:
        with pytest.raises(ValidationError, match=message):
            DomainSpec.model_validate(
                {**base, "train": train, "experts": [{"name": "a", "sources": ["lay"], "steps": 1, **options}]}
            )
    assert TrainSpec().checkpoint_every == 50
