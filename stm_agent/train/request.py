"""What decides a training, as one value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stm_agent.domain.data import Pair
from stm_agent.domain.spec import BackboneSpec, ExpertSpec, TrainSpec
from stm_agent.mine.lists import Lists
from stm_agent.mine.negatives import Negative


@dataclass(frozen=True, kw_only=True)
class TrainingRequest:
    """Everything that decides the weights of one expert, except the models its helpers hold.

    Attributes:
        expert: Steps, loss, negatives and overrides.
        pairs: Training pairs of its sources.
        negatives: Pair id -> hard negatives.
        backbone: The decoder.
        train: Options shared by all experts.
        seed: Seed of the new weights and of the batch order.
        start: Adapter folder to continue from; None starts at the backbone.
        query_prefix: Text in front of every query.
        passage_prefix: Text in front of every passage.
        prompts: Texts of which each query has one in front of it instead of ``query_prefix``; empty: none.
        lists: Pair id -> a teacher's scores, for loss ``distil``.
    """

    expert: ExpertSpec
    pairs: Sequence[Pair]
    negatives: Mapping[str, tuple[Negative, ...]]
    backbone: BackboneSpec
    train: TrainSpec
    seed: int
    start: Path | None = None
    query_prefix: str = ""
    passage_prefix: str = ""
    prompts: Sequence[str] = ()
    lists: Lists = field(default_factory=dict)

    @property
    def query_prefixes(self) -> tuple[str, ...]:
        """All texts that can stand in front of a query."""
        return tuple(self.prompts) or (self.query_prefix,)
