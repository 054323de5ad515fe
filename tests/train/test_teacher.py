"""A teacher's vectors reach the loss that sentence-transformers computes, and the student follows them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers.sentence_transformer.losses import EmbedDistillLoss, MultipleNegativesRankingLoss

from stm_agent.backbone.load import load_backbone
from stm_agent.domain.data import Pair
from stm_agent.domain.spec import ExpertSpec, TrainSpec
from stm_agent.errors import ConfigError
from stm_agent.files import sha256_file
from stm_agent.train.aids import Aids, Helpers
from stm_agent.train.data import training_rows
from stm_agent.train.losses import make_loss
from stm_agent.train.teacher import MAP, first_map, fit_map, prepare_lesson

WORDS = ("heart", "knee", "water", "dog", "mountain", "fox", "blood", "heat", "body", "lazy")
PAIRS = tuple(Pair(word, f"what about the {word}", f"{word} is what this answers", "train", word) for word in WORDS)
TRAIN = TrainSpec(batch_size=5, learning_rate=0.01, scale=20.0, lora_rank=4, lora_alpha=8)
DIMENSION = 16


def teacher(texts):
    """Put a text where its word is, whatever stands around it."""
    vectors = np.zeros((len(texts), DIMENSION), np.float32)
    for row, text in enumerate(texts):
        vectors[row, next(place for place, word in enumerate(WORDS) if word in text)] = 1
    return vectors


def expert(weight, steps=30):
    return ExpertSpec(name="taught", sources=("train",), steps=steps, teacher_weight=weight)


@pytest.fixture
def train(fit):
    def run(name, spec, teacher=teacher, start=None):
        options = {"teacher_weight": spec.teacher_weight, "steps": spec.steps, "query_prefix": "ask: "}
        return fit(name, train=TRAIN, pairs=PAIRS, start=start, helpers=Helpers(teacher), **options)

    return run


def lesson_of(batches):
    rows = training_rows(PAIRS, {}, expert(1.0), query_prefix="ask: ")
    asked = []

    def listening(texts):
        asked.extend(texts)
        return teacher(texts)

    return rows, prepare_lesson(rows, batches, listening, query_prefixes=["ask: "], passage_prefix=""), asked


def test_the_teacher_reads_planned_texts_once_and_without_prefix():
    rows, lesson, asked = lesson_of([[0, 2], [2, 5]])
    assert sorted(asked) == sorted(text for row in (0, 2, 5) for text in (PAIRS[row].query, PAIRS[row].positive))
    assert lesson.cells[1].tolist() == [-1, -1]
    query, positive = lesson.targets(torch.tensor([5, 0]))
    assert query.argmax(dim=1).tolist() == positive.argmax(dim=1).tolist() == [5, 0]
    assert set(lesson.texts) == {rows.columns[name][row] for row in (0, 2, 5) for name in ("query", "positive")}


def test_the_loss_is_the_sum_of_sentence_transformers_own_two(backbone):
    rows, lesson, _ = lesson_of([list(range(10))])
    model = load_backbone(backbone)
    mapping = torch.nn.Linear(int(model.get_embedding_dimension() or 0), DIMENSION)
    batch, labels = [3, 7, 1], torch.tensor([3, 7, 1])
    features = [model.preprocess([column[row] for row in batch]) for column in rows.columns.values()]
    ours = make_loss(model, expert(3.0), TRAIN, Aids(lesson, mapping))(features, labels)
    parts = [model(dict(column))["sentence_embedding"] for column in features]
    distill = EmbedDistillLoss(model, "cosine")
    distill.projection = mapping
    contrast = MultipleNegativesRankingLoss(model, scale=20.0).compute_loss_from_embeddings(parts, labels)
    distance = distill.compute_loss_from_embeddings(parts, lesson.targets(labels))
    assert ours.item() == pytest.approx((contrast + 3.0 * distance).item(), abs=1e-4)


def test_the_first_map_finds_a_linear_teacher(backbone):
    model = load_backbone(backbone)
    rows = training_rows(PAIRS, {}, expert(1.0))
    turn = np.random.default_rng(0).normal(size=(int(model.get_embedding_dimension() or 0), DIMENSION))

    def linear(texts):
        return (model.encode(texts) @ turn).astype(np.float32)

    lesson = prepare_lesson(rows, [list(range(10))], linear, query_prefixes=[""], passage_prefix="")
    mapped = fit_map(model, lesson, 0)(torch.from_numpy(model.encode(lesson.texts)))
    assert torch.nn.functional.cosine_similarity(mapped, lesson.vectors).min() > 0.99


def test_a_taught_expert_is_reproducible_and_not_an_untaught_one(train):
    digests = [
        sha256_file(train(name, expert(weight)).adapter / "adapter_model.safetensors")
        for name, weight in (("one", 5.0), ("again", 5.0), ("untaught", 0.0))
    ]
    assert digests[0] == digests[1] != digests[2]


def test_a_weight_without_a_teacher_is_named(train):
    with pytest.raises(ConfigError, match="has a teacher_weight and no teacher"):
        train("alone", expert(1.0), teacher=None)


def test_an_expert_that_goes_on_from_a_taught_one_keeps_its_map(train, backbone):
    first = train("first", expert(5.0))
    _, lesson, _ = lesson_of([[0]])
    model = load_backbone(backbone)
    kept = first_map(model, lesson, first.adapter, 0)
    assert not torch.equal(kept.weight, fit_map(model, lesson, 0).weight)
    assert torch.equal(kept.weight, load_file(first.adapter.parent / MAP)["weight"])
    second = train("second", expert(5.0, steps=2), start=first.adapter)
    assert not torch.equal(kept.weight, load_file(second.adapter.parent / MAP)["weight"])
