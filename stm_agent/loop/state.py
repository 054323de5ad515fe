"""The state of a run: a frozen value; a lever takes one and returns a new one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.spec import BackboneSpec, ExpertSpec
from stm_agent.loop.gate import GateState
from stm_agent.loop.training_data import TrainingData
from stm_agent.merge.adapted import AdaptedModel
from stm_agent.merge.job import MergeResult, Rating

START = "backbone"
"""Label of the untouched start of a run."""


@dataclass(frozen=True, kw_only=True)
class RatedModel:
    """A model with the instruction it is used with and its dev scores.

    Attributes:
        label: Description for people.
        model: Backbone, adapters and weights.
        experts: Name of the expert of each adapter.
        instruction: Text in front of queries and passages.
        rating: Dev scores with that instruction.
    """

    label: str
    model: AdaptedModel
    experts: tuple[str, ...] = ()
    instruction: Instruction
    rating: Rating

    @property
    def weights(self) -> dict[str, float]:
        """Expert's name -> weight; of a model with two sides, of the side of queries."""
        return dict(zip(self.experts, self.model.merged.weights, strict=True))


@dataclass(frozen=True, kw_only=True)
class Expert:
    """A trained expert.

    Attributes:
        name: Name in the domain file, with the variant's label if several variants are trained, and ``@round`` after
            the first round.
        spec_name: Name in the domain file.
        variant: Label of the variant, for example ``FT+SHN+PO`` (see :class:`~stm_agent.loop.variants.Variant`).
        folder: The stage folder with ``adapter/`` and ``expert.json``.
        rated: The backbone with this adapter alone, its instruction and its dev scores.
        texts_per_second: Speed of the training.
        side: ``query`` if the adapter is that of queries alone.
        round: The round it was trained in.
        spec: What it learnt from, and how; None: as the domain lists it.
    """

    name: str
    spec_name: str
    variant: str
    folder: Path
    rated: RatedModel
    texts_per_second: float
    side: Literal["both", "query"] = "both"
    round: int = 1
    spec: ExpertSpec | None = None

    @property
    def adapter(self) -> Path:
        """Folder of the peft adapter."""
        return self.folder / "adapter"


@dataclass(frozen=True, kw_only=True)
class State:
    """What a run has reached.

    Attributes:
        base: The untouched backbone without instruction.
        confirmed: The newest model whose gain is confirmed; the base at first.
        provisional: The model that the search half prefers; not confirmed yet.
        accepted: The newest accepted instruction, on whichever model; None: there was none.
        gate: Looks taken at the accept half, and alpha spent.
        experts: All experts so far.
        considered: Number of changes that were compared with an incumbent so far.
        merge: The newest merge search; None: there was none.
        tested: Whether the last confirmation was made.
        training_data: What the experts of this round learn from; None: not prepared yet.
        merged: Experts that the newest merge search chose from, in its order.
        round: Number of the newest training data, from 1; 0: there is none yet.
        starts: Other starts that were raced, without adaptation.
        programs: What is written -> file of the program that writes it since a search of its text; empty: the domain's
            own programs write.
    """

    base: RatedModel
    confirmed: RatedModel
    provisional: RatedModel
    accepted: Instruction | None = None
    gate: GateState = field(default_factory=GateState)
    experts: tuple[Expert, ...] = ()
    considered: int = 0
    merge: MergeResult | None = None
    merged: tuple[Expert, ...] = ()
    training_data: TrainingData | None = None
    tested: bool = False
    round: int = 0
    starts: tuple[RatedModel, ...] = ()
    programs: Mapping[str, Path] = field(default_factory=dict)

    @classmethod
    def start(cls, base: RatedModel) -> State:
        """Return the state before anything was tried."""
        return cls(base=base, confirmed=base, provisional=base)

    @property
    def backbone(self) -> BackboneSpec:
        """The start that the provisional model stands on, and that experts are trained on."""
        return self.provisional.model.documents.backbone

    @property
    def untouched(self) -> RatedModel:
        """That start without adaptation."""
        return next((start for start in self.starts if start.model.backbone == self.backbone), self.base)

    def experts_here(self) -> tuple[Expert, ...]:
        """Return the experts that were trained on that start."""
        return tuple(expert for expert in self.experts if expert.rated.model.documents.backbone == self.backbone)

    def taking(self, challenger: RatedModel) -> State:
        """Return the state with another provisional model."""
        return replace(self, provisional=challenger)


def start_key(state: State) -> list[object]:
    """Return what identifies the start of the provisional model; empty: it is the run's own."""
    own = state.backbone == state.base.model.backbone
    return [] if own else [state.backbone.model_dump(mode="json")]
