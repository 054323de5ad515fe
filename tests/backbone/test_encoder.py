"""The encoder's contract: order, prefix, norm, and an identity that tells vectors apart."""

from __future__ import annotations

import numpy as np
import pytest

from stm_agent.backbone.encoder import TextEncoder
from stm_agent.backbone.load import load_backbone
from stm_agent.backbone.threads import choose_threads
from stm_agent.domain.spec import BackboneSpec
from stm_agent.errors import StopRequested
from stm_agent.progress import watched_by
from stm_agent.testing.pico import SENTENCES


@pytest.fixture
def encoder(pico):
    return TextEncoder(load_backbone(BackboneSpec(model=str(pico))))


def test_vectors_are_unit_float32_in_the_order_given(encoder):
    texts = [*SENTENCES, "one", SENTENCES[0]]
    encoded = encoder.encode(texts)
    assert encoded.shape == (len(texts), encoder.dimension)
    assert encoded.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(encoded, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(encoded[0], encoded[-1], atol=1e-5)
    np.testing.assert_allclose(encoded[::-1], encoder.encode(texts[::-1]), atol=1e-5)


def test_prefix_is_part_of_the_text(encoder):
    given = encoder.encode(["heart"], prefix="Query: ")
    np.testing.assert_allclose(given, encoder.encode(["Query: heart"]), atol=1e-6)
    assert np.abs(given - encoder.encode(["heart"])).max() > 1e-3


def test_encoding_stops_between_two_batches(encoder):
    class Watcher:
        looks = 0

        def stop_reason(self):
            self.looks += 1
            return "stopped" if self.looks == 2 else None

    watcher = Watcher()
    with watched_by(watcher), pytest.raises(StopRequested):
        encoder.encode(SENTENCES * 100)
    assert watcher.looks == 2


def test_nothing_to_encode(encoder):
    assert encoder.encode([]).shape == (0, encoder.dimension)


def test_an_empty_text_does_not_spoil_its_batch(encoder):
    encoded = encoder.encode(["", "the heart"])
    assert np.isfinite(encoded).all()
    np.testing.assert_allclose(encoded[1:], encoder.encode(["the heart"]), atol=1e-5)


def test_identity_tells_models_apart(pico, encoder):
    others = [
        BackboneSpec(model=str(pico), layers=2),
        BackboneSpec(model=str(pico), attention="causal"),
        BackboneSpec(model=str(pico), pooling="weightedmean"),
        BackboneSpec(model=str(pico), pooling="lasttoken"),
        BackboneSpec(model=str(pico), max_length=16),
    ]
    identities = [encoder.identity, *(TextEncoder(load_backbone(spec)).identity for spec in others)]
    assert len(set(identities)) == len(identities)
    padded = load_backbone(BackboneSpec(model=str(pico)), packed=False)
    assert TextEncoder(padded).identity == encoder.identity


def test_threads_follow_the_environment(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert choose_threads() == (3, "OMP_NUM_THREADS is set")
    monkeypatch.delenv("OMP_NUM_THREADS")
    count, reason = choose_threads()
    assert count >= 1
    assert "cores" in reason


def test_batches_hold_about_as_many_tokens_each_and_the_order_stays(pico, monkeypatch):
    model = load_backbone(BackboneSpec(model=str(pico), max_length=256))
    texts = ["word " * (200 if number % 3 else 2) + str(number) for number in range(90)]
    expected = model.encode(texts, normalize_embeddings=True)
    sizes = []
    encode = model.encode
    monkeypatch.setattr(model, "encode", lambda part, **kept: sizes.append(len(part)) or encode(part, **kept))
    vectors = TextEncoder(model).encode(texts)
    # 60 long texts of 251 tokens, 30 short ones; the last batch of long ones is filled up with short ones.
    assert sizes == [16, 16, 16, 16, 26]
    assert np.allclose(vectors, expected, atol=1e-5)
