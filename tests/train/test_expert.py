"""An expert trains, is reproducible, and stops when its numbers are wrong."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from stm_agent.backbone.checks import vectors
from stm_agent.backbone.load import load_backbone
from stm_agent.backbone.network import network_of
from stm_agent.domain.spec import ExpertSpec, NegativeSpec, TrainSpec
from stm_agent.errors import CheckFailed, OutOfMemory
from stm_agent.files import sha256_file
from stm_agent.mine.negatives import Negative
from stm_agent.train.aids import Aids, Helpers
from stm_agent.train.dropout import make_dropout_fast
from stm_agent.train.expert import train_adapter
from stm_agent.train.losses import make_loss
from stm_agent.train.request import TrainingRequest


def infonce(model, scale, alias_weight=0.0):
    expert = ExpertSpec(name="x", sources=("train",), steps=1, alias_weight=alias_weight)
    return make_loss(model, expert, TrainSpec(scale=scale), Aids())


def with_adapter(backbone, adapter):
    from peft import PeftModel

    model = load_backbone(backbone)
    model[0].model = PeftModel.from_pretrained(network_of(model), str(adapter))
    return model.eval()


def test_training_learns_and_the_adapter_loads_in_peft(fit, backbone, tmp_path):
    from safetensors import safe_open

    told = []
    done = fit("plain", steps=30, progress=lambda *now: told.append(now))
    assert np.mean(done.losses[-3:]) < np.mean(done.losses[:3]) / 2
    assert [now[:2] for now in told] == [(step, 30) for step in range(1, 31)]
    assert done.checks["vectors-changed"] > 0.01
    assert done.checks["reload"] < 1e-5
    moved = vectors(with_adapter(backbone, done.adapter)) - vectors(load_backbone(backbone))
    assert np.abs(moved).max() == pytest.approx(done.checks["vectors-changed"], abs=1e-4)
    record = json.loads((tmp_path / "plain" / "expert.json").read_text())
    assert record["steps"] == len(record["losses"]) == 30
    with safe_open(done.adapter / "adapter_model.safetensors", "np") as tensors:
        names = set(tensors.keys())
    assert all("lora_" in name for name in names)
    assert any("embed_tokens.lora_embedding_A" in name for name in names)
    assert sum("lora_A" in name for name in names) == 2 * 7


def test_token_embeddings_can_be_left_alone(fit):
    from safetensors import safe_open

    done = fit("linear", train=fit.train.model_copy(update={"embeddings": False}))
    with safe_open(done.adapter / "adapter_model.safetensors", "np") as tensors:
        assert not [name for name in tensors.keys() if "embed_tokens" in name]  # noqa: SIM118 - not a mapping


def test_the_seed_decides_every_bit(fit):
    digests = [
        sha256_file(fit(name, steps=4, seed=seed).adapter / "adapter_model.safetensors")
        for name, seed in (("one", 1), ("again", 1), ("two", 2))
    ]
    assert digests[0] == digests[1] != digests[2]


def test_a_training_may_have_one_step(fit):
    assert len(fit("once", steps=1).losses) == 1


def test_a_start_adapter_is_gone_on_from(fit):
    first = fit("first", steps=30)
    digest = sha256_file(first.adapter / "adapter_model.safetensors")
    second = fit("second", steps=4, start=first.adapter)
    assert second.losses[0] < np.mean(first.losses[:3]) / 2
    assert sha256_file(first.adapter / "adapter_model.safetensors") == digest
    assert sha256_file(second.adapter / "adapter_model.safetensors") != digest


def test_hard_negatives_make_the_task_harder(fit):
    negatives = {pair.id: (Negative(f"the {pair.query} is lazy", "synthetic"),) for pair in fit.pairs}
    plain = fit("plain", steps=2)
    hard = fit("hard", steps=2, negatives=negatives, asked=NegativeSpec(synthetic=1))
    assert hard.losses[0] > plain.losses[0]
    assert hard.skipped == {}


def test_a_loss_that_is_no_number_stops(fit, monkeypatch):
    import torch
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    own, calls = MultipleNegativesRankingLoss.compute_loss_from_embeddings, []

    def breaks_at_three(self, embeddings, labels):
        calls.append(1)
        return own(self, embeddings, labels) * (torch.nan if len(calls) == 3 else 1)

    monkeypatch.setattr(MultipleNegativesRankingLoss, "compute_loss_from_embeddings", breaks_at_three)
    with pytest.raises(CheckFailed, match=r"expert broken at step 3; lower learning_rate"):
        fit("broken")


def test_a_loss_that_does_not_fall_stops(fit, monkeypatch):
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    calls = []

    def rises(self, embeddings, labels):
        calls.append(1)
        return embeddings[0].sum() * 0 + len(calls)

    monkeypatch.setattr(MultipleNegativesRankingLoss, "compute_loss_from_embeddings", rises)
    with pytest.raises(CheckFailed, match=r"'loss-falls' failed .* expert stuck began at 4.5"):
        fit("stuck")


def test_two_easy_batches_at_the_start_of_a_short_training_are_no_fault(fit, monkeypatch):
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    calls = []

    def falls_after_two(self, embeddings, labels):
        calls.append(1)
        return embeddings[0].sum() * 0 + (0.5 if len(calls) <= 2 else 2 - 0.05 * len(calls))

    monkeypatch.setattr(MultipleNegativesRankingLoss, "compute_loss_from_embeddings", falls_after_two)
    # Its loss has no gradient, which is another check's fault to find.
    with pytest.raises(CheckFailed, match="vectors-changed"):
        fit("short")


@pytest.mark.parametrize(
    ("losses", "fails"),
    [
        ([0.7, 0.3, 0.6, 0.4, 0.5] * 5 + [0.8, 0.3, 0.7, 0.4, 0.5], False),
        ([0.5] * 30, True),
        ([0.5, 0.6] * 10 + [0.8, 0.9] * 5, True),
        ([0.9, 0.7] * 10 + [0.8, 0.6] * 5, False),
    ],
    ids=["by chance", "the same for ever", "rises", "falls"],
)
def test_a_rise_by_chance_is_no_fault(losses, fails):
    from stm_agent.train.expert import _check_losses

    expert = ExpertSpec(name="e", sources=("train",), steps=30)
    if fails:
        with pytest.raises(CheckFailed, match="loss-falls"):
            _check_losses(expert, losses)
    else:
        _check_losses(expert, losses)


def test_an_adapter_that_changes_nothing_stops(fit):
    with pytest.raises(CheckFailed, match="'vectors-changed' failed"):
        fit("still", steps=2, train=fit.train.model_copy(update={"learning_rate": 1e-12}))


def test_one_forward_gives_the_loss_and_gradient_of_one_per_column(fit, backbone):
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    found = []
    for make in (infonce, lambda model, scale: MultipleNegativesRankingLoss(model, scale=scale)):
        model = load_backbone(backbone)
        columns = [
            model.preprocess(texts)
            for texts in (
                [pair.query for pair in fit.pairs],
                [pair.positive for pair in fit.pairs],
                [f"a {pair.id} that answers nothing" for pair in fit.pairs],
            )
        ]
        loss = make(model, 20.0)(columns, None)
        loss.backward()
        found.append((loss.item(), network_of(model).layers[0].mlp.up_proj.weight.grad.numpy()))
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-5)
    np.testing.assert_allclose(found[0][1], found[1][1], atol=1e-5)


def test_aliases_add_two_of_the_same_loss(fit, backbone):
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    model = load_backbone(backbone).eval()
    texts = [
        [f"{kind} {word}" for word in ("heart", "knee", "water", "dog", "fox")]
        for kind in ("what about the", "this is the", "called")
    ]
    query, passage, alias = [model.preprocess(column) for column in texts]
    plain = MultipleNegativesRankingLoss(model, scale=20.0)
    alone = [plain([dict(a), dict(b)], None).item() for a, b in ((query, passage), (alias, passage), (query, alias))]
    both = infonce(model, 20.0, 0.3)([query, passage, alias], None)
    assert both.item() == pytest.approx(alone[0] + 0.3 * (alone[1] + alone[2]), abs=1e-4)


def test_the_learning_rate_ends_where_it_was_told(fit, monkeypatch):
    from sentence_transformers import SentenceTransformerTrainer
    from transformers import TrainerCallback

    rates = []

    class Watch(TrainerCallback):
        def on_step_end(self, args, state, control, lr_scheduler=None, **kwargs):
            rates.append(lr_scheduler.get_last_lr()[0])

    own = SentenceTransformerTrainer.__init__

    def watched(self, *args, callbacks, **kwargs):
        own(self, *args, callbacks=[*callbacks, Watch()], **kwargs)

    monkeypatch.setattr(SentenceTransformerTrainer, "__init__", watched)
    fit("trunk", final_rate=0.4)
    assert max(rates) == pytest.approx(0.01)
    assert rates[-1] == pytest.approx(0.004)
    falls = np.diff(rates[2:])
    assert falls == pytest.approx([falls[0]] * len(falls))


def test_memory_that_runs_out_in_training_is_one_error_with_its_fix(fit, tmp_path):
    def teacher(texts):
        return torch.empty(1 << 55)

    with pytest.raises(OutOfMemory, match=r"memory ran out while training expert large .*; lower train: batch_size"):
        fit("large", teacher_weight=1.0, helpers=Helpers(teacher))
    assert not (tmp_path / "large" / "expert.json").exists()


def test_a_request_trains_what_the_arguments_train(fit, tmp_path):
    done = fit("one", steps=4, query_prefix="ask: ")
    spec = ExpertSpec(name="one", sources=("train",), steps=4)
    request = TrainingRequest(
        expert=spec,
        pairs=fit.pairs,
        negatives={},
        backbone=fit.backbone,
        train=fit.train,
        seed=0,
        query_prefix="ask: ",
    )
    again = train_adapter(request, tmp_path / "again")
    digests = [sha256_file(trained.adapter / "adapter_model.safetensors") for trained in (done, again)]
    assert digests[0] == digests[1]


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_attention_weights_are_not_dropped_on_a_cpu_and_hidden_states_are(family):
    from transformers import AutoConfig, AutoModel

    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    dropped = {"attention_probs_dropout_prob": 0.1} if family == "bert" else {"attention_dropout": 0.1}
    network = AutoModel.from_config(AutoConfig.for_model(family, vocab_size=20, **sizes, **dropped)).train()
    # Attention weights in both layers; BERT also drops hidden states after the embeddings and twice in each layer.
    assert make_dropout_fast(network) == (7 if family == "bert" else 2)
    assert make_dropout_fast(network) == 0
    ids = torch.arange(8).reshape(1, 8)
    outputs = [network(input_ids=ids).last_hidden_state for _ in range(2)]
    assert torch.equal(*outputs) == (family == "llama"), "BERT also drops hidden states; Llama does not"
