"""The merge lever: weights from the surrogate, proved by real encodes, written out as one plain model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stm_agent.evaluate.encoder import Encoder
from stm_agent.instruct.instruction import Instruction
from stm_agent.loop.bench import Bench, Rating
from stm_agent.loop.experts import Expert
from stm_agent.merge.delta import LoraDelta, combine
from stm_agent.merge.search import Candidate, front, rescored, search, verify
from stm_agent.merge.surrogate import Surrogate, Task


@dataclass(frozen=True)
class Merged:
    """A merge that was really built and scored on dev."""

    weights: dict[str, float]
    delta: LoraDelta
    rating: Rating
    rank_correlation: float | None


def merge_experts(bench: Bench, experts: Sequence[Expert], base: Rating, instruction: Instruction) -> Merged:
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
            built[weights] = bench.encoder(combine(deltas, weights))
            ratings[weights] = bench.rate(built[weights], instruction)
        return ratings[weights]

    def learn(weights: tuple[float, ...]) -> list[Candidate]:
        # Its vectors are in the cache: they were just made to rate it.
        encoder = built.pop(weights, None)
        if encoder is not None:
            dev, texts = list(bench.dev.queries.values()), list(bench.documents.values())
            queries = bench.cache.encode(encoder, dev, prefix=instruction.query_prefix)
            surrogate.learn(weights, queries, bench.cache.encode(encoder, texts, prefix=instruction.passage_prefix))
        return rescored(candidates, surrogate)

    with bench.timed("merge", f"searching merge weights over {len(experts)} experts"):
        tasks = _tasks(bench, [None, *deltas], instruction)
        plan = bench.spec.merge
        surrogate = Surrogate(tasks[0])
        candidates = search(
            tasks[0],
            tasks[1:],
            strategy=plan.search,
            budget=plan.candidates,
            step=plan.step,
            seed=bench.seed,
            surrogate=surrogate,
        )
    with bench.timed("merge", "verifying the best merges by real encodes"):
        floor = base.general - bench.spec.merge.forgetting_budget
        chosen = verify(candidates, build_and_rate, floor=floor, count=bench.spec.merge.verify, learn=learn)
    _record(bench, experts, candidates, ratings, floor)
    points = front(_with_real(rescored(candidates, surrogate), ratings))
    bench.run.ledger.record(
        "front",
        experts={expert.name: expert.folder.name for expert in experts},
        points=[
            {
                "weights": point.weights,
                "dev": point.domain,
                "general": point.general,
                "verified": point.weights in ratings,
            }
            for point in points
        ],
    )
    names = [expert.name for expert in experts]
    correlation = chosen.rank_correlation
    if chosen.surrogate_is_bad:
        bench.note(
            "merge", f"the surrogate ranks verified merges badly (Spearman {correlation:.2f}); trust the verified rows"
        )
    return Merged(
        dict(zip(names, chosen.weights, strict=True)), combine(deltas, chosen.weights), chosen.rating, correlation
    )


def _tasks(bench: Bench, deltas: Sequence[LoraDelta | None], instruction: Instruction) -> list[Task]:
    encoders = [bench.encoder(delta) for delta in deltas]
    documents = bench.documents
    domain = Task(
        queries=list(bench.dev.queries),
        documents=list(documents),
        qrels=bench.dev.qrels,
        query_vectors=_vectors(bench, encoders, list(bench.dev.queries.values()), instruction.query_prefix),
        document_vectors=_vectors(bench, encoders, list(documents.values()), instruction.passage_prefix),
    )
    guards = [
        Task(
            queries=list(guard.splits["dev"].queries),
            documents=list(guard.texts),
            qrels=guard.splits["dev"].qrels,
            query_vectors=_vectors(bench, encoders, list(guard.splits["dev"].queries.values()), ""),
            document_vectors=_vectors(bench, encoders, list(guard.texts.values()), ""),
        )
        for guard in bench.guards
    ]
    return [domain, *guards]


def _vectors(bench: Bench, encoders: Sequence[Encoder], texts: Sequence[str], prefix: str) -> NDArray[np.float32]:
    return np.stack([bench.cache.encode(encoder, texts, prefix=prefix) for encoder in encoders])


def _with_real(candidates: Sequence[Candidate], ratings: Mapping[tuple[float, ...], Rating]) -> list[Candidate]:
    """Return the candidates with real scores where there are some."""
    real = [Candidate(weights, rating.domain.ndcg_at_10, rating.general) for weights, rating in ratings.items()]
    return real + [candidate for candidate in candidates if candidate.weights not in ratings]


def _record(
    bench: Bench,
    experts: Sequence[Expert],
    candidates: Sequence[Candidate],
    ratings: dict[tuple[float, ...], Rating],
    floor: float,
) -> None:
    guess = {candidate.weights: candidate.domain for candidate in candidates}
    for weights, rating in ratings.items():
        bench.run.ledger.record(
            "merge",
            experts=[expert.name for expert in experts],
            weights=list(weights),
            surrogate=guess.get(weights),
            dev=rating.domain.ndcg_at_10,
            general=rating.general,
            allowed=rating.general >= floor,
        )
