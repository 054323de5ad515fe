"""The merge job: sums searched on the surrogate and other methods by real encodes; what is chosen was encoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.collection import Split
from stm_agent.domain.spec import BackboneSpec, MergeSpec
from stm_agent.evaluate.cache import EmbeddingCache, encode_queries
from stm_agent.evaluate.corpus import encode_corpus
from stm_agent.evaluate.encoder import Encoder
from stm_agent.evaluate.metrics import score
from stm_agent.evaluate.ranking import rank
from stm_agent.evaluate.scoring import DEPTH, ScoredTask, mean_ndcg, scores_to_json
from stm_agent.evaluate.vectors import CorpusVectors
from stm_agent.files import write_json
from stm_agent.job import Job
from stm_agent.merge.adapted import AdaptedModel, adapter_key
from stm_agent.merge.method_search import Chosen, Merge, choose, starts_of, try_method
from stm_agent.merge.recipe import SUM, MethodOptions
from stm_agent.merge.result import RESULT, FrontPoint, MergeResult, Rating, StoredMerge, VerifiedRow, only, read_merge
from stm_agent.merge.search import Candidate, encoded_methods, front, rescored, search
from stm_agent.merge.strategies import MergeWeights, corners
from stm_agent.merge.surrogate import Surrogate, Task
from stm_agent.merge.verifying import Verified, verify
from stm_agent.progress import safe_point

Vectors = tuple[NDArray[np.float32], CorpusVectors]
"""Query vectors, ``[queries, dimension]`` float32, and those of the documents."""
__all__ = ["MergeJob", "MergeResult", "Rating", "only", "read_merge"]


@dataclass(frozen=True, kw_only=True)
class MergeJob(Job):
    """Searches how to merge adapters of one backbone.

    Attributes:
        backbone: The model before adaptation.
        adapters: Folder of each expert's adapter.
        instruction: What the merged model is scored with.
        dev: A corpus and dev queries: all of them, or those that weights are chosen on alone.
        searched: Ids of the dev queries that weights are chosen on.
        guards: General tasks, scored without instruction.
        spec: Methods, strategy and number of candidates.
        floor: Least mean nDCG@10 on the guards.
        seed: Seed of the search.
        cache: Folder of cached vectors; decides no number.
        documents: The model whose vectors the passages keep, if the adapters are those of queries alone; None: the
            passages are encoded with each merge.
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
    documents: AdaptedModel | None = None

    def model(
        self, adapters: tuple[Path, ...] = (), weights: tuple[float, ...] = (), method: MethodOptions = SUM
    ) -> AdaptedModel:
        """Return a merge of adapters; only its side of queries if the passages keep their vectors."""
        merged = AdaptedModel(self.backbone, adapters, weights, method)
        return merged if self.documents is None else replace(self.documents, queries=merged)

    def inputs(self) -> Mapping[str, object]:
        """Return what decides the weights."""
        return {
            "backbone": self.model().source_key(),
            "adapters": [adapter_key(path) for path in self.adapters],
            "prefixes": [self.instruction.query_prefix, self.instruction.passage_prefix],
            "dev": self.dev.content_hash,
            "searched": list(self.searched),
            "guards": [guard.content_hash for guard in self.guards],
            "spec": self.spec.model_dump(mode="json", exclude={"instructions", "variants", "forgetting_budget"}),
            "floor": self.floor,
            "seed": self.seed,
            # How one of the candidates is chosen: stm_agent.merge.verifying.
            "choice": "bagged; of one expert itself; scaled back to the guard",
        }

    def build(self, folder: Path) -> None:
        """Write ``merge.json``: what was chosen, every merge that was really encoded, and the Pareto front."""
        write_json(folder / RESULT, _MergeSearch(self).result())


class _MergeSearch:
    """One search: holds the vectors of base and experts while it runs."""

    def __init__(self, job: MergeJob) -> None:
        self.job, self.cache = job, EmbeddingCache(job.cache)
        plain = job.instruction.unsaid()
        self.tasks = [(job.dev, job.instruction), *((guard, plain) for guard in job.guards)]
        self.searched = [query for query in job.dev.split.queries if query in set(job.searched)]
        self.ratings: dict[Merge, Rating] = {}
        self._built: dict[MergeWeights, list[Vectors]] = {}
        models = [job.model(), *(job.model((path,), (1.0,)) for path in job.adapters)]
        self.vectors = [self._encoded(model.open()) for model in models]
        for alone, vectors in zip(corners(len(job.adapters)), self.vectors[1:], strict=True):
            # An expert alone needs no further encode: its vectors are here.
            self.ratings[alone, SUM] = self._rating(vectors)
        surrogate_tasks = [self._task(number) for number in range(len(self.tasks))]
        self.surrogate = Surrogate(surrogate_tasks[0])
        self.candidates = search(
            surrogate_tasks[0],
            surrogate_tasks[1:],
            strategy=job.spec.search,
            budget=job.spec.candidates,
            step=job.spec.step,
            seed=job.seed,
            methods=job.spec.methods,
            scales=job.spec.scales,
            surrogate=self.surrogate,
            floor=job.floor,
        )

    def result(self) -> StoredMerge:
        """Verify the best sums, try the other methods, and return what ``merge.json`` holds."""
        job = self.job
        best: Verified[Rating] = verify(
            self.candidates,
            self.rate_sum,
            floor=job.floor,
            count=job.spec.verify,
            learn=self.learn,
            start=self._rating(self.vectors[0]).general if job.guards else None,
        )
        chosen: Chosen[Rating] = choose(best, self._try_other_methods(), job.floor)
        rating = self.ratings[chosen.weights, chosen.method]
        return {
            "weights": list(chosen.weights),
            "method": chosen.method.model_dump(mode="json"),
            "rating": {"domain": scores_to_json(rating.domain), "general": rating.general},
            "allowed": chosen.allowed,
            "rank_correlation": best.rank_correlation,
            "surrogate_is_bad": best.surrogate_is_bad,
            "agreement": best.agreement.summary,
            "verified": self._verified(),
            "front": self._front(),
        }

    def rate_sum(self, weights: MergeWeights) -> Rating:
        """Build a sum, score it on everything, and return what the search may see of it."""
        return self.rate(weights, SUM)

    def rate(self, weights: MergeWeights, method: MethodOptions) -> Rating:
        """Build a merge, score it on everything, and return what the search may see of it."""
        safe_point()
        if (weights, method) not in self.ratings:
            vectors = self._encoded(self.job.model(self.job.adapters, weights, method).open())
            if method == SUM:
                # Only the last one is held: each is a whole set of vectors.
                self._built = {weights: vectors}
            self.ratings[weights, method] = self._rating(vectors)
        return self._on_search_half(self.ratings[weights, method])

    def _on_search_half(self, rating: Rating) -> Rating:
        return Rating(only(rating.domain, self.searched), rating.general)

    def _try_other_methods(self) -> dict[Merge, Rating]:
        """Build and encode merges that the surrogate cannot estimate; a method needs two experts."""
        job, experts = self.job, len(self.job.adapters)
        others = encoded_methods(job.spec.methods)
        if experts < 2 or not others:
            return {}
        ratings = {weights: self._on_search_half(rating) for (weights, _), rating in self.ratings.items()}
        sums = sorted(ratings, key=lambda weights: -ratings[weights].domain.ndcg_at_10)
        ranking = [weights.index(1.0) for weights in sums if weights in corners(experts)]
        starts = starts_of(sums, ranking)
        tried: dict[Merge, Rating] = {}
        for method in others:
            tried |= try_method(method, starts, self.rate, spec=job.spec, floor=job.floor, seed=job.seed)
        return tried

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
                encode_queries(self.cache, encoder, list(task.split.queries.values()), prefix=instruction.query_prefix),
                encode_corpus(self.cache, encoder, list(task.documents.values()), prefix=instruction.passage_prefix),
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
            document_vectors=[vectors[number][1] for vectors in self.vectors],
        )

    def _verified(self) -> list[VerifiedRow]:
        guesses = {(candidate.weights, SUM): candidate.domain for candidate in self.candidates}
        return [
            {
                "weights": list(merge[0]),
                "method": merge[1].model_dump(mode="json"),
                "surrogate": guesses.get(merge),
                "dev": self._on_search_half(rating).domain.ndcg_at_10,
                "general": rating.general,
                "allowed": rating.general >= self.job.floor,
            }
            for merge, rating in self.ratings.items()
        ]

    def _front(self) -> list[FrontPoint]:
        """Return the Pareto front on the search half, with real scores where there are some."""
        real = [
            Candidate(merge[0], self._on_search_half(rating).domain.ndcg_at_10, rating.general, merge[1])
            for merge, rating in self.ratings.items()
        ]
        guessed = [
            candidate
            for candidate in rescored(self.candidates, self.surrogate)
            if (candidate.weights, SUM) not in self.ratings
        ]
        return [
            {
                "weights": list(point.weights),
                "method": point.method.model_dump(mode="json"),
                "dev": point.domain,
                "general": point.general,
                "verified": (point.weights, point.method) in self.ratings,
            }
            for point in front([*real, *guessed])
        ]
