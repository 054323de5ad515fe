"""A packed batch gives every text the vector a batch of its own would give."""

from __future__ import annotations

import numpy as np
import pytest

from stm_agent.backbone.checks import check_padding_invariance, vectors
from stm_agent.backbone.load import load_backbone
from stm_agent.backbone.packing import pack
from stm_agent.domain.spec import BackboneSpec
from stm_agent.testing.pico import pico_decoder

TEXTS = [
    "heart",
    "pain in the left knee after running, with swelling and a feeling of heat",
    "water boils",
    "how does the heart move blood through the body, and what happens when it stops",
    "the lazy dog",
    "a question and the passage that answers it",
]


@pytest.mark.parametrize("lengths", [[3], [5, 4, 3, 2, 1], [128, 1, 127], [300, 2], [1] * 200])
def test_pack_places_every_token_once(lengths):
    packing = pack(lengths)
    cells = set(zip(packing.row.tolist(), packing.column.tolist(), strict=True))
    assert len(cells) == sum(lengths)
    assert (packing.segment >= 0).sum() == sum(lengths)
    owners = packing.segment[packing.row, packing.column].tolist()
    assert owners == [text for text, length in enumerate(lengths) for _ in range(length)]
    assert packing.position.tolist() == [place for length in lengths for place in range(length)]
    assert packing.segment.shape[1] <= max(192, *lengths)


def test_pack_fills_rows_first_fit_decreasing():
    assert pack([60, 70, 60, 50], rows=(128,)).segment.shape == (2, 120)


@pytest.mark.parametrize(
    ("lengths", "shape"),
    [
        ([40] * 12, (12, 40)),
        ([30, 30] * 12, (12, 60)),
        # Beside a long text, rows are as long as it is: none stays half empty.
        ([300] + [10] * 30, (2, 300)),
    ],
)
def test_rows_have_the_length_that_costs_least(lengths, shape):
    assert pack(lengths).segment.shape == shape


def test_a_batch_without_a_token_gives_zeros(pico):
    import torch

    transformer = load_backbone(BackboneSpec(model=str(pico)))[0]
    nothing = torch.zeros((2, 3), dtype=torch.long)
    tokens = transformer({"input_ids": nothing, "attention_mask": nothing})["token_embeddings"]
    assert tokens.shape[:2] == (2, 3)
    assert not tokens.any()


@pytest.mark.parametrize("pooling", ["mean", "lasttoken", "weightedmean"])
@pytest.mark.parametrize("attention", ["bidirectional", "causal"])
def test_packed_equals_padded(pico, attention, pooling):
    spec = BackboneSpec(model=str(pico), attention=attention, pooling=pooling)
    packed = vectors(load_backbone(spec), TEXTS)
    padded = vectors(load_backbone(spec, packed=False), TEXTS)
    np.testing.assert_allclose(packed, padded, atol=1e-5)


@pytest.mark.parametrize("architecture", ["qwen2", "qwen3", "gemma", "phi3", "mistral"])
def test_packed_equals_padded_in_every_family(tmp_path, architecture):
    spec = BackboneSpec(model=str(pico_decoder(tmp_path / "pico", architecture=architecture)))
    packed = vectors(load_backbone(spec), TEXTS)
    padded = vectors(load_backbone(spec, packed=False), TEXTS)
    np.testing.assert_allclose(packed, padded, atol=1e-5)


@pytest.mark.parametrize("attention", ["bidirectional", "causal"])
def test_alone_equals_in_batch(pico, attention):
    model = load_backbone(BackboneSpec(model=str(pico), attention=attention))
    together = vectors(model, TEXTS)
    alone = np.concatenate([vectors(model, [text]) for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert check_padding_invariance(model) < 1e-5


def test_gradients_equal_padded(pico):
    spec = BackboneSpec(model=str(pico))
    gradients = []
    for packed in (True, False):
        model = load_backbone(spec, packed=packed)
        model(model.preprocess(TEXTS))["sentence_embedding"].sum().backward()
        gradients.append(model[0].model.layers[0].self_attn.q_proj.weight.grad.numpy())
    assert np.abs(gradients[0]).max() > 0
    np.testing.assert_allclose(gradients[0], gradients[1], atol=1e-5)
