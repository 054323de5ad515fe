"""Collections as mteb 2.x retrieval tasks, and their evaluation by mteb; mteb's default cache is never used."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stm_agent.domain.collection import Collection
from stm_agent.domain.measures import language_codes
from stm_agent.domain.scripts import UNKNOWN_CODE
from stm_agent.errors import DataError

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask, AbsTaskRetrieval
    from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData

METRICS = ("ndcg_at_10", "recall_at_100", "mrr_at_10")


def mteb_task(collection: Collection, split: str) -> AbsTaskRetrieval:
    """Make an in-memory mteb retrieval task of one split; nothing is fetched.

    Raises:
        DataError: The collection has no such split.
    """
    from datasets import Dataset
    from mteb.abstasks import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata

    if split not in collection.splits:
        raise DataError(f"{collection.name} has no split '{split}'; it has {', '.join(sorted(collection.splits))}")
    judged = collection.splits[split]
    languages = language_codes([*collection.texts.values()])
    name = "".join(part.capitalize() for part in re.split(r"\W+", collection.name)) + "Retrieval"
    about = TaskMetadata(
        name=name,
        description=collection.source or collection.name,
        type="Retrieval",
        eval_splits=[split],
        eval_langs=list(languages or (UNKNOWN_CODE,)),
        main_score="ndcg_at_10",
        # The content hash as revision, so that two corpora are never taken for one.
        dataset={"path": collection.name, "revision": collection.content_hash},
    )
    corpus = [{"id": d.id, "title": "", "text": d.full} for d in collection.documents]
    queries = [{"id": query, "text": text} for query, text in judged.queries.items()]
    data: RetrievalSplitData = {
        "corpus": Dataset.from_list(corpus),
        "queries": Dataset.from_list(queries),
        "relevant_docs": {query: dict(grades) for query, grades in judged.qrels.items()},
        "top_ranked": None,
    }

    class CollectionTask(AbsTaskRetrieval):
        metadata = about
        ignore_identical_ids = bool(judged.ignored_ids)

        def load_data(self, *args: object, **kwargs: object) -> None:
            self.dataset = {"default": {split: data}}
            self.data_loaded = True

    return CollectionTask()


def evaluate_with_mteb(
    model: Any,  # noqa: ANN401 - any mteb encoder
    task: AbsTask,
    results: Path | None = None,
) -> dict[str, float]:
    """Score a model with ``mteb.evaluate``, without reading a result cache, which can return another model's score.

    Args:
        model: The model.
        task: The task, with one split and one subset.
        results: Folder of a ``mteb.ResultCache`` that the result is written into; None: nothing is written.

    Returns:
        nDCG@10, Recall@100 and MRR@10.
    """
    import mteb
    from datasets import disable_progress_bars, enable_progress_bars
    from datasets.utils.tqdm import are_progress_bars_disabled

    shown = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        cache = None if results is None else mteb.ResultCache(cache_path=results)
        # "always" writes into the cache and never reads from it.
        result = mteb.evaluate(model, task, cache=cache, overwrite_strategy="always", show_progress_bar=False)
    finally:
        if shown:
            enable_progress_bars()
    (of_subsets,) = result.task_results[0].scores.values()
    (scores,) = of_subsets
    return {name: float(scores[name]) for name in METRICS}
