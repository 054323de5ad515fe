"""The parts of a domain file that say how experts are trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from stm_agent.domain.fields import Count, Name, Positive, PositiveReal, Real, Share, Spec, Switch

LossName = Literal["infonce", "cached-infonce", "gist", "cached-gist", "margin", "listwise", "distil"]


class NegativeSpec(Spec):
    """Hard negatives for each training pair, by kind; 0: none of that kind.

    Attributes:
        mined: Found by retrievers in the corpus.
        structural: Similar by the data's own structure, or named by the data.
        synthetic: Written by the generator.
        synthetic_share: Share of the mined and written ones together that is written: a fixed hash draws each of them,
            and a pair that lacks the drawn kind gets the other. None: as many written ones as ``synthetic``, and mined
            ones in place of those that lack.
        shared: Whether a pair's hard negatives are negatives of the batch's other queries too. False: they are
            compared with their own query alone, as STM does; with loss ``infonce``.
    """

    mined: Count = 0
    structural: Count = 0
    synthetic: Count = 0
    synthetic_share: Share | None = None
    shared: Switch = True

    @property
    def written_and_mined(self) -> int:
        """Mined and written negatives of each pair, together."""
        return self.mined + self.synthetic

    @property
    def expected_written(self) -> float:
        """Written negatives of a pair, on average."""
        share = self.synthetic_share
        return float(self.synthetic) if share is None else share * self.written_and_mined

    def of_structure(self) -> NegativeSpec:
        """Return the same without mined and written ones."""
        return NegativeSpec(structural=self.structural, shared=self.shared)

    @model_validator(mode="after")
    def _share_has_written(self) -> NegativeSpec:
        if self.synthetic_share is not None and not self.synthetic:
            raise ValueError(
                "negatives: synthetic_share mixes written negatives with mined ones; ask for some synthetic"
            )
        return self


DEFAULT_WARMUP = 0.1
"""Share of the steps in which the learning rate rises, unless a domain says otherwise."""

QUERY_SIDE_OPTIONS = {
    *("name", "sources", "side", "bag", "steps", "batch_size", "learning_rate", "final_rate", "loss", "gold")
}
"""Options of an expert of queries alone."""


class ExpertSpec(Spec):
    """One LoRA adapter and what it learns from.

    Attributes:
        name: Unique in the domain.
        sources: Names of the collection's training sources, or ``written``.
        start: Expert listed earlier, from whose adapter training continues; None: the backbone.
        steps: Optimiser steps, at most.
        epochs: Passes over its pairs, at most: training ends with whichever of the two comes first; None: with the
            steps.
        loss: ``infonce``; ``cached-infonce`` for any batch size (GradCache); ``gist`` and ``cached-gist`` ignore
            negatives that a guide model scores above the positive; ``margin`` copies a teacher's margins; ``listwise``
            orders passages by grade; ``distil`` copies a teacher's scores of retrieved candidates (see ``teach``).
        negatives: Hard negatives asked for; kept only where a probe on dev says so.
        related: Less relevant passages of a pair that join its list with their grade, for ``listwise``; 0: none.
        neighbours: Structural neighbours that join a pair's batch as pairs of their own, the hardest in-batch
            negatives at no extra passage; 0: none.
        alias_weight: Weight of the losses that tie a pair's other names to its passage and to its query; 0: off.
        teacher_weight: Weight of the distance to the teacher's vectors of the same texts; 0: off.
        anchor_weight: Weight of the distance to the vectors that the backbone gives the same texts before training,
            with losses ``infonce`` and ``distil``; 0: off.
        candidates: Scored candidates in the list of each pair, for loss ``distil``.
        gold: Added to the teacher's score of each positive, so that labels count beside the teacher, for loss
            ``distil``; 0: the teacher alone.
        source_weights: How often a source's pairs come, in proportion to the others'; a source not named: 1.
        one_source_batches: Fill a batch from one source only, so that a negative is not recognised by its style.
        batch_size: Pairs a step; None: the domain's.
        learning_rate: Peak of the schedule; None: the domain's.
        instruction: Instruction in front of this expert's queries; None: the one that the loop finds.
        prompts: File in ``prompts/`` with instructions, of which every query gets one by a seeded draw (STM's generic
            prompts); the expert is scored with the loop's instruction. None: off.
        side: ``both`` sides of a pair are trained, or the side of ``query`` alone, against the fixed vectors of all
            passages: no passage is encoded in a step, and the corpus keeps its index. Such experts are trained on top
            of the provisional model and merged with each other.
        bag: Train on a bootstrap sample of the pairs, for ``side: query``.
        final_rate: Learning rate of the last step, as a share of the peak; above 0 for an expert that others
            start from.
    """

    name: Name
    sources: Annotated[tuple[str, ...], Field(min_length=1)]
    start: str | None = None
    steps: Positive
    epochs: PositiveReal | None = None
    loss: LossName = "infonce"
    negatives: NegativeSpec = NegativeSpec()
    related: Count = 0
    neighbours: Count = 0
    alias_weight: Real = 0.0
    teacher_weight: Real = 0.0
    anchor_weight: Real = 0.0
    candidates: Positive = 7
    gold: Real = 0.0
    source_weights: dict[str, PositiveReal] = Field(default_factory=dict)
    one_source_batches: Switch = False
    batch_size: Positive | None = None
    learning_rate: PositiveReal | None = None
    instruction: Annotated[str, Field(min_length=1, max_length=400)] | None = None
    prompts: str | None = None
    side: Literal["both", "query"] = "both"
    bag: Switch = False
    final_rate: Annotated[float, Field(strict=True, ge=0, lt=1)] = 0.0

    @property
    def hard_negatives(self) -> int:
        """Hard negatives of each pair, of all kinds."""
        return self.negatives.mined + self.negatives.synthetic + self.negatives.structural

    @property
    def learns_from_teacher(self) -> bool:
        """Whether a teacher's vectors are needed."""
        return bool(self.teacher_weight) or self.loss == "margin"

    @property
    def learns_from_scores(self) -> bool:
        """Whether a teacher's scores of candidates are needed."""
        return self.loss == "distil"

    @property
    def asks_guide(self) -> bool:
        """Whether a guide must detect false negatives."""
        return self.loss in ("gist", "cached-gist")

    @property
    def lacks_negatives(self) -> bool:
        """Whether the loss needs negatives and the expert asks for none."""
        return self.loss in ("margin", "listwise") and not self.hard_negatives + self.related

    @model_validator(mode="after")
    def _side_fits(self) -> ExpertSpec:
        if self.side == "both" and self.bag:
            raise ValueError(f"expert '{self.name}': bag needs side query")
        if self.side == "query" and self.loss not in ("infonce", "distil"):
            raise ValueError(f"expert '{self.name}': side query has loss infonce or distil, not {self.loss}")
        if self.side == "query":
            fields = type(self).model_fields
            ignored = [
                name
                for name in sorted(set(fields) - QUERY_SIDE_OPTIONS)
                if getattr(self, name) != fields[name].get_default(call_default_factory=True)
            ]
            if ignored:
                raise ValueError(f"expert '{self.name}': side query has no use for {ignored[0]}; drop it")
        return self

    @model_validator(mode="after")
    def _loss_fits(self) -> ExpertSpec:
        refused = (
            (
                self.loss != "infonce" and (self.alias_weight or self.teacher_weight),
                f"alias_weight and teacher_weight are part of loss infonce, not of {self.loss}",
            ),
            (
                self.anchor_weight and self.loss not in ("infonce", "distil"),
                f"anchor_weight needs loss infonce or distil, not {self.loss}",
            ),
            (
                self.learns_from_scores and self.hard_negatives,
                "loss distil takes candidates, not negatives; drop 'negatives'",
            ),
            (
                self.related and self.loss != "listwise",
                f"related passages need loss listwise, not {self.loss}",
            ),
            (self.lacks_negatives, f"loss {self.loss} needs negatives; ask for some in 'negatives'"),
            (
                not self.negatives.shared and self.loss != "infonce",
                f"negatives: shared: false needs loss infonce, not {self.loss}",
            ),
            (self.asks_guide and self.hard_negatives > 1, f"loss {self.loss} takes one hard negative at most"),
        )
        for fault, text in refused:
            if fault:
                raise ValueError(f"expert '{self.name}': {text}")
        return self

    @model_validator(mode="after")
    def _data_fit(self) -> ExpertSpec:
        if self.instruction is not None and self.prompts is not None:
            raise ValueError(f"expert '{self.name}' has an instruction and prompts to draw from; keep one of them")
        if unknown := sorted(set(self.source_weights) - set(self.sources)):
            raise ValueError(f"expert '{self.name}' weighs source '{unknown[0]}', which is none of its sources")
        return self


class TrainSpec(Spec):
    """How every expert is trained.

    Attributes:
        batch_size: Pairs of a batch.
        accumulate: Batches of a step in each process; their gradients are averaged, and each has its own in-batch
            negatives.
        processes: Processes, one for each device, that train every expert together; 1: the run's own.
        gather: Whether the negatives in a batch are those of all processes that train together, so that several
            processes give what one gives with their batches in one.
        learning_rate: Peak of the schedule.
        scale: Factor on cosine similarity in the loss (1 / temperature).
        warmup: Share of the steps in which the learning rate rises.
        warmup_steps: Steps in which it rises, in place of ``warmup``; None: by the share.
        lora_rank: Rank of the adapters.
        lora_alpha: LoRA scale numerator; the delta is B A alpha / rank.
        embeddings: Also adapt the token embeddings.
        teacher: Ready-made encoder that experts with a ``teacher_weight`` or loss ``margin`` learn from.
        guide: Ready-made encoder that detects false negatives in loss ``gist``.
        teacher_temperature: Softmax temperature of a teacher's scores in loss ``distil``; the student's is 1 / scale.
        infonce_share: Weight of InfoNCE beside the teacher's scores in loss ``distil``; 0: the scores alone.
        mini_batch: Texts of one forward in the cached losses; bounds memory, changes no number.
        matryoshka: Lengths at which the first numbers of a vector must rank alone, beside the whole; empty: none.
        checkpoint_every: Steps between checkpoints, from which a killed training continues; 0: none. If dev is
            scored in training, they are written at the same steps.
        evaluate_every: Steps between scores on dev in training; the best adapter is kept; 0: none, the last one is.
        patience: Scores in a row without a gain that end training early; 0: never.
        gradient_checkpointing: Less memory for about a third more time.
        qlora: Hold the backbone's products in 4 bits (NF4) while experts train; they are used with the whole backbone.
            Needs the extra ``qlora``.
    """

    batch_size: Annotated[int, Field(strict=True, ge=2)] = 32
    accumulate: Positive = 1
    processes: Positive = 1
    gather: Switch = True
    learning_rate: PositiveReal = 1e-3
    scale: PositiveReal = 50.0
    warmup: Share = DEFAULT_WARMUP
    warmup_steps: Count | None = None
    lora_rank: Positive = 16
    lora_alpha: Positive = 32
    embeddings: Switch = True
    teacher: str = "embedded:all-minilm-l6-v2"
    guide: str = "embedded:all-minilm-l6-v2"
    teacher_temperature: PositiveReal = 0.05
    infonce_share: Real = 0.1
    mini_batch: Positive = 32
    matryoshka: tuple[Positive, ...] = ()
    checkpoint_every: Count = 50
    evaluate_every: Count = 0
    patience: Count = 0
    gradient_checkpointing: Switch = False
    qlora: Switch = False

    @model_validator(mode="after")
    def _one_warmup(self) -> TrainSpec:
        if self.warmup_steps is not None and self.warmup != DEFAULT_WARMUP:
            raise ValueError("train: warmup is a share of the steps and warmup_steps a number of them; keep one")
        return self

    @model_validator(mode="after")
    def _patience_is_measured(self) -> TrainSpec:
        if self.patience and not self.evaluate_every:
            raise ValueError("train: patience counts scores on dev; set evaluate_every too")
        return self
