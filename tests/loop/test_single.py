"""One stage alone: an expert trained, interrupted, gone on with, and written as a model anyone can load."""

from __future__ import annotations

import shutil

import pytest

from stm_agent.errors import ConfigError, StopRequested
from stm_agent.loop.events import ObserverWatcher
from stm_agent.loop.train_single import train_domain_expert
from stm_agent.progress import watched_by


class KilledError(Exception):
    """Stands for a kill."""


@pytest.fixture
def train(tiny_domain, workspace, tmp_path):
    def run(name="plain", *, observer=lambda _event: None, spec=tiny_domain, output="out", **options):
        given = {"start": None, "steps": 8, "seed": 0, **options}
        with watched_by(ObserverWatcher(observer)):
            return train_domain_expert(spec, workspace, tmp_path / "runs", name, tmp_path / output, **given)

    return run


def killed_at(step):
    def look(event):
        if event["kind"] == "progress" and event["done"] == step:
            raise KilledError

    return look


def test_an_expert_is_a_model_with_a_card(train, tmp_path):
    from sentence_transformers import SentenceTransformer

    report = train()
    assert report["steps"] == 8
    vectors = SentenceTransformer(report["model"]).encode_query(["a question"])
    assert vectors.shape == (1, 32)
    card = (tmp_path / "out" / "model" / "README.md").read_text()
    assert "| plain | 1.00 | train | 8 |" in card
    for part in ("expert plain", "stm-agent train --domain tiny --expert plain", "--steps 8 --seed 0", "backbone"):
        assert part in card
    with pytest.raises(ConfigError, match="out exists; name a new folder"):
        train()


def test_a_killed_training_goes_on_by_the_same_command_and_by_no_other(train, tiny_domain, tmp_path):
    spec = tiny_domain.model_copy(update={"train": tiny_domain.train.model_copy(update={"checkpoint_every": 3})})
    whole = train(spec=spec, output="whole")
    shutil.rmtree(tmp_path / "runs")
    with pytest.raises(KilledError):
        train(spec=spec, observer=killed_at(7))
    assert not (tmp_path / "out").exists()
    assert train(spec=spec, seed=1, output="other")["resumed_at"] == 0
    again = train(spec=spec)
    assert again["resumed_at"] == 6
    assert again["losses"] == whole["losses"]
    files = [tmp_path / name / "adapter" / "adapter_model.safetensors" for name in ("out", "whole")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert sorted(path.name for path in (tmp_path / "runs" / ".stages").glob(".checkpoints-*")) == []


class StopsAt:
    """Asks for a stop once a step was reached."""

    def __init__(self, step):
        self.step, self.seen = step, 0

    def progress(self, name, text, done, total):
        self.seen = max(self.seen, done)

    def stop_reason(self):
        return "stopped by SIGINT" if self.seen >= self.step else None


def test_a_stop_in_the_middle_of_training_loses_no_step(train, tiny_domain, workspace, tmp_path):
    whole = train(output="whole")
    shutil.rmtree(tmp_path / "runs")
    with watched_by(StopsAt(5)), pytest.raises(StopRequested):
        train_domain_expert(
            tiny_domain, workspace, tmp_path / "runs", "plain", tmp_path / "out", start=None, steps=8, seed=0
        )
    again = train()
    assert (again["resumed_at"], again["losses"]) == (5, whole["losses"])


def test_a_loss_that_needs_negatives_says_where_they_are_made(train, tiny_domain):
    experts = [expert.model_dump() for expert in tiny_domain.experts]
    experts[1]["loss"] = "margin"
    spec = type(tiny_domain).model_validate({**tiny_domain.model_dump(), "experts": experts})
    with pytest.raises(ConfigError, match=r"loss margin needs negatives.*'stm-agent optimize' only"):
        train("hard", spec=spec)


def test_an_expert_of_a_checkpoint_keeps_its_prompts(train, tiny_domain, tmp_path):
    from sentence_transformers import SentenceTransformer

    from stm_agent.backbone.load import load_backbone

    begun = load_backbone(tiny_domain.backbone, packed=False)
    begun.prompts = {"query": "question: ", "document": "passage: "}
    begun.save(str(tmp_path / "checkpoint"))
    backbone = tiny_domain.backbone.model_copy(update={"model": str(tmp_path / "checkpoint")})
    report = train(spec=tiny_domain.model_copy(update={"backbone": backbone}))
    assert SentenceTransformer(report["model"], device="cpu").prompts == begun.prompts
