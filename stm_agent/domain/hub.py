"""Retrieval tasks by their MTEB name, read by mteb itself from the Hub or from a local folder."""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING

from stm_agent.domain.collection import Collection, Document, Split
from stm_agent.domain.official import OfficialTask, at_folder, chosen_subset, find_task, load_task, offered_splits
from stm_agent.domain.official import narrowed as narrowed_task
from stm_agent.domain.spec import MtebCollection
from stm_agent.errors import ConfigError, DataError

if TYPE_CHECKING:
    from mteb.abstasks import AbsTaskRetrieval
    from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData


def read_mteb(spec: MtebCollection) -> Collection:
    """Read a task's corpus and the named splits that the task has.

    In the result the splits are called train, dev and test, whatever their names in the task. The corpus is that of the
    test split, followed by documents that only other splits have.

    Raises:
        ConfigError: mteb knows no such retrieval task, or it lacks a split or a subset.
        DataError: The data cannot be fetched, or a split has no judged query.
    """
    task = find_task(spec.name)
    subset = chosen_subset(task, spec.subset)
    task = at_folder(task, spec.data_dir)
    wanted = {"test": spec.test_split, "dev": spec.dev_split, "train": spec.train_split}
    offered = offered_splits(task, subset)
    chosen = {ours: theirs for ours, theirs in wanted.items() if theirs in offered}
    missing = [theirs for ours, theirs in wanted.items() if theirs and ours not in chosen and ours != "dev"]
    if missing:
        raise ConfigError(f"MTEB task {spec.name} has no split '{missing[0]}'; it has {', '.join(sorted(offered))}")
    about = task.metadata
    data = _load(task, subset, list(chosen.values()))
    documents: dict[str, Document] = {}
    splits = {}
    for ours, theirs in chosen.items():
        documents |= {key: document for key, document in _documents(data[theirs]).items() if key not in documents}
        splits[ours] = _split(spec.name, ours, data[theirs], documents if task.ignore_identical_ids else {})
    source = f"MTEB {spec.name}: {about.dataset['path']} at {about.dataset['revision']}"
    return Collection(spec.name, tuple(documents.values()), splits, str(about.license or "not stated"), source)


def read_official(wanted: OfficialTask) -> tuple[dict[str, str], Split]:
    """Return the corpus (document id -> text) and the judged queries of one split of an official task.

    Raises:
        ConfigError: As :meth:`~stm_agent.domain.official.OfficialTask.open`.
        DataError: The data cannot be fetched or read.
    """
    task = wanted.open()
    load_task(task)
    (split,), (subset,) = task.eval_splits, task.hf_subsets
    data = task.dataset[subset][split]
    documents = _documents(data)
    texts = {key: document.full for key, document in documents.items()}
    return texts, _split(wanted.name, split, data, documents if task.ignore_identical_ids else {})


def _load(task: AbsTaskRetrieval, subset: str, splits: list[str]) -> dict[str, RetrievalSplitData]:
    load_task(narrowed_task(task, subset, splits))
    return task.dataset[subset]


def _documents(data: RetrievalSplitData) -> dict[str, Document]:
    rows = data["corpus"]
    return {row["id"]: Document(row["id"], row.get("title") or "", row["text"]) for row in rows}


def _split(task: str, name: str, data: RetrievalSplitData, ignorable: Container[str]) -> Split:
    texts = {row["id"]: row["text"] for row in data["queries"]}
    qrels = {
        query: {doc: int(grade) for doc, grade in grades.items()}
        for query, grades in data["relevant_docs"].items()
        if query in texts and max(grades.values(), default=0) > 0
    }
    if not qrels:
        raise DataError(f"MTEB task {task} has no judged {name} query; name another split")
    # As mteb's ignore_identical_ids: these tasks ask for what resembles a document, not for the document itself.
    ignored = frozenset(query for query in qrels if query in ignorable)
    return Split(name, {query: texts[query] for query in qrels}, qrels, ignored)
