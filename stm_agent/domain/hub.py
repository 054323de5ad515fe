"""Retrieval tasks by their MTEB name, fetched from the Hub by mteb itself."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from stm_agent.domain.collection import Collection, Document, Split
from stm_agent.domain.spec import MtebCollection
from stm_agent.errors import ConfigError, DataError, first_line, raised_as


def read_mteb(spec: MtebCollection) -> Collection:
    """Fetch a task's corpus and the named splits that the task has.

    In the result the splits are called train, dev and test, whatever their names in the task. The corpus is that of the
    test split, followed by documents that only other splits have.

    Raises:
        ConfigError: mteb knows no such retrieval task.
        DataError: The data cannot be fetched, or a split has no judged query.
    """
    task = _task(spec.name)
    wanted = {"test": spec.test_split, "dev": spec.dev_split, "train": spec.train_split}
    offered = _splits_on_hub(task)
    chosen = {ours: theirs for ours, theirs in wanted.items() if theirs in offered}
    missing = [theirs for ours, theirs in wanted.items() if theirs and ours not in chosen and ours != "dev"]
    if missing:
        raise ConfigError(f"MTEB task {spec.name} has no split '{missing[0]}'; it has {', '.join(sorted(offered))}")
    data = _load(task, list(chosen.values()))
    documents: dict[str, Document] = {}
    splits = {}
    for ours, theirs in chosen.items():
        for row in data[theirs]["corpus"]:
            documents.setdefault(row["id"], Document(row["id"], row.get("title") or "", row["text"]))
        splits[ours] = _split(spec.name, ours, data[theirs], documents if task.ignore_identical_ids else {})
    about = task.metadata
    source = f"MTEB {spec.name}: {about.dataset['path']} at {about.dataset['revision']}"
    return Collection(spec.name, tuple(documents.values()), splits, str(about.license or "not stated"), source)


def _task(name: str) -> Any:  # noqa: ANN401 - mteb ships no types
    import mteb
    from mteb.abstasks.retrieval import AbsTaskRetrieval

    try:
        task = mteb.get_task(name)
    except KeyError as error:
        raise ConfigError(f"mteb knows no task '{name}'; look the name up with: mteb available-tasks") from error
    if not isinstance(task, AbsTaskRetrieval) or task.metadata.is_multilingual:
        raise ConfigError(f"MTEB task {name} is not a retrieval task in one language; name one that is")
    return task


def _splits_on_hub(task: Any) -> set[str]:  # noqa: ANN401
    from datasets import get_dataset_config_names, get_dataset_split_names

    dataset = task.metadata.dataset
    path, revision = dataset["path"], dataset["revision"]
    with raised_as(lambda error: _unreachable(task, error)):
        # The config in which mteb's own loader looks for the judgements.
        config = "default" if "default" in get_dataset_config_names(path, revision) else "qrels"
        names = get_dataset_split_names(path, config, revision=revision)
    return {str(name) for name in names}


def _load(task: Any, splits: list[str]) -> Any:  # noqa: ANN401
    task.filter_eval_splits(splits)
    with raised_as(lambda error: _unreachable(task, error)):
        task.load_data()
        task.convert_v1_dataset_format_to_v2(num_proc=None)
    return task.dataset["default"]


def _unreachable(task: Any, error: BaseException) -> DataError:  # noqa: ANN401
    return DataError(
        f"cannot fetch MTEB task {task.metadata.name} from the Hub ({first_line(error)}); "
        "check the network, or use a local folder with kind: beir"
    )


def _split(task: str, name: str, data: Any, ignorable: Container[str]) -> Split:  # noqa: ANN401
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
