"""Add an expert for a slice: one that learns from pairs like the queries that the incumbent answers worst."""

from __future__ import annotations

from typing import ClassVar, Literal

from stm_agent.domain.spec import DomainSpec, ExpertSpec
from stm_agent.loop.actions.action import LeverAction, Prior
from stm_agent.loop.actions.training import SHORT, Rung, learnt_from, with_trained
from stm_agent.loop.context import RunContext
from stm_agent.loop.costs import Cost, Workload
from stm_agent.loop.data import pairs_of
from stm_agent.loop.experts import train_expert
from stm_agent.loop.other_starts import domain_of
from stm_agent.loop.slice_pairs import LIKENESS, pairs_like
from stm_agent.loop.slices import slices_of
from stm_agent.loop.state import State
from stm_agent.loop.training_data import TrainingData

By = Literal["type", "length", "BM25"]
FEWEST_QUERIES = 5
"""Queries of a slice whose mean can be trusted."""
WEAK = 0.02
"""nDCG@10 by which a slice must be below all queries together."""
OFFERED = 2
"""Weakest slices that a menu offers."""


class AddExpert(LeverAction):
    """Trains one more expert of both sides, on the pairs whose queries are like those of a weak slice.

    Attributes:
        by: What the queries of the slice are sorted by.
        slice: Their value of it.
        rung: How long the expert is trained.
    """

    prior: ClassVar[Prior] = Prior(gain=0.008, spread=0.02)
    lever: ClassVar[str] = "expert {action.name}"
    kind: Literal["add-expert"] = "add-expert"
    by: By
    slice: Literal["question", "keywords", "statement", "short", "medium", "long", "findable", "not-findable"]
    rung: Rung = "whole"

    @property
    def summary(self) -> str:
        """One line for people."""
        short = "" if self.rung == "whole" else " for a quarter of its steps"
        return f"train an expert for queries of {self.by} {self.slice}{short}"

    def depends(self, state: State) -> object:
        """Return instruction and data."""
        return learnt_from(state)

    def estimate(self, work: Workload, state: State) -> Cost:
        """Count the steps and the scores, of as many pairs as there may be."""
        return work.training(self.spec(work.spec))

    def apply(self, context: RunContext, state: State) -> State:
        """Return the state with the expert, which the gate considers."""
        spec = self.spec(domain_of(context, state))
        pairs = pairs_of(context, spec, state.training_data or TrainingData())
        chosen = pairs_like(context, pairs, self.by, self.slice)
        context.note("train", f"expert {spec.name}: {len(chosen):,} of {len(pairs):,} pairs are like the slice")
        trained = train_expert(context, state, spec, self.round, None, pairs=chosen)
        return with_trained(context, state, trained, self.round)

    @property
    def name(self) -> str:
        """Name of the expert."""
        return f"slice-{self.by.lower()}-{self.slice}"

    def spec(self, domain: DomainSpec) -> ExpertSpec:
        """Return the expert: the domain's first one of both sides, on the sources of all of them."""
        experts = sliceable(domain)
        share = SHORT if self.rung == "short" else 1.0
        sources = tuple(dict.fromkeys(source for expert in experts for source in expert.sources))
        return experts[0].model_copy(
            update={
                "name": self.name,
                "sources": sources,
                "start": None,
                # Half of the steps: a slice has a part of the pairs.
                "steps": max(1, round(share * max(1, max(expert.steps for expert in experts) // 2))),
            }
        )


def sliceable(domain: DomainSpec) -> list[ExpertSpec]:
    """Return the experts whose options an expert for a slice can have."""
    return [expert for expert in domain.experts if expert.side == "both" and not expert.learns_from_scores]


def weak_slices(context: RunContext, state: State) -> list[AddExpert]:
    """Return an action for each of the weakest slices of the search half that pairs can be like."""
    if not sliceable(context.spec):
        return []
    scores = state.provisional.rating.domain
    weak = [
        part
        for part in slices_of(context, scores)
        if part.by in LIKENESS and len(part.queries) >= FEWEST_QUERIES and part.ndcg_at_10 < scores.ndcg_at_10 - WEAK
    ]
    weakest = sorted(weak, key=lambda part: (part.ndcg_at_10, part.by, part.name))[:OFFERED]
    values = ({"kind": "add-expert", "by": part.by, "slice": part.name.replace(" ", "-")} for part in weakest)
    return [AddExpert.model_validate(value) for value in values]
