"""The query-adapter job: a map on query vectors, trained on cached vectors in seconds, or the identity."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.data import Pair
from stm_agent.domain.spec import QueryAdapterSpec
from stm_agent.errors import DataError
from stm_agent.evaluate.cache import EmbeddingCache, encode_queries
from stm_agent.evaluate.encoder import EncoderSource
from stm_agent.evaluate.query_mapped import save_map
from stm_agent.files import content_hash, read_json, sha256_text, write_json
from stm_agent.job import Job
from stm_agent.train.query_fit import FittedMap, QueryTask, fit_query_map

ABOUT = "query_adapter.json"


@dataclass(frozen=True, kw_only=True)
class QueryAdapterJob(Job):
    """Trains a query adapter on training pairs.

    Attributes:
        pairs: Training pairs; queries of one group are held out together.
        pool: Passage id -> text that is searched; a sub-corpus is enough.
        groups: Group -> ids in the pool that are relevant, or too near, to its queries.
        spec: Rank, schedule, folds and bounds.
        model: The model whose queries are moved.
        instruction: What stands in front of queries and passages.
        cache: Folder of cached vectors; decides no number.
        seed: Seed of the first weights and of the order.
    """

    kind: ClassVar[str] = "query-adapter"
    pairs: tuple[Pair, ...]
    pool: Mapping[str, str]
    groups: Mapping[str, frozenset[str]]
    spec: QueryAdapterSpec
    model: EncoderSource
    instruction: Instruction
    cache: Path
    seed: int = 0

    def inputs(self) -> Mapping[str, object]:
        """Return what decides the map."""
        groups = {pair.group: sorted(self.groups.get(pair.group, ())) for pair in self.pairs}
        return {
            "spec": self.spec.model_dump(mode="json"),
            "pairs": content_hash([[pair.query, pair.positive, pair.group] for pair in self.pairs]),
            "pool": content_hash(dict(self.pool)),
            "groups": content_hash(groups),
            "model": self.model.source_key(),
            "prefixes": [self.instruction.query_prefix, self.instruction.passage_prefix],
            "seed": self.seed,
        }

    def build(self, folder: Path) -> None:
        """Write the map and ``query_adapter.json``: whether it is accepted, its gain on held-out groups, and counts.

        A map that is refused, or that has too few queries, is the identity.

        Raises:
            BackboneError: The model cannot be loaded.
            DataError: The pool is empty.
        """
        if not self.pool:
            raise DataError("the query adapter has no passages to search; give it a pool")
        counts: Counter[str] = Counter()
        queries = _relevant(self.pairs, self.pool, self.spec.queries, counts)
        about: dict[str, object] = {"queries": len(queries), "left_out": dict(counts)}
        encoder, cache = self.model.open(), EmbeddingCache(self.cache)
        matrix = np.zeros((encoder.dimension,) * 2, dtype=np.float32)
        if len(queries) < self.spec.fewest:
            about |= {"accepted": False, "reason": f"fewer than {self.spec.fewest} queries"}
        else:
            prefixes = self.instruction.query_prefix, self.instruction.passage_prefix
            passages = cache.encode(encoder, list(self.pool.values()), prefix=prefixes[1])
            vectors = encode_queries(cache, encoder, [text for text, _ in queries], prefix=prefixes[0])
            columns = {passage: column for column, passage in enumerate(self.pool)}
            relevant = [frozenset(columns[passage] for passage in row) for row in queries.values()]
            near = [
                frozenset(columns[passage] for passage in self.groups.get(group, ()) if passage in columns) - row
                for (_, group), row in zip(queries, relevant, strict=True)
            ]
            fitted = fit_query_map(
                QueryTask(
                    queries=vectors,
                    passages=passages,
                    relevant=relevant,
                    ignored=near,
                    groups=[group for _, group in queries],
                ),
                self.spec,
                self.seed,
            )
            matrix = fitted.matrix
            about |= _numbers(fitted)
        save_map(matrix, folder)
        write_json(folder / ABOUT, about)


def is_accepted(folder: Path) -> bool:
    """Return whether the map in a query adapter's folder gained on held-out groups; otherwise it is the identity."""
    return bool(read_json(folder / ABOUT)["accepted"])


def _relevant(
    pairs: Sequence[Pair], pool: Mapping[str, str], most: int, counts: Counter[str]
) -> dict[tuple[str, str], frozenset[str]]:
    """Return (query, group) -> ids of its relevant passages, for at most ``most`` queries."""
    ids: dict[str, list[str]] = {}
    for passage, text in pool.items():
        ids.setdefault(text, []).append(passage)
    found: dict[tuple[str, str], frozenset[str]] = {}
    for pair in pairs:
        if passages := ids.get(pair.positive):
            key = pair.query, pair.group
            found[key] = found.get(key, frozenset()) | frozenset(passages)
        else:
            counts["pairs whose positive is not in the pool"] += 1
    if len(found) <= most:
        return found
    counts["queries above the bound"] = len(found) - most
    chosen = sorted(found, key=lambda key: sha256_text("\n".join(key)))[:most]
    return {key: found[key] for key in chosen}


def _numbers(fitted: FittedMap) -> dict[str, object]:
    numbers: dict[str, object] = {
        "accepted": fitted.accepted,
        "before": fitted.before,
        "gain": fitted.gain,
        "error": fitted.error,
        "epochs": fitted.epochs,
    }
    return numbers if fitted.accepted else {**numbers, "reason": "no gain on groups that were held out"}
