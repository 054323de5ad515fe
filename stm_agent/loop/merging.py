"""The merge lever: weights from the surrogate, proved by real encodes, written out as one plain model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.collection import Split
from stm_agent.evaluate.encoder import Encoder
from stm_agent.loop.context import Rating, RunContext
from stm_agent.loop.experts import Expert
from stm_agent.merge.delta import LoraDelta, combine
from stm_agent.merge.search import Candidate, Verified, front, rescored, search, verify
from stm_agent.merge.surrogate import Surrogate, Task


@dataclass(frozen=True)
class Merged:
    """A merge that was really built and scored on dev.

    Attributes:
        weights: Expert's name -> weight.
        delta: What it adds to the backbone.
        rating: Its dev scores.
        rank_correlation: Spearman between the surrogate and real scores; None where too few merges were built.
        allowed: Whether it keeps the forgetting budget.
        adapters: Expert's name -> its adapter's folder.
        front: What no other weighting beats on domain and general tasks at once, best on the domain first.
    """

    weights: dict[str, float]
    delta: LoraDelta
    rating: Rating
    rank_correlation: float | None
    allowed: bool
    adapters: dict[str, Path]
    front: tuple[dict[str, Any], ...]


def merge_experts(context: RunContext, experts: Sequence[Expert], base: Rating, instruction: Instruction) -> Merged:
    """Search linear weights over the experts' deltas; the best on dev inside the forgetting budget wins."""
    deltas = [expert.delta for expert in experts]
    ratings: dict[tuple[float, ...], Rating] = {}
    built: dict[tuple[float, ...], Encoder] = {}

    def build_and_rate(weights: tuple[float, ...]) -> Rating:
        for index, expert in enumerate(experts):
            alone = weights == tuple(float(index == other) for other in range(len(experts)))
            if alone and expert.instruction == instruction:
                return ratings.setdefault(weights, expert.rating)
        if weights not in ratings:
            # Only the last one is kept: each is a whole model.
            built.clear()
            built[weights] = context.encoder(combine(deltas, weights))
            ratings[weights] = context.rate(built[weights], instruction)
        return ratings[weights]

    def learn(weights: tuple[float, ...]) -> list[Candidate]:
        # Its vectors are in the cache: they were just made to rate it.
        encoder = built.pop(weights, None)
        if encoder is not None:
            dev, texts = list(context.dev.queries.values()), list(context.documents.values())
            queries = context.cache.encode(encoder, dev, prefix=instruction.query_prefix)
            surrogate.learn(weights, queries, context.cache.encode(encoder, texts, prefix=instruction.passage_prefix))
        return rescored(candidates, surrogate)

    with context.timed("merge", f"searching merge weights over {len(experts)} experts"):
        tasks = _tasks(context, [None, *deltas], instruction)
        plan = context.spec.merge
        surrogate = Surrogate(tasks[0])
        candidates = search(
            tasks[0],
            tasks[1:],
            strategy=plan.search,
            budget=plan.candidates,
            step=plan.step,
            seed=context.seed,
            surrogate=surrogate,
        )
    with context.timed("merge", "verifying the best merges by real encodes"):
        floor = base.general - context.spec.merge.forgetting_budget
        chosen = verify(candidates, build_and_rate, floor=floor, count=context.spec.merge.verify, learn=learn)
    _record(context, experts, candidates, ratings, floor)
    points = _front(rescored(candidates, surrogate), ratings)
    context.run.ledger.record(
        "front", experts={expert.name: expert.folder.name for expert in experts}, points=list(points)
    )
    _tell(context, chosen, floor)
    return Merged(
        dict(zip([expert.name for expert in experts], chosen.weights, strict=True)),
        combine(deltas, chosen.weights),
        chosen.rating,
        chosen.rank_correlation,
        chosen.allowed,
        {expert.name: expert.folder / "adapter" for expert in experts},
        points,
    )


def _tell(context: RunContext, chosen: Verified[Rating], floor: float) -> None:
    """Say how well the surrogate guessed, and whether the merge forgets too much."""
    if chosen.rank_correlation is not None:
        worth = "badly, so the search went on with real encodes" if chosen.surrogate_is_bad else "well enough"
        context.note("merge", f"the surrogate ranks verified merges {worth} (Spearman {chosen.rank_correlation:.2f})")
    if not chosen.allowed:
        context.note(
            "merge",
            f"every merge forgets too much: the best keeps {chosen.rating.general:.4f} on the general tasks, "
            f"{floor:.4f} are asked for; raise merge.forgetting_budget or train less",
        )


def _tasks(context: RunContext, deltas: Sequence[LoraDelta | None], instruction: Instruction) -> list[Task]:
    """Return the domain's and the guards' tasks with base and experts encoded, one whole model after another."""
    plain = instruction.unsaid()
    wanted = [(context.dev, context.documents, instruction)]
    wanted += [(guard.splits["dev"], guard.texts, plain) for guard in context.guards]
    encoded = [_encoded(context, context.encoder(delta), wanted) for delta in deltas]
    return [
        Task(
            queries=list(split.queries),
            documents=list(documents),
            qrels=split.qrels,
            query_vectors=np.stack([vectors[number][0] for vectors in encoded]),
            document_vectors=np.stack([vectors[number][1] for vectors in encoded]),
        )
        for number, (split, documents, _) in enumerate(wanted)
    ]


def _encoded(
    context: RunContext, encoder: Encoder, wanted: Sequence[tuple[Split, Mapping[str, str], Instruction]]
) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Return vectors of queries and documents for each task."""
    return [
        (
            context.cache.encode(encoder, list(split.queries.values()), prefix=said.query_prefix),
            context.cache.encode(encoder, list(documents.values()), prefix=said.passage_prefix),
        )
        for split, documents, said in wanted
    ]


def _front(candidates: Sequence[Candidate], ratings: Mapping[tuple[float, ...], Rating]) -> tuple[dict[str, Any], ...]:
    """Return the Pareto front, with real scores where there are some."""
    real = [Candidate(weights, rating.domain.ndcg_at_10, rating.general) for weights, rating in ratings.items()]
    guessed = [candidate for candidate in candidates if candidate.weights not in ratings]
    return tuple(
        {
            "weights": list(point.weights),
            "dev": point.domain,
            "general": point.general,
            "verified": point.weights in ratings,
        }
        for point in front([*real, *guessed])
    )


def _record(
    context: RunContext,
    experts: Sequence[Expert],
    candidates: Sequence[Candidate],
    ratings: dict[tuple[float, ...], Rating],
    floor: float,
) -> None:
    guess = {candidate.weights: candidate.domain for candidate in candidates}
    for weights, rating in ratings.items():
        context.run.ledger.record(
            "merge",
            experts=[expert.name for expert in experts],
            weights=list(weights),
            surrogate=guess.get(weights),
            dev=rating.domain.ndcg_at_10,
            general=rating.general,
            allowed=rating.general >= floor,
        )
