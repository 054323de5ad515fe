"""Data sets of official MTEB tasks as local folders in the layout that the Hub gives them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stm_agent.domain.collection import Collection, Split
from stm_agent.files import canonical_json, write_atomic

Part = tuple[str, str, list[dict[str, Any]]]
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

    corpus = [{"_id": each.id, "title": each.title, "text": each.text} for each in collection.documents]
    # The datasets library reads "all" as the union of the splits, so no split can have that name.
    judged = {"dermatology" if theirs == "all" else theirs: collection.splits[ours] for theirs, ours in splits.items()}
    queries = {
        theirs: [{"_id": key, "text": text} for key, text in split.queries.items()] for theirs, split in judged.items()
    }
    qrels = {
        theirs: [
            {"query-id": query, "corpus-id": document, "score": grade}
            for query, grades in split.qrels.items()
            for document, grade in grades.items()
        ]
        for theirs, split in judged.items()
    }
    folder = data_dir / mteb.get_task(name).metadata.dataset["path"]
    if name == "PublicHealthQA":
        return hub_data_set(folder, [(subset, split, _answers(collection, judged[split])) for split in judged])
    if name == "CUREv1":
        parts: list[Part] = [("qrels", split, rows) for split, rows in qrels.items()]
        parts += [("corpus", split, corpus) for split in judged]
        parts += [(f"queries-{subset}", split, rows) for split, rows in queries.items()]
        return hub_data_set(folder, parts)
    every = [row for rows in queries.values() for row in rows]
    # As most data sets of mteb: one corpus, all queries together, and judgements by split.
    parts = [("default", split, rows) for split, rows in qrels.items()]
    return hub_data_set(folder, [*parts, ("corpus", "corpus", corpus), ("queries", "queries", every)])


def _answers(collection: Collection, split: Split) -> list[dict[str, Any]]:
    texts = collection.texts
    return [
        {"question": split.queries[query], "answer": texts[document]}
        for query, grades in split.qrels.items()
        for document in grades
    ]
