"""The fast scorer gives the numbers of pytrec_eval and of mteb, ties and grades included."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from stm_agent.errors import DataError
from stm_agent.evaluate.metrics import score
from stm_agent.evaluate.ranking import rank
from stm_agent.testing.tiny import tiny_collection


def _case(seed: int) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, int]]]:
    draw = random.Random(seed)
    qrels = {f"q{q}": {f"d{d}": draw.choice([0, 1, 1, 2]) for d in draw.sample(range(200), 15)} for q in range(40)}
    for grades in qrels.values():
        grades["d0"] = 1
    # Scores from a handful of values: ties everywhere.
    run = {
        q: {f"d{d}": draw.choice([0.1, 0.2, 0.3]) for d in draw.sample(range(200), draw.choice([5, 100]))}
        for q in qrels
    }
    return run, qrels


@pytest.mark.parametrize("seed", range(5))
def test_equals_pytrec_eval(seed: int) -> None:
    import pytrec_eval

    run, qrels = _case(seed)
    wanted = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10", "recall.100", "recip_rank"}).evaluate(run)
    scores = score(run, qrels)
    for query, value in scores.per_query.items():
        assert value == pytest.approx(wanted[query]["ndcg_cut_10"], abs=1e-6)
    assert scores.recall_at_100 == pytest.approx(np.mean([row["recall_100"] for row in wanted.values()]), abs=1e-6)
    # trec_eval's reciprocal rank has no cut: a first hit below rank 10 counts 0 here.
    ranks = [row["recip_rank"] if row["recip_rank"] >= 0.1 - 1e-9 else 0.0 for row in wanted.values()]
    assert scores.mrr_at_10 == pytest.approx(np.mean(ranks), abs=1e-6)


class HashEncoder:
    """A deterministic mteb encoder: words hashed into a few dimensions."""

    mteb_model_meta = None

    def vectors(self, texts: Sequence[str]) -> np.ndarray[Any, Any]:
        out = np.zeros((len(texts), 24), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().split():
                out[row, sum(map(ord, word)) % 24] += 1
        return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-9)


def test_equals_mteb() -> None:
    from mteb.models import ModelMeta
    from mteb.models.abs_encoder import AbsEncoder

    from stm_agent.evaluate.tasks import evaluate_with_mteb, mteb_task

    words = HashEncoder()

    class Encoder(AbsEncoder):
        def __init__(self) -> None:
            self.mteb_model_meta = ModelMeta.create_empty({"name": "test/hash", "revision": "1"})

        def encode(self, inputs: Any, **kwargs: Any) -> np.ndarray[Any, Any]:
            return words.vectors([text for batch in inputs for text in batch["text"]])

    collection = tiny_collection()
    split = collection.splits["dev"]
    theirs = evaluate_with_mteb(Encoder(), mteb_task(collection, "dev"))
    # mteb rounds its numbers to five digits, hence the tolerance below.
    texts = collection.texts
    queries = words.vectors(list(split.queries.values()))
    ours = score(rank(list(split.queries), queries, list(texts), words.vectors(list(texts.values()))), split.qrels)
    assert 0 < ours.ndcg_at_10 < 1
    assert theirs["ndcg_at_10"] == pytest.approx(ours.ndcg_at_10, abs=1e-5)
    assert theirs["recall_at_100"] == pytest.approx(ours.recall_at_100, abs=1e-5)
    assert theirs["mrr_at_10"] == pytest.approx(ours.mrr_at_10, abs=1e-5)


def test_query_without_answer_counts_zero() -> None:
    scores = score({"a": {"x": 1.0}}, {"a": {"x": 1}, "b": {"y": 1}})
    assert scores.ndcg_at_10 == 0.5
    assert scores.mrr_at_10 == 0.5


def test_nothing_judged_is_refused() -> None:
    with pytest.raises(DataError, match="relevant"):
        score({}, {"a": {"x": 0}})


def test_blocks_do_not_change_a_ranking() -> None:
    random_ = np.random.default_rng(0)
    queries, documents = random_.normal(size=(30, 8)).astype("f"), random_.normal(size=(300, 8)).astype("f")
    ids, names = [str(i) for i in range(30)], [str(i) for i in range(300)]
    small = rank(ids, queries, names, documents, k=20, block=7)
    whole = rank(ids, queries, names, documents, k=20, block=1000)
    assert {q: set(hits) for q, hits in small.items()} == {q: set(hits) for q, hits in whole.items()}
    best = np.argsort(-(queries @ documents.T), axis=1)[:, :20]
    assert all(set(whole[q]) == {names[i] for i in best[row]} for row, q in enumerate(ids))
