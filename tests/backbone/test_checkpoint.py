"""A sentence-transformers checkpoint as a start: what the domain leaves open stays as it was saved."""

from __future__ import annotations

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from transformers import AutoTokenizer

from stm_agent.backbone.checks import check_attention_direction, vectors
from stm_agent.backbone.encoder import TextEncoder
from stm_agent.backbone.load import load_backbone, load_model, network_of
from stm_agent.domain.data import Pair
from stm_agent.domain.spec import BackboneSpec, ExpertSpec, TrainSpec
from stm_agent.errors import CheckFailed
from stm_agent.merge.delta import load_delta
from stm_agent.merge.export import export_merged
from stm_agent.testing.pico import SENTENCES, pico_checkpoint
from stm_agent.train.expert import train_expert

PROMPTS = {"query": "ask: ", "document": "tell: "}


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return pico_checkpoint(tmp_path_factory.mktemp("bert"), pooling="cls", dense=16, max_length=24, prompts=PROMPTS)


@pytest.fixture(scope="module")
def causal(tmp_path_factory):
    """A causal decoder that pools the last token and ends no text with EOS."""
    return pico_checkpoint(tmp_path_factory.mktemp("decoder"), architecture="qwen3", pooling="lasttoken")


def test_its_own_options_stay(bert):
    model = load_backbone(BackboneSpec(model=str(bert)))
    plain = SentenceTransformer(str(bert), device="cpu")
    np.testing.assert_allclose(
        vectors(model, SENTENCES), plain.encode(list(SENTENCES), normalize_embeddings=True), atol=1e-5
    )
    assert (model[1].pooling_mode, model.max_seq_length, model.prompts) == ("cls", 24, PROMPTS)
    assert model.get_embedding_dimension() == 16
    assert model.similarity_fn_name == "cosine"
    np.testing.assert_allclose(np.linalg.norm(vectors(model), axis=1), 1, atol=1e-5)


def test_the_domain_changes_what_it_names(bert):
    model = load_backbone(BackboneSpec(model=str(bert), pooling="mean", max_length=8, layers=1))
    assert (model[1].pooling_mode, model.max_seq_length) == ("mean", 8)
    assert network_of(model).config.num_hidden_layers == 1
    assert [type(module).__name__ for module in model] == ["PackedTransformer", "Pooling", "Dense", "Normalize"]


def test_a_causal_checkpoint_stays_causal_unless_told(causal):
    assert check_attention_direction(load_backbone(BackboneSpec(model=str(causal), eos=False))) < 1e-6
    both = load_backbone(BackboneSpec(model=str(causal), eos=False, attention="bidirectional"))
    assert check_attention_direction(both, "bidirectional") > 1e-3


def test_the_last_token_is_eos_or_the_domain_says_that_it_is_none(causal):
    with pytest.raises(CheckFailed, match=r"'eos-pooled' failed \(\d+\): .* set eos: true, or eos: false"):
        load_backbone(BackboneSpec(model=str(causal)))
    ends = {
        eos: load_backbone(BackboneSpec(model=str(causal), eos=eos)).tokenizer("heat")["input_ids"][-1]
        for eos in (True, False)
    }
    assert ends[True] == AutoTokenizer.from_pretrained(causal).eos_token_id != ends[False]


def test_eos_follows_what_the_tokenizer_adds_already(tmp_path):
    from tokenizers.processors import TemplateProcessing

    folder = pico_checkpoint(tmp_path, architecture="gemma", pooling="lasttoken")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<pad> $A", special_tokens=[("<pad>", 0)])
    tokenizer.save_pretrained(folder)
    ids = load_backbone(BackboneSpec(model=str(folder), eos=True)).tokenizer("heat")["input_ids"]
    assert (ids[0], ids[-1]) == (0, tokenizer.eos_token_id)
    assert ids.count(tokenizer.eos_token_id) == 1
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.save_pretrained(folder)
    ids = load_backbone(BackboneSpec(model=str(folder), eos=True)).tokenizer("heat")["input_ids"]
    assert ids.count(tokenizer.eos_token_id) == 1


def test_identity_holds_the_dense_weights_and_no_trace_of_the_last_call(tmp_path, bert):
    other = pico_checkpoint(tmp_path, pooling="cls", dense=16, max_length=24, prompts=PROMPTS)
    same = load_model(str(other))
    assert TextEncoder(same).identity == TextEncoder(load_model(str(bert))).identity
    same.encode(["heart", SENTENCES[0]])
    assert TextEncoder(same).identity == TextEncoder(load_model(str(bert))).identity
    same[2].linear.weight.data *= 1.01
    assert TextEncoder(same).identity != TextEncoder(load_model(str(bert))).identity


def test_an_expert_of_a_checkpoint_trains_merges_and_reloads(bert, tmp_path):
    words = ("heart", "knee", "water", "dog", "mountain", "fox")
    spec = BackboneSpec(model=str(bert))
    before = load_backbone(spec)[2].linear.weight
    done = train_expert(
        ExpertSpec(name="plain", sources=("train",), steps=6),
        tuple(Pair(word, f"about the {word}", f"{word} is it", "train", word) for word in words),
        {},
        backbone=spec,
        train=TrainSpec(batch_size=4, learning_rate=0.01, lora_rank=2),
        start=None,
        query_prefix="",
        passage_prefix="",
        seed=0,
        folder=tmp_path / "expert",
    )
    assert done.checks["vectors-changed"] > 1e-3
    model = load_backbone(spec)
    export_merged(model, load_delta(done.adapter), tmp_path / "model", prompts=PROMPTS, card="")
    saved = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    np.testing.assert_array_equal(saved[2].linear.weight.detach(), before.detach())
    np.testing.assert_allclose(vectors(saved, SENTENCES), vectors(model, SENTENCES), atol=1e-5)


@pytest.mark.assets
def test_the_embedded_encoder_is_a_start():
    model = load_backbone(BackboneSpec(model="embedded:all-minilm-l6-v2", layers=2))
    assert (model[1].pooling_mode, model.max_seq_length, len(network_of(model).encoder.layer)) == ("mean", 256, 2)
