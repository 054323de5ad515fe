"""Change the mix of what an expert learns from: how many written queries beside those of people, which negatives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from stm_agent.domain.fields import Name
from stm_agent.domain.spec import WRITTEN, DomainSpec, ExpertSpec, NegativeSpec
from stm_agent.loop.actions.action import LeverAction, Prior
from stm_agent.loop.actions.training import Rung, expert_of, learnt_from, with_trained
from stm_agent.loop.context import RunContext
from stm_agent.loop.costs import Cost, Workload
from stm_agent.loop.experts import listed_start, train_expert
from stm_agent.loop.other_starts import domain_of
from stm_agent.loop.state import State
from stm_agent.loop.training_data import TrainingData

Mix = Literal["with-written", "more-written", "less-written", "mined-alone", "half-written"]
"""``with-written``: written queries join the sources; ``more-written`` and ``less-written``: their pairs come twice and
half as often; ``mined-alone``: mined negatives take the places of written ones; ``half-written``: half of the negatives
are written."""
MIXES: tuple[Mix, ...] = ("with-written", "more-written", "less-written", "mined-alone", "half-written")
FACTOR = 2.0
"""Factor on the weight of a source."""
HALF = 0.5


class ChangeMix(LeverAction):
    """Trains an expert of both sides on another mix of its data.

    Attributes:
        expert: Its name in the domain.
        mix: What is changed, see :data:`Mix`.
        rung: How long it is trained.
    """

    prior: ClassVar[Prior] = Prior(gain=0.008, spread=0.02)
    lever: ClassVar[str] = "expert {action.expert}, {action.mix}"
    kind: Literal["change-mix"] = "change-mix"
    expert: Name
    mix: Mix
    rung: Rung = "whole"

    @property
    def summary(self) -> str:
        """One line for people."""
        return f"train expert {self.expert} on another mix ({self.mix})"

    def depends(self, state: State) -> object:
        """Return instruction and data."""
        return learnt_from(state)

    def estimate(self, work: Workload, state: State) -> Cost:
        """Count the steps and the scores."""
        return work.training(self._spec(work.spec))

    def apply(self, context: RunContext, state: State) -> State:
        """Return the state with the expert, which the gate considers."""
        spec = self._spec(domain_of(context, state))
        start = listed_start(context, state, spec, self.round)
        return with_trained(context, state, train_expert(context, state, spec, self.round, start), self.round)

    def _spec(self, domain: DomainSpec) -> ExpertSpec:
        return mixed(expert_of(domain, self.expert, self.rung), self.mix)


def mixed(spec: ExpertSpec, mix: Mix) -> ExpertSpec:
    """Return an expert with another mix; the number of its negatives stays."""
    negatives, weights = spec.negatives, spec.source_weights
    if mix == "with-written":
        return spec.model_copy(update={"sources": (*spec.sources, WRITTEN)})
    if mix in ("more-written", "less-written"):
        factor = FACTOR if mix == "more-written" else 1 / FACTOR
        return spec.model_copy(update={"source_weights": {**weights, WRITTEN: factor * weights.get(WRITTEN, 1.0)}})
    total, structural = negatives.written_and_mined, negatives.structural
    changed = NegativeSpec(mined=total, structural=structural, shared=negatives.shared)
    if mix == "half-written":
        written = max(1, negatives.synthetic)
        half = {"mined": total - written, "synthetic": written, "synthetic_share": HALF}
        changed = changed.model_copy(update=half)
    return spec.model_copy(update={"negatives": changed})


def mixes_of(spec: ExpertSpec, data: TrainingData | None) -> list[Mix]:
    """Return the mixes that differ from an expert's own and for which there is data."""
    if spec.side == "query" or spec.learns_from_scores or data is None:
        return []
    possible = {*_query_mixes(spec, data), *_negative_mixes(spec, data)}
    return [mix for mix in MIXES if mix in possible]


def _query_mixes(spec: ExpertSpec, data: TrainingData) -> Iterator[Mix]:
    if not data.written:
        return
    if WRITTEN not in spec.sources:
        yield "with-written"
    elif len(spec.sources) > 1:
        yield from ("more-written", "less-written")


def _negative_mixes(spec: ExpertSpec, data: TrainingData) -> Iterator[Mix]:
    negatives = spec.negatives
    if data.mined and negatives.synthetic > 0:
        yield "mined-alone"
    if data.synthetic and negatives.written_and_mined > 0 and negatives.synthetic_share != HALF:
        yield "half-written"
