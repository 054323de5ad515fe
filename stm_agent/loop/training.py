"""The training stage: one adapter in a folder named by everything that decides it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.collection import Collection
from stm_agent.domain.data import Pair
from stm_agent.domain.spec import DomainSpec, ExpertSpec
from stm_agent.evaluate.cache import EmbeddingCache, encode_through
from stm_agent.files import content_hash, read_json
from stm_agent.loop.context import RunContext, score_split
from stm_agent.loop.data import Negatives, pairs_hash
from stm_agent.loop.events import Observer
from stm_agent.stage import kept_while_building
from stm_agent.train.aids import Helpers

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer

    from stm_agent.train.fit import Progress


ELSEWHERE = {"name", "sources", "start", "instruction", "prompts"}
"""Options of an expert that do not decide its adapter, or that are in its key by what they lead to."""


def trained_speed(folder: Path) -> float:
    """Return the texts per second that a training stage reached when it ran."""
    return float(read_json(folder / "expert.json")["texts_per_second"])


def train_stage(
    context: RunContext,
    spec: ExpertSpec,
    pairs: Sequence[Pair],
    negatives: Negatives,
    start: Path | None,
    instruction: Instruction,
) -> Path:
    """Train one adapter, or find it trained; return the stage folder with ``adapter/``."""
    import torch

    from stm_agent.backbone.identity import source_identity
    from stm_agent.train.expert import train_expert

    domain = context.spec
    config = {
        # A new name alone does not make a new adapter.
        "expert": spec.model_dump(mode="json", exclude=ELSEWHERE),
        "train": domain.train.model_dump(mode="json", exclude={"checkpoint_every"}),
        "backbone": domain.backbone.model_dump(mode="json"),
        # Decides the dtype.
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "prefixes": [instruction.query_prefix, instruction.passage_prefix],
        "seed": context.seed,
    }
    if prompts := prompts_of(spec, instruction, context.workspace, domain.task):
        config["prompts"] = prompts
    inputs = {
        **{role: source_identity(name) for role, name in domain.models_of(spec).items()},
        "pairs": pairs_hash(pairs),
        "negatives": _negatives_hash(negatives),
        # A stage's name is the hash of all that decides it, the teacher's map beside the adapter included.
        "start": start.parent.name if start else "base",
    }
    if domain.train.evaluate_every:
        inputs["dev"] = content_hash([context.dev.queries, context.dev.qrels, context.documents])

    with kept_while_building(context.store.place("train", config, inputs)[1]) as checkpoints:
        return context.store.run(
            "train",
            config,
            inputs,
            lambda target: train_expert(
                spec,
                pairs,
                negatives,
                backbone=domain.backbone,
                train=domain.train,
                start=start,
                query_prefix=instruction.query_prefix,
                passage_prefix=instruction.passage_prefix,
                seed=context.seed,
                folder=target,
                prompts=prompts,
                helpers=helpers_of(domain, spec, context.data.collection, instruction, context.cache),
                checkpoints=checkpoints if domain.train.checkpoint_every else None,
                progress=train_progress(context.observer),
            ),
        )


def prompts_of(spec: ExpertSpec, instruction: Instruction, workspace: Path, task: str) -> list[str]:
    """Return the prefixes that an expert's queries draw from; empty: all have the instruction's."""
    from stm_agent.instruct.seeds import load_seeds
    from stm_agent.workspace import prompt_path

    if spec.prompts is None:
        return []
    pool = load_seeds(prompt_path(workspace, spec.prompts), task=task)
    return [instruction.saying(one.query, one.origin).query_prefix for one in pool]


def helpers_of(
    domain: DomainSpec,
    spec: ExpertSpec,
    collection: Collection,
    instruction: Instruction,
    cache: EmbeddingCache | None = None,
) -> Helpers:
    """Return who an expert in training may ask; nothing is loaded before it is asked for."""
    from stm_agent.backbone.encoder import TextEncoder
    from stm_agent.backbone.load import load_model
    from stm_agent.evaluate.baselines import static_encoder

    def judge(model: SentenceTransformer) -> float:
        # Its vectors are of a model that will be gone: nothing to keep.
        encoder = TextEncoder(model, identity="in training")
        return score_split(None, encoder, collection.texts, collection.splits["dev"], instruction).ndcg_at_10

    def teacher(texts: Sequence[str]) -> NDArray[np.float32]:
        return encode_through(cache, static_encoder(train.teacher))(texts)

    train = domain.train
    return Helpers(
        teacher if spec.learns_from_teacher else None,
        partial(load_model, train.guide),
        judge if train.evaluate_every else None,
    )


def train_progress(observer: Observer) -> Progress:
    """Return what tells an observer each step of a training."""

    def tell(done: int, total: int, loss: float) -> None:
        observer({"kind": "progress", "name": "train", "text": f"loss {loss:.3f}", "done": done, "total": total})

    return tell


def _negatives_hash(negatives: Mapping[str, tuple[object, ...]]) -> str:
    return content_hash({key: [getattr(n, "text", "") for n in values] for key, values in negatives.items()})
