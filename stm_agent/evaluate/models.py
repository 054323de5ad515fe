"""Score a model by name on a collection or an official MTEB task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from stm_agent.domain.collection import Collection
from stm_agent.errors import ConfigError

if TYPE_CHECKING:
    from stm_agent.evaluate.metrics import Scores


def evaluate_model(
    name: str, collection: Collection, split: str, *, engine: Literal["fast", "mteb"] = "fast"
) -> dict[str, float]:
    """Return nDCG@10, Recall@100 and MRR@10 of a model on one split.

    Args:
        name: A sentence-transformers folder, an ``embedded:`` name, a Hub name, or ``bm25``.
        collection: What to search and judge.
        split: Name of the judged split.
        engine: The fast scorer, or mteb itself (re-encodes everything, no cache).

    Raises:
        ConfigError: The split does not exist.
        BackboneError: The model cannot be loaded.
    """
    from stm_agent.evaluate.baselines import bm25_run
    from stm_agent.evaluate.cache import encode_queries
    from stm_agent.evaluate.metrics import score
    from stm_agent.evaluate.ranking import rank

    if split not in collection.splits:
        raise ConfigError(f"{collection.name} has no split '{split}'; it has {', '.join(sorted(collection.splits))}")
    judged, texts = collection.splits[split], collection.texts
    if name == "bm25":
        return _numbers(score(bm25_run(texts, judged.queries, ignored_ids=judged.ignored_ids), judged.qrels))
    from stm_agent.backbone.load import load_model
    from stm_agent.backbone.prompts import passage_prompt, query_prompt
    from stm_agent.backbone.sides import encoder_of

    model = load_model(name)
    if engine == "mteb":
        from stm_agent.evaluate.tasks import evaluate_with_mteb, mteb_task

        return evaluate_with_mteb(model, mteb_task(collection, split))
    encoder = encoder_of(model)
    passages = encoder.encode(list(texts.values()), prefix=passage_prompt(model.prompts))
    queries = encode_queries(None, encoder, list(judged.queries.values()), prefix=query_prompt(model.prompts))
    run = rank(list(judged.queries), queries, list(texts), passages, k=100, ignored_ids=judged.ignored_ids)
    return _numbers(score(run, judged.qrels))


def evaluate_official(name: str, task: str) -> dict[str, float]:
    """Score a model on an official MTEB retrieval task; the Hub must be reachable."""
    from stm_agent.backbone.load import load_model
    from stm_agent.evaluate.tasks import evaluate_with_mteb, official_task

    return evaluate_with_mteb(load_model(name), official_task(task))


def _numbers(scores: Scores) -> dict[str, float]:
    return {"ndcg_at_10": scores.ndcg_at_10, "recall_at_100": scores.recall_at_100, "mrr_at_10": scores.mrr_at_10}
