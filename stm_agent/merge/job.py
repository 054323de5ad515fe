"""The merge job: weights searched on the surrogate, the best verified by real encodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.collection import Split
from stm_agent.domain.spec import BackboneSpec, MergeSpec
from stm_agent.evaluate.cache import EmbeddingCache
from stm_agent.evaluate.encoder import Encoder
from stm_agent.evaluate.metrics import Scores, score
from stm_agent.evaluate.ranking import rank
from stm_agent.evaluate.scoring import DEPTH, ScoredTask, mean_ndcg, scores_from_json, scores_to_json
from stm_agent.files import read_json, write_json
from stm_agent.job import Job
from stm_agent.merge.adapted import AdaptedModel, adapter_key
from stm_agent.merge.search import Candidate, Verified, front, rescored, search, verify
from stm_agent.merge.strategies import MergeWeights
from stm_agent.merge.surrogate import Surrogate, Task
from stm_agent.progress import safe_point

Vectors = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Query and document vectors, ``[texts, dimension]`` float32 each."""
RESULT = "merge.json"


@dataclass(frozen=True)
class Rating:
    """Dev scores of a model.

    Attributes:
        domain: Scores on the domain's dev queries.
        general: Mean nDCG@10 over the general guard tasks.
    """

    domain: Scores
    general: float


def only(scores: Scores, queries: Sequence[str]) -> Scores:
    """Return scores over some of the queries; Recall@100 and MRR@10 are not known for a part and become 0."""
    part = {query: scores.per_query[query] for query in queries if query in scores.per_query}
    return Scores(sum(part.values()) / max(len(part), 1), 0.0, 0.0, part)


@dataclass(frozen=True, kw_only=True)
class MergeJob(Job):
    """Searches linear weights over adapters of one backbone.

    Attributes:
        backbone: The model before adaptation.
        adapters: Folder of each expert's adapter.
        instruction: What the merged model is scored with.
        dev: The corpus and all dev queries.
        searched: Ids of the dev queries that weights are chosen on.
        guards: General tasks, scored without instruction.
        spec: Strategy and number of candidates.
        floor: Least mean nDCG@10 on the guards.
        seed: Seed of the search.
        cache: Folder of cached vectors; decides no number.
    """

    kind: ClassVar[str] = "merge"
    backbone: BackboneSpec
    adapters: tuple[Path, ...]
    instruction: Instruction
    dev: ScoredTask
    searched: tuple[str, ...]
    guards: tuple[ScoredTask, ...]
    spec: MergeSpec
    floor: float
    seed: int
    cache: Path

    def inputs(self) -> Mapping[str, object]:
        """Return what decides the weights."""
        return {
            "backbone": AdaptedModel(self.backbone).source_key(),
            "adapters": [adapter_key(path) for path in self.adapters],
            "prefixes": [self.instruction.query_prefix, self.instruction.passage_prefix],
            "dev": self.dev.content_hash,
            "searched": list(self.searched),
            "guards": [guard.content_hash for guard in self.guards],
            "spec": self.spec.model_dump(mode="json", exclude={"instructions", "variants", "forgetting_budget"}),
            "floor": self.floor,
            "seed": self.seed,
        }

    def build(self, folder: Path) -> None:
        """Write ``merge.json``: the chosen weights, every merge that was really encoded, and the Pareto front."""
        write_json(folder / RESULT, _MergeSearch(self).result())


@dataclass(frozen=True, kw_only=True)
class MergeResult:
    """What a :class:`MergeJob` found.

    Attributes:
        weights: One weight for each expert.
        rating: Real scores of the chosen merge, over all dev queries.
        allowed: Whether it keeps the forgetting budget.
        rank_correlation: Spearman between surrogate and real scores of the verified merges; None: too few.
        surrogate_is_bad: Whether the search went on with real encodes.
        agreement: How well the surrogate ordered the encoded merges, in words.
        verified: Merges that were really encoded: weights, surrogate's guess, real scores on the search half.
        front: Points that no other beats on domain and guards at once, best on the domain first.
    """

    weights: MergeWeights
    rating: Rating
    allowed: bool
    rank_correlation: float | None
    surrogate_is_bad: bool
    agreement: str
    verified: tuple[Mapping[str, Any], ...]
    front: tuple[Mapping[str, Any], ...]


def read_merge(folder: Path) -> MergeResult:
    """Read the result of a :class:`MergeJob`."""
    row: dict[str, Any] = read_json(folder / RESULT)
    rating = Rating(scores_from_json(row["rating"]["domain"]), row["rating"]["general"])
    lists = {name: tuple(row[name]) for name in ("weights", "verified", "front")}
    return MergeResult(**{**row, **lists, "rating": rating})


class _MergeSearch:
    """One search: holds the vectors of base and experts while it runs."""

    def __init__(self, job: MergeJob) -> None:
        self.job, self.cache = job, EmbeddingCache(job.cache)
        plain = job.instruction.unsaid()
        self.tasks = [(job.dev, job.instruction), *((guard, plain) for guard in job.guards)]
        self.searched = [query for query in job.dev.split.queries if query in set(job.searched)]
        self.ratings: dict[MergeWeights, Rating] = {}
        self._built: dict[MergeWeights, list[Vectors]] = {}
        experts = len(job.adapters)
        models = [AdaptedModel(job.backbone), *(AdaptedModel(job.backbone, (path,), (1.0,)) for path in job.adapters)]
        self.vectors = [self._encoded(model.open()) for model in models]
        for number in range(experts):
            # An expert alone needs no further encode: its vectors are here.
            alone = tuple(float(number == other) for other in range(experts))
            self.ratings[alone] = self._rating(self.vectors[number + 1])
        surrogate_tasks = [self._task(number) for number in range(len(self.tasks))]
        self.surrogate = Surrogate(surrogate_tasks[0])
        self.candidates = search(
            surrogate_tasks[0],
            surrogate_tasks[1:],
            strategy=job.spec.search,
            budget=job.spec.candidates,
            step=job.spec.step,
            seed=job.seed,
            surrogate=self.surrogate,
        )

    def result(self) -> dict[str, Any]:
        """Verify the best candidates and return what ``merge.json`` holds."""
        job = self.job
        chosen: Verified[Rating] = verify(
            self.candidates, self.rate_on_search_half, floor=job.floor, count=job.spec.verify, learn=self.learn
        )
        rating = self.ratings[chosen.weights]
        return {
            "weights": list(chosen.weights),
            "rating": {"domain": scores_to_json(rating.domain), "general": rating.general},
            "allowed": chosen.allowed,
            "rank_correlation": chosen.rank_correlation,
            "surrogate_is_bad": chosen.surrogate_is_bad,
            "agreement": chosen.agreement.summary,
            "verified": self._verified(),
            "front": self._front(),
        }

    def rate_on_search_half(self, weights: MergeWeights) -> Rating:
        """Build a merge, score it on everything, and return what the search may see of it."""
        safe_point()
        if weights not in self.ratings:
            model = AdaptedModel(self.job.backbone, self.job.adapters, weights)
            # Only the last one is held: each is a whole set of vectors.
            self._built = {weights: self._encoded(model.open())}
            self.ratings[weights] = self._rating(self._built[weights])
        rating = self.ratings[weights]
        return Rating(only(rating.domain, self.searched), rating.general)

    def learn(self, weights: MergeWeights) -> list[Candidate]:
        """Show the surrogate a merge that was really encoded; return the candidates as it sees them now."""
        vectors = self._built.pop(weights, None)
        if vectors is not None:
            queries, documents = vectors[0]
            self.surrogate.learn(weights, queries[self._rows(self.job.dev.split)], documents)
        return rescored(self.candidates, self.surrogate)

    def _encoded(self, encoder: Encoder) -> list[Vectors]:
        return [
            (
                self.cache.encode(encoder, list(task.split.queries.values()), prefix=instruction.query_prefix),
                self.cache.encode(encoder, list(task.documents.values()), prefix=instruction.passage_prefix),
            )
            for task, instruction in self.tasks
        ]

    def _rating(self, vectors: Sequence[Vectors]) -> Rating:
        found = []
        for (task, _), (queries, documents) in zip(self.tasks, vectors, strict=True):
            names, ignored = list(task.split.queries), task.split.ignored_ids
            run = rank(names, queries, list(task.documents), documents, k=DEPTH, ignored_ids=ignored)
            found.append(score(run, task.split.qrels))
        return Rating(found[0], mean_ndcg(found[1:]))

    def _rows(self, split: Split) -> list[int]:
        wanted = set(self.searched)
        return [row for row, query in enumerate(split.queries) if query in wanted]

    def _task(self, number: int) -> Task:
        """Return one task of the surrogate; of the domain's it sees the search half alone."""
        task, _ = self.tasks[number]
        queries = list(task.split.queries)
        rows = self._rows(task.split) if number == 0 else list(range(len(queries)))
        return Task(
            queries=[queries[row] for row in rows],
            documents=list(task.documents),
            qrels={queries[row]: task.split.qrels[queries[row]] for row in rows},
            query_vectors=np.stack([vectors[number][0][rows] for vectors in self.vectors]),
            document_vectors=np.stack([vectors[number][1] for vectors in self.vectors]),
        )

    def _verified(self) -> list[dict[str, Any]]:
        guesses = {candidate.weights: candidate.domain for candidate in self.candidates}
        return [
            {
                "weights": list(weights),
                "surrogate": guesses.get(weights),
                "dev": only(rating.domain, self.searched).ndcg_at_10,
                "general": rating.general,
                "allowed": rating.general >= self.job.floor,
            }
            for weights, rating in self.ratings.items()
        ]

    def _front(self) -> list[dict[str, Any]]:
        """Return the Pareto front on the search half, with real scores where there are some."""
        real = [
            Candidate(weights, only(rating.domain, self.searched).ndcg_at_10, rating.general)
            for weights, rating in self.ratings.items()
        ]
        guessed = [
            candidate
            for candidate in rescored(self.candidates, self.surrogate)
            if candidate.weights not in self.ratings
        ]
        return [
            {
                "weights": list(point.weights),
                "dev": point.domain,
                "general": point.general,
                "verified": point.weights in self.ratings,
            }
            for point in front([*real, *guessed])
        ]
