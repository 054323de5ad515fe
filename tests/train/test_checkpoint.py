"""A killed training goes on to the very same weights; what a kill left half-written is never loaded."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from stm_agent.backbone.instruction import Instruction
from stm_agent.backbone.load import load_backbone
from stm_agent.domain.collection import Split
from stm_agent.domain.data import Pair
from stm_agent.domain.spec import ExpertSpec
from stm_agent.errors import CheckFailed, ConfigError, DataError, StorageError
from stm_agent.evaluate.scoring import ScoredTask
from stm_agent.files import sha256_file
from stm_agent.progress import watched_by
from stm_agent.train.aids import Helpers
from stm_agent.train.batch_plan import plan_batches
from stm_agent.train.batches import GroupedBatches, OneSourceBatches
from stm_agent.train.checkpoint import MANIFEST, newest_checkpoint
from stm_agent.train.data import training_rows
from stm_agent.train.job import TrainingJob
from stm_agent.train.padding import padding_of


class KilledError(Exception):
    """Stands for a kill: nothing after it is written."""


def killed_at(step):
    def look(done, _total, _loss):
        if done == step:
            raise KilledError

    return look


def weights(done):
    return sha256_file(done.adapter / "adapter_model.safetensors")


@pytest.fixture
def often(fit):
    return fit.train.model_copy(update={"checkpoint_every": 4})


def teach(texts):
    return np.stack([[text.count(letter) + 0.1 for letter in "abcdefgh"] for text in texts]).astype(np.float32)


@pytest.mark.parametrize("options", [{}, {"teacher_weight": 5.0}, {"loss": "cached-infonce"}])
def test_a_killed_training_goes_on_to_the_same_bits(fit, often, tmp_path, options):
    given = {"steps": 14, "train": often, "helpers": Helpers(teach), **options}
    whole = fit("whole", **given)
    kept = tmp_path / "kept"
    for step in (6, 11):
        with pytest.raises(KilledError):
            fit("again", checkpoints=kept, progress=killed_at(step), **given)
    told = []
    done = fit("again", checkpoints=kept, progress=lambda *now: told.append(now[0]), **given)
    assert done.resumed_at == 8
    assert told == list(range(9, 15))
    assert done.losses == whole.losses
    assert weights(done) == weights(whole)


def test_a_broken_checkpoint_is_removed_and_the_one_before_it_used(fit, often, tmp_path, caplog):
    kept = tmp_path / "kept"
    with pytest.raises(KilledError):
        fit("one", steps=14, train=often, checkpoints=kept, progress=killed_at(10))
    assert {path.name for path in kept.iterdir()} >= {"checkpoint-4", "checkpoint-8"}
    optimizer = kept / "checkpoint-8" / "optimizer.pt"
    optimizer.write_bytes(optimizer.read_bytes()[:-100])
    folder, losses = newest_checkpoint(kept)
    assert (folder.name, len(losses)) == ("checkpoint-4", 4)
    assert not optimizer.exists()
    assert "checkpoint-8 is incomplete and was removed" in caplog.text
    (kept / "checkpoint-4" / MANIFEST).unlink()
    assert newest_checkpoint(kept) is None


def test_a_checkpoint_of_another_expert_is_not_loaded(fit, often, tmp_path):
    kept = tmp_path / "kept"
    with pytest.raises(KilledError):
        fit("one", steps=14, train=often, checkpoints=kept, progress=killed_at(10))
    with pytest.raises(StorageError, match="is of another expert"):
        fit("two", steps=14, train=often.model_copy(update={"embeddings": False}), checkpoints=kept)


def test_a_nan_leaves_the_last_good_checkpoint(fit, often, tmp_path, monkeypatch):
    import torch
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    own, calls = MultipleNegativesRankingLoss.compute_loss_from_embeddings, []

    def breaks_at_seven(self, embeddings, labels):
        calls.append(1)
        return own(self, embeddings, labels) * (torch.nan if len(calls) == 7 else 1)

    monkeypatch.setattr(MultipleNegativesRankingLoss, "compute_loss_from_embeddings", breaks_at_seven)
    with pytest.raises(CheckFailed, match="at step 7"):
        fit("one", steps=14, train=often, checkpoints=tmp_path / "kept")
    assert newest_checkpoint(tmp_path / "kept")[0].name == "checkpoint-4"


def test_dev_ends_training_and_the_best_adapter_is_kept(fit, tmp_path):
    scores = iter([0.2, 0.5, 0.4, 0.3, 0.9])
    seen = []

    def judge(model):
        from stm_agent.backbone.checks import vectors

        seen.append(vectors(model))
        return next(scores)

    train = fit.train.model_copy(update={"evaluate_every": 3, "patience": 2})
    done = fit("judged", steps=30, train=train, helpers=Helpers(judge=judge), checkpoints=tmp_path / "kept")
    assert done.best_dev == 0.5
    assert (done.steps, len(seen)) == (12, 4)
    from peft import PeftModel

    from stm_agent.backbone.checks import vectors
    from stm_agent.backbone.load import load_backbone
    from stm_agent.backbone.network import network_of

    model = load_backbone(fit.backbone)
    model[0].model = PeftModel.from_pretrained(network_of(model), str(done.adapter))
    assert np.abs(vectors(model.eval()) - seen[1]).max() < 1e-5
    assert np.abs(seen[1] - seen[3]).max() > 1e-3


def test_a_judge_that_is_not_there_stops(fit):
    with pytest.raises(ConfigError, match="has no judge; set evaluate_every: 0"):
        fit("alone", train=fit.train.model_copy(update={"evaluate_every": 3}))


def test_a_stop_does_not_cut_the_scores_of_a_step_short(fit):
    split = Split("dev", {"q": "what about the heart"}, {"q": {"d": 1}})
    dev = ScoredTask("dev", {"d": "the heart", "e": "the knee"}, split)
    job = SimpleNamespace(dev=dev, instruction=Instruction())
    with watched_by(SimpleNamespace(stop_reason=lambda: "stopped")):
        assert 0 < TrainingJob._judge(job, load_backbone(fit.backbone)) <= 1


class Judge:
    """Gives the scores it was told, one a call."""

    def __init__(self, *scores):
        self.scores = list(scores)

    def __call__(self, _model):
        return self.scores.pop(0)


def test_a_killed_training_keeps_its_patience(fit, tmp_path):
    train = fit.train.model_copy(update={"evaluate_every": 3, "patience": 2})
    whole = fit("whole", steps=30, train=train, helpers=Helpers(judge=Judge(0.2, 0.5, 0.4, 0.3)))
    kept = tmp_path / "kept"
    first, rest = Judge(0.2, 0.5, 0.4), Judge(0.3)
    with pytest.raises(KilledError):
        fit("cut", steps=30, train=train, helpers=Helpers(judge=first), checkpoints=kept, progress=killed_at(10))
    done = fit("cut", steps=30, train=train, helpers=Helpers(judge=rest), checkpoints=kept)
    assert (done.steps, done.best_dev, done.losses) == (12, 0.5, whole.losses)
    assert weights(done) == weights(whole)
    # Killed after its end and before its folder was whole: nothing is trained, the best is found again.
    again = fit("again", steps=30, train=train, helpers=Helpers(judge=Judge()), checkpoints=kept)
    assert (again.resumed_at, again.best_dev, weights(again)) == (12, 0.5, weights(whole))
    assert not (fit.folder / "whole" / "trainer").exists()


def two_sources(first=20, second=12):
    counts = (("a", first), ("b", second))
    return [
        Pair(f"{s}{n}", f"{s} query {n}", f"{s} passage {n}", s, f"{s}{n}") for s, count in counts for n in range(count)
    ]


def mixed(**options):
    return ExpertSpec(name="mixed", sources=("a", "b"), steps=40, batch_size=6, **options)


def test_batches_of_one_source(fit):
    rows = training_rows(two_sources(), {}, mixed())
    spec = mixed(one_source_batches=True, source_weights={"b": 5.0})
    plan = plan_batches(rows, spec, fit.train, 0)
    batches = list(plan)
    assert isinstance(plan, OneSourceBatches)
    assert batches == list(plan)
    found = [{rows.sources[row] for row in batch} for batch in batches]
    assert all(len(names) == 1 for names in found)
    # 12 rows that weigh 5 against 20: three batches out of four.
    assert 20 < sum(names == {"b"} for names in found) < 40


def test_a_source_smaller_than_its_batch_is_named(fit):
    rows = training_rows(two_sources(second=3), {}, mixed())
    with pytest.raises(DataError, match="source b has 3 groups, a batch of one source needs 6"):
        plan_batches(rows, mixed(one_source_batches=True), fit.train, 0)


def test_light_sources_leave_no_batch_short(fit):
    rows = training_rows(two_sources(), {}, mixed())
    plan = plan_batches(rows, mixed(source_weights={"a": 0.2, "b": 0.1}), fit.train, 0)
    drawn = [rows.sources[row] for batch in plan for row in batch]
    assert {len(batch) for batch in plan} == {6}
    # 12 rows that weigh half of the other 20.
    assert drawn.count("b") / len(drawn) == pytest.approx(12 / 52, abs=0.05)


def test_source_weights_change_how_often_rows_come(fit):
    rows = training_rows(two_sources(), {}, mixed())
    plan = plan_batches(rows, mixed(source_weights={"b": 2.5}), fit.train, 0)
    drawn = [rows.sources[row] for batch in plan for row in batch]
    assert isinstance(plan, GroupedBatches)
    # 12 rows, 2.5 times each, against 20.
    assert drawn.count("b") / len(drawn) == pytest.approx(0.6, abs=0.05)


def test_rows_that_teach_nothing_are_counted():
    good = two_sources(2, 0)
    bad = [
        Pair("empty", " ", "x", "a", "e"),
        Pair("same", "Its own", "its  own", "a", "s"),
        Pair("number", 3, "x", "a", "n"),
        Pair("twice", good[0].query.upper(), good[0].positive, "a", "t"),
    ]
    rows = training_rows([*good, *bad], {}, ExpertSpec(name="x", sources=("a",), steps=1))
    assert len(rows) == 2
    assert rows.skipped == {
        "empty text, left out": 1,
        "query is its own positive, left out": 1,
        "not text, left out": 1,
        "the same query and positive again, left out": 1,
    }


def test_little_of_a_packed_batch_is_padding(fit, backbone):
    model = load_backbone(backbone)
    texts = ["knee", "water on the knee", "the fox jumps over the lazy dog and the water"] * 40
    with padding_of(model) as packed:
        model(model.preprocess(texts))
    assert packed.tokens == int(model.preprocess(texts)["attention_mask"].sum())
    assert packed.share < 0.05
    with padding_of(plain := load_backbone(backbone, packed=False)) as padded:
        plain(plain.preprocess(texts))
    assert padded.tokens == packed.tokens
    assert padded.share > 0.3
    done = fit("counted", steps=2)
    assert json.loads((fit.folder / "counted" / "expert.json").read_text())["padded_share"] == done.padded_share
