"""Data sets of official MTEB tasks as local folders in the layout that the Hub gives them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from stm_agent.domain.collection import Collection, Split
from stm_agent.files import canonical_json, write_atomic

Rows = list[dict[str, str | int]]
Part = tuple[str, str, Rows]
"""Configuration, split and rows."""


def hub_data_set(folder: Path, parts: list[Part]) -> Path:
    """Write a data set with a README that names its configurations, as ``hf download`` would leave it."""
    configs: dict[str, list[str]] = {}
    for config, split, rows in parts:
        file = f"{config}/{split}.jsonl"
        write_atomic(folder / file, "".join(f"{canonical_json(row)}\n" for row in rows))
        configs.setdefault(config, []).append(f"  - split: {split}\n    path: {file}\n")
    lines = [f"- config_name: {config}\n  data_files:\n{''.join(files)}" for config, files in configs.items()]
    write_atomic(folder / "README.md", f"---\nconfigs:\n{''.join(lines)}---\n")
    return folder


def official_data(
    name: str, data_dir: Path, collection: Collection, splits: Mapping[str, str], subset: str = "default"
) -> Path:
    """Write a collection as the data set of an official task.

    Args:
        name: MTEB's name of the task.
        data_dir: Folder of data sets; the task's lies in ``data_dir/owner/name``.
        collection: What is written.
        splits: Split of the task -> split of the collection.
        subset: Subset of a task that has several.
    """
    import mteb

    # The datasets library reads "all" as the union of the splits, so no split can have that name.
    judged = {"dermatology" if theirs == "all" else theirs: collection.splits[ours] for theirs, ours in splits.items()}
    if name == "PublicHealthQA":
        parts = [(subset, split, _answers(collection, own)) for split, own in judged.items()]
    elif name == "CUREv1":
        parts = _parts_by_split(collection, judged, subset)
    else:
        parts = _parts_of_one_corpus(collection, judged)
    return hub_data_set(data_dir / mteb.get_task(name).metadata.dataset["path"], parts)


def _parts_by_split(collection: Collection, judged: Mapping[str, Split], subset: str) -> list[Part]:
    """Return a corpus, queries and judgements for each split."""
    parts: list[Part] = [("qrels", name, _judgements(split)) for name, split in judged.items()]
    parts += [("corpus", name, _corpus(collection)) for name in judged]
    parts += [(f"queries-{subset}", name, _queries(split)) for name, split in judged.items()]
    return parts


def _parts_of_one_corpus(collection: Collection, judged: Mapping[str, Split]) -> list[Part]:
    """Return what most data sets of mteb have: one corpus, all queries together, and judgements by split."""
    parts: list[Part] = [("default", name, _judgements(split)) for name, split in judged.items()]
    queries = [row for split in judged.values() for row in _queries(split)]
    return [*parts, ("corpus", "corpus", _corpus(collection)), ("queries", "queries", queries)]


def _corpus(collection: Collection) -> Rows:
    return [{"_id": each.id, "title": each.title, "text": each.text} for each in collection.documents]


def _queries(split: Split) -> Rows:
    return [{"_id": key, "text": text} for key, text in split.queries.items()]


def _judgements(split: Split) -> Rows:
    return [
        {"query-id": query, "corpus-id": document, "score": grade}
        for query, grades in split.qrels.items()
        for document, grade in grades.items()
    ]


def _answers(collection: Collection, split: Split) -> Rows:
    texts = collection.texts
    return [
        {"question": split.queries[query], "answer": texts[document]}
        for query, grades in split.qrels.items()
        for document in grades
    ]
