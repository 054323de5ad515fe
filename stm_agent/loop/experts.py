"""The expert lever: one LoRA adapter per data source, its negatives chosen by a probe on dev."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from stm_agent.domain.material import Pair
from stm_agent.domain.spec import ExpertSpec, NegativeSpec
from stm_agent.files import content_hash, read_json
from stm_agent.instruct.instruction import Instruction
from stm_agent.loop.bench import Bench, Rating, score_split
from stm_agent.loop.data import Harvest, Negatives, pairs_hash, pairs_of
from stm_agent.loop.gates import gate
from stm_agent.merge.delta import LoraDelta, load_delta
from stm_agent.stage import kept_while_building
from stm_agent.train.aids import Helpers, learns_from_teacher

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

VARIANTS = {False: "FT", True: "FT+SHN"}


@dataclass(frozen=True)
class Expert:
    """A trained expert and what is known about it.

    Attributes:
        name: Its name in the domain file; later rounds add ``@round``.
        variant: ``FT`` or ``FT+SHN``, as STM names them.
        folder: The stage folder with ``adapter/`` and ``expert.json``.
        delta: The LoRA delta against the backbone.
        rating: Dev scores.
        texts_per_second: Speed of its training.
    """

    name: str
    variant: str
    folder: Path
    delta: LoraDelta
    rating: Rating
    texts_per_second: float


def train_all(bench: Bench, harvested: Harvest, instruction: Instruction, round_: int) -> list[Expert]:
    """Train the domain's experts in the order of its file and rate each on dev."""
    done: dict[str, Expert] = {}
    for spec in bench.spec.experts:
        if bench.budget.exhausted and done:
            bench.note("train", f"expert {spec.name} skipped: the budget is used up")
            continue
        pairs = pairs_of(bench, spec, harvested)
        if len(pairs) < (spec.batch_size or bench.spec.train.batch_size):
            bench.note("train", f"expert {spec.name} skipped: {len(pairs)} pairs are fewer than one batch")
            continue
        start = done.get(spec.start or "")
        chosen, variant = _choose_variant(bench, spec, pairs, harvested, start, instruction)
        name = spec.name if round_ == 1 else f"{spec.name}@{round_}"
        done[spec.name] = _train(bench, chosen, name, variant, pairs, harvested, start, instruction)
    return list(done.values())


def _choose_variant(
    bench: Bench,
    spec: ExpertSpec,
    pairs: Sequence[Pair],
    harvested: Harvest,
    start: Expert | None,
    instruction: Instruction,
) -> tuple[ExpertSpec, str]:
    """Keep an expert's hard negatives only if a short probe with them is better on dev than one without."""
    asked = spec.negatives
    if not (asked.mined or asked.synthetic):
        return spec, VARIANTS[False]
    plain = spec.model_copy(update={"negatives": NegativeSpec(structural=asked.structural)})
    steps = bench.spec.loop.probe_steps
    if not steps:
        return spec, VARIANTS[True]
    probes = [
        _train(
            bench,
            tried.model_copy(update={"steps": steps}),
            f"{spec.name}?{label}",
            label,
            pairs,
            harvested,
            start,
            instruction,
        )
        for tried, label in ((plain, VARIANTS[False]), (spec, VARIANTS[True]))
    ]
    verdict = gate(probes[1].rating.domain, probes[0].rating.domain, bench.spec.loop, bench.seed)
    bench.decide("data", f"hard negatives for expert {spec.name} {verdict.reason}", expert=spec.name, kept=verdict.kept)
    return (spec, VARIANTS[True]) if verdict.kept else (plain, VARIANTS[False])


def _train(
    bench: Bench,
    spec: ExpertSpec,
    name: str,
    variant: str,
    pairs: Sequence[Pair],
    harvested: Harvest,
    start: Expert | None,
    instruction: Instruction,
) -> Expert:
    negatives = harvested.for_expert(spec, pairs)
    with bench.timed("train", f"training expert {name} ({variant}): {spec.steps} steps on {len(pairs):,} pairs"):
        folder = train_stage(bench, spec, pairs, negatives, start.folder / "adapter" if start else None, instruction)
    delta = load_delta(folder / "adapter")
    with bench.timed("rate", f"scoring expert {name} on dev"):
        rating = bench.rate(bench.encoder(delta), instruction)
    bench.run.ledger.record(
        "expert",
        name=name,
        variant=variant,
        folder=folder.name,
        steps=spec.steps,
        pairs=len(pairs),
        dev=rating.domain.ndcg_at_10,
        general=rating.general,
    )
    speed = trained_speed(folder)
    text = (
        f"expert {name} ({variant}): dev nDCG@10 {rating.domain.ndcg_at_10:.4f}, general {rating.general:.4f}; "
        f"trained at {speed:.0f} texts/s"
    )
    bench.observer({"kind": "decision", "name": "expert", "text": text})
    return Expert(name, variant, folder, delta, rating, speed)


def trained_speed(folder: Path) -> float:
    """Return the texts per second that a training stage reached when it ran."""
    return float(read_json(folder / "expert.json")["texts_per_second"])


def train_stage(
    bench: Bench,
    spec: ExpertSpec,
    pairs: Sequence[Pair],
    negatives: Negatives,
    start: Path | None,
    instruction: Instruction,
) -> Path:
    """Train one adapter, or find it trained; return the stage folder with ``adapter/``."""
    from stm_agent.backbone.identity import source_identity
    from stm_agent.train.expert import train_expert

    domain = bench.spec
    config = {
        # A new name alone does not make a new adapter.
        "expert": spec.model_dump(mode="json", exclude={"name", "sources", "start"}),
        "train": domain.train.model_dump(mode="json", exclude={"checkpoint_every"}),
        "backbone": domain.backbone.model_dump(mode="json"),
        "prefixes": [instruction.query_prefix, instruction.passage_prefix],
        "seed": bench.seed,
    }
    inputs = {
        "backbone": source_identity(domain.backbone.model),
        "pairs": pairs_hash(pairs),
        "negatives": _negatives_hash(negatives),
        # A stage's name is the hash of all that decides it, the teacher's map beside the adapter included.
        "start": start.parent.name if start else "base",
    }
    if learns_from_teacher(spec):
        inputs["teacher"] = source_identity(domain.train.teacher)
    if spec.loss in ("gist", "cached-gist"):
        inputs["guide"] = source_identity(domain.train.guide)
    if domain.train.evaluate_every:
        inputs["dev"] = content_hash([bench.dev.queries, bench.dev.qrels, bench.documents])

    def progress(done: int, total: int, loss: float) -> None:
        bench.observer({"kind": "progress", "name": "train", "text": f"loss {loss:.3f}", "done": done, "total": total})

    with kept_while_building(bench.store.place("train", config, inputs)[1]) as checkpoints:
        return bench.store.run(
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
                seed=bench.seed,
                folder=target,
                helpers=helpers_of(bench, spec, instruction),
                checkpoints=checkpoints if domain.train.checkpoint_every else None,
                progress=progress,
            ),
        )


def helpers_of(bench: Bench, spec: ExpertSpec, instruction: Instruction) -> Helpers:
    """Return who an expert in training may ask; nothing is loaded before it is asked for."""
    from stm_agent.backbone.encoder import TextEncoder
    from stm_agent.backbone.load import load_model
    from stm_agent.evaluate.baselines import static_encoder

    def judge(model: SentenceTransformer) -> float:
        # Its vectors are of a model that will be gone: nothing to keep.
        encoder = TextEncoder(model, identity="in training")
        return score_split(None, encoder, bench.documents, bench.dev, instruction).ndcg_at_10

    train = bench.spec.train
    teacher = partial(bench.cache.encode, static_encoder(train.teacher)) if learns_from_teacher(spec) else None
    return Helpers(teacher, partial(load_model, train.guide), judge if train.evaluate_every else None)


def _negatives_hash(negatives: Mapping[str, tuple[object, ...]]) -> str:
    return content_hash({key: [getattr(n, "text", "") for n in values] for key, values in negatives.items()})
