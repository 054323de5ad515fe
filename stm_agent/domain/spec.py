"""The domain file: frozen, every field documented with its unit and its "off" value, unknown keys refused."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from stm_agent.domain.collection_spec import (
    BeirCollection,
    CollectionSpec,
    HpoCollection,
    MtebCollection,
    PythonDocsCollection,
)
from stm_agent.domain.fields import Count, Name, OpenShare, Positive, PositiveReal, Real, Share, Spec, Switch

__all__ = [
    "WRITTEN",
    "BackboneSpec",
    "BeirCollection",
    "CollectionSpec",
    "DomainSpec",
    "ExpertSpec",
    "HpoCollection",
    "InstructSpec",
    "LoopSpec",
    "MergeSpec",
    "MineSpec",
    "MtebCollection",
    "NegativeSpec",
    "PythonDocsCollection",
    "SynthesizeSpec",
    "TrainSpec",
]

LossName = Literal["infonce", "cached-infonce", "gist", "cached-gist", "margin", "listwise"]

WRITTEN = "written"
"""The source every domain has: queries written by the generator for the passages of the pool."""


class BackboneSpec(Spec):
    """The decoder before adaptation, and how it becomes an encoder.

    Attributes:
        model: ``embedded:`` name, folder, or Hub name.
        layers: First decoder layers kept; None: all.
        attention: ``bidirectional`` lets a token see what follows it.
        pooling: How token vectors become one vector.
        max_length: Tokens of a text that are read.
    """

    model: str
    layers: Positive | None = None
    attention: Literal["bidirectional", "causal"] = "bidirectional"
    pooling: Literal["mean", "lasttoken", "weightedmean"] = "mean"
    max_length: Positive = 48


class NegativeSpec(Spec):
    """Hard negatives for each training pair, by kind; 0: none of that kind."""

    mined: Count = 0
    structural: Count = 0
    synthetic: Count = 0


class ExpertSpec(Spec):
    """One LoRA adapter and what it learns from.

    Attributes:
        name: Unique in the domain.
        sources: Names of the collection's training sources, or ``written``.
        start: Expert listed before whose adapter training goes on from; None: the backbone.
        steps: Optimiser steps, at most.
        loss: ``infonce``; ``cached-infonce`` for any batch size (GradCache); ``gist`` and ``cached-gist`` leave out
            the negatives a guide model finds too near; ``margin`` copies a teacher's margins; ``listwise`` orders
            passages by grade.
        negatives: Hard negatives asked for; kept only where a probe on dev says so.
        related: Less relevant passages of a pair that join its list with their grade, for ``listwise``; 0: none.
        neighbours: Structural neighbours that join a pair's batch as pairs of their own, the hardest in-batch
            negatives at no extra passage; 0: none.
        alias_weight: Weight of the losses that tie a pair's other names to its passage and to its query; 0: off.
        teacher_weight: Weight of the distance to the teacher's vectors of the same texts; 0: off.
        source_weights: How often a source's pairs come in a pass; a source not named: once.
        one_source_batches: Fill a batch from one source only, so that no negative is told by its style.
        batch_size: Pairs a step; None: the domain's.
        learning_rate: Peak of the schedule; None: the domain's.
        final_rate: Learning rate of the last step, as a share of the peak; above 0 for a trunk that others go on from.
    """

    name: Name
    sources: Annotated[tuple[str, ...], Field(min_length=1)]
    start: str | None = None
    steps: Positive
    loss: LossName = "infonce"
    negatives: NegativeSpec = NegativeSpec()
    related: Count = 0
    neighbours: Count = 0
    alias_weight: Real = 0.0
    teacher_weight: Real = 0.0
    source_weights: dict[str, PositiveReal] = Field(default_factory=dict)
    one_source_batches: Switch = False
    batch_size: Positive | None = None
    learning_rate: PositiveReal | None = None
    final_rate: Annotated[float, Field(strict=True, ge=0, lt=1)] = 0.0

    @property
    def hard_negatives(self) -> int:
        """Hard negatives of each pair, of all kinds."""
        return self.negatives.mined + self.negatives.synthetic + self.negatives.structural

    @model_validator(mode="after")
    def _loss_fits(self) -> ExpertSpec:
        if self.loss != "infonce" and (self.alias_weight or self.teacher_weight):
            raise ValueError(
                f"expert '{self.name}': alias_weight and teacher_weight are part of loss infonce, not of {self.loss}"
            )
        if self.related and self.loss != "listwise":
            raise ValueError(f"expert '{self.name}': related passages need loss listwise, not {self.loss}")
        if self.loss in ("margin", "listwise") and not self.hard_negatives + self.related:
            raise ValueError(f"expert '{self.name}': loss {self.loss} needs negatives; ask for some in 'negatives'")
        if self.loss in ("gist", "cached-gist") and self.hard_negatives > 1:
            raise ValueError(f"expert '{self.name}': loss {self.loss} takes one hard negative at most")
        if unknown := sorted(set(self.source_weights) - set(self.sources)):
            raise ValueError(f"expert '{self.name}' weighs source '{unknown[0]}', which is none of its sources")
        return self


class TrainSpec(Spec):
    """How every expert is trained.

    Attributes:
        batch_size: Pairs a step.
        learning_rate: Peak of the schedule.
        scale: Factor on cosine similarity in the loss (1 / temperature).
        warmup: Share of the steps in which the learning rate rises.
        lora_rank: Rank of the adapters.
        lora_alpha: LoRA scale numerator; the delta is B A alpha / rank.
        embeddings: Also adapt the token embeddings.
        teacher: Ready-made encoder that experts with a ``teacher_weight`` or loss ``margin`` learn from.
        guide: Ready-made encoder that tells false negatives in loss ``gist``.
        mini_batch: Texts of one forward in the cached losses; bounds memory, changes no number.
        matryoshka: Lengths at which the first numbers of a vector must rank alone, beside the whole; empty: none.
        checkpoint_every: Steps between checkpoints that a killed training goes on from; 0: none. Where dev is
            scored in training they are written then.
        evaluate_every: Steps between scores on dev in training; the best adapter is kept; 0: none, the last one is.
        patience: Scores in a row without a gain that end training early; 0: never.
        gradient_checkpointing: Less memory for about a third more time.
    """

    batch_size: Annotated[int, Field(strict=True, ge=2)] = 32
    learning_rate: PositiveReal = 1e-3
    scale: PositiveReal = 50.0
    warmup: Share = 0.1
    lora_rank: Positive = 16
    lora_alpha: Positive = 32
    embeddings: Switch = True
    teacher: str = "embedded:all-minilm-l6-v2"
    guide: str = "embedded:all-minilm-l6-v2"
    mini_batch: Positive = 32
    matryoshka: tuple[Positive, ...] = ()
    checkpoint_every: Count = 50
    evaluate_every: Count = 0
    patience: Count = 0
    gradient_checkpointing: Switch = False

    @model_validator(mode="after")
    def _patience_is_measured(self) -> TrainSpec:
        if self.patience and not self.evaluate_every:
            raise ValueError("train: patience counts scores on dev; set evaluate_every too")
        return self


class SynthesizeSpec(Spec):
    """What the generator writes.

    Attributes:
        program: Name of the DSPy program in ``programs/`` that writes hard negatives.
        pairs: Training pairs that get written negatives; 0: none.
        queries: Passages a query is written for, where an expert asks for source ``written``; 0: none.
        temperature: Sampling temperature.
        max_tokens: Ceiling of one answer, in tokens.
    """

    program: str = "hard_negatives"
    pairs: Count = 32
    queries: Count = 64
    temperature: Real = 0.8
    max_tokens: Positive = 64


class MineSpec(Spec):
    """Hard-negative mining.

    Attributes:
        depth: Candidates each retriever gives for a pair.
        retrievers: Which retrievers are asked.
        margin: A candidate stays only below ``margin`` times the positive's score (NV-Retriever, TopK-PercPos).
        documents: Passages searched, at most; those of the scored corpus first.
        encoder: Encoder of the dense retriever in the first round; None: the backbone.
    """

    depth: Positive = 30
    retrievers: Annotated[tuple[Literal["bm25", "dense"], ...], Field(min_length=1)] = ("bm25", "dense")
    margin: Share = 0.95
    documents: Positive = 4000
    encoder: str | None = "embedded:all-minilm-l6-v2"


class InstructSpec(Spec):
    """Search of the retrieval instruction.

    Attributes:
        seeds: File in ``prompts/`` with the first candidates.
        reflections: Candidates a reflecting LLM may propose; 0: seeds only.
        min_effect: Gain in nDCG@10 a new instruction must show on the accepting half of dev.
    """

    seeds: str = "retrieval.yaml"
    reflections: Count = 4
    min_effect: Real = 0.005


class MergeSpec(Spec):
    """Merging of the experts.

    Attributes:
        method: Linear mean of the LoRA deltas, exact.
        step: Grid width of the weights.
        forgetting_budget: nDCG@10 a merge may lose on the general tasks against the backbone.
        verify: Best candidates of the surrogate that are really encoded.
    """

    method: Literal["linear"] = "linear"
    step: Annotated[float, Field(strict=True, gt=0, le=1)] = 0.1
    forgetting_budget: Real = 0.02
    verify: Positive = 3


class LoopSpec(Spec):
    """The closed loop's gates.

    Attributes:
        rounds: Passes through the levers.
        alpha: Two-sided error level of the paired bootstrap.
        min_effect: Gain in nDCG@10 a change must show to be kept.
        bootstrap: Resamples of a test.
        probe_steps: Training steps of each variant of an expert that decide which is kept; 0: no probe, the one with
            everything that was asked for.
        probe_documents: Passages a probe is scored on, those judged for dev first; 0: the whole corpus.
    """

    rounds: Positive = 1
    alpha: OpenShare = 0.05
    min_effect: Real = 0.0
    bootstrap: Positive = 10_000
    probe_steps: Count = 0
    probe_documents: Count = 0


class DomainSpec(Spec):
    """A whole domain file.

    Attributes:
        name: Short name, part of run ids.
        description: For people.
        task: One line: what a query is and what should be found; used in prompts.
        collection: What is adapted to and scored on.
        general: Guard tasks that show forgetting.
        backbone: The decoder.
        baseline: Ready-made encoder that every report shows as a row; None: no such row.
        experts: In training order.
        train: Training options of all experts.
        synthesize: What the generator writes.
        mine: Hard-negative mining.
        instruct: Instruction search.
        merge: Merging.
        loop: Gates and rounds.
        seeds: Seeds of repeated runs; a run uses the first unless told otherwise.
    """

    name: Name
    description: str = ""
    task: Annotated[str, Field(min_length=1)]
    collection: CollectionSpec
    general: tuple[CollectionSpec, ...] = ()
    backbone: BackboneSpec
    baseline: str | None = "embedded:all-minilm-l6-v2"
    experts: Annotated[tuple[ExpertSpec, ...], Field(min_length=1)]
    train: TrainSpec = TrainSpec()
    synthesize: SynthesizeSpec = SynthesizeSpec()
    mine: MineSpec = MineSpec()
    instruct: InstructSpec = InstructSpec()
    merge: MergeSpec = MergeSpec()
    loop: LoopSpec = LoopSpec()
    seeds: Annotated[tuple[Count, ...], Field(min_length=1)] = (0,)

    @model_validator(mode="after")
    def _experts_fit(self) -> DomainSpec:
        offered = (*self.collection.sources, WRITTEN)
        before: list[str] = []
        for expert in self.experts:
            if expert.name in before:
                raise ValueError(f"expert '{expert.name}' is listed twice; give every expert its own name")
            if expert.start is not None and expert.start not in before:
                raise ValueError(f"expert '{expert.name}' starts from '{expert.start}', which is not listed before it")
            unknown = [source for source in expert.sources if source not in offered]
            if unknown:
                raise ValueError(
                    f"expert '{expert.name}' asks for source '{unknown[0]}'; "
                    f"collection kind {self.collection.kind} offers {', '.join(offered)}"
                )
            if self.train.matryoshka and expert.teacher_weight:
                raise ValueError(
                    f"expert '{expert.name}': a teacher_weight needs the whole vector; drop it or train: matryoshka"
                )
            if self.train.gradient_checkpointing and expert.loss.startswith("cached"):
                raise ValueError(
                    f"expert '{expert.name}': loss {expert.loss} excludes train: gradient_checkpointing; drop one"
                )
            before.append(expert.name)
        return self
