"""A decoder, a dozen pairs and a call that trains on them, all small."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.data import Pair
from stm_agent.domain.sources import judged_domain_data
from stm_agent.domain.spec import BackboneSpec, ExpertSpec, NegativeSpec, TrainSpec
from stm_agent.merge.adapted import AdaptedModel
from stm_agent.testing.pico import pico_decoder
from stm_agent.testing.tiny import tiny_collection
from stm_agent.train.expert import TrainedExpert, train_expert
from stm_agent.train.query_side import QuerySideJob

WORDS = ("heart", "knee", "water", "dog", "mountain", "fox", "blood", "heat", "body", "passage", "lazy", "swelling")

SETTINGS = TrainSpec(batch_size=6, learning_rate=0.01, scale=20.0, lora_rank=4, lora_alpha=8)
OWN = set(ExpertSpec.model_fields) - {"start", "negatives"}


@pytest.fixture(scope="session")
def backbone(tmp_path_factory):
    return BackboneSpec(model=str(pico_decoder(tmp_path_factory.mktemp("pico") / "decoder")), max_length=24)


def query_side_job(backbone: BackboneSpec, cache: Path, expert: ExpertSpec) -> QuerySideJob:
    """Return a training of the side of queries on the tiny collection."""
    data = judged_domain_data(tiny_collection())
    return QuerySideJob(
        expert=expert,
        train=SETTINGS,
        backbone=backbone,
        documents=AdaptedModel(backbone),
        pairs=data.sources["train"],
        pool=data.pool,
        groups=data.groups,
        instruction=Instruction(),
        cache=cache,
    )


@dataclass
class Fit:
    """Trains an expert on the pairs; options that an expert has go by name, the others to ``train_expert``."""

    backbone: BackboneSpec
    folder: Path
    pairs: tuple[Pair, ...] = tuple(
        Pair(word, f"what about the {word}", f"{word} is what this passage answers", "train", word) for word in WORDS
    )
    train: TrainSpec = SETTINGS

    def __call__(self, name: str, *, steps: int = 20, asked: NegativeSpec | None = None, **options) -> TrainedExpert:
        own = {key: options.pop(key) for key in list(options) if key in OWN}
        spec = ExpertSpec(name=name, sources=("train",), steps=steps, negatives=asked or NegativeSpec(), **own)
        defaults = {"train": self.train, "start": None, "seed": 0, "query_prefix": "", "passage_prefix": ""}
        given = {**defaults, **options}
        pairs, negatives = given.pop("pairs", self.pairs), given.pop("negatives", {})
        return train_expert(spec, pairs, negatives, backbone=self.backbone, folder=self.folder / name, **given)


@pytest.fixture
def fit(backbone, tmp_path):
    return Fit(backbone, tmp_path)
