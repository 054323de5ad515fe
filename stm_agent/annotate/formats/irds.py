"""Data sets of the ir_datasets catalogue (TREC, MS MARCO, BEIR and others): ``ir_datasets:beir/scifact/test``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from stm_agent.annotate.formats.beir import Asked
from stm_agent.annotate.incoming import Incoming
from stm_agent.errors import ConfigError, DataError

if TYPE_CHECKING:
    from ir_datasets import Dataset

SCHEME = "ir_datasets:"
SPLITS = ("train", "dev", "test", "validation", "valid", "val")
UNNAMED = "test"
"""The split of judgements whose data set does not name one."""


def read_catalogue(name: str) -> Incoming:
    """Read a data set; ir_datasets fetches its files where they are not on this machine yet.

    Args:
        name: Name in the catalogue, with or without ``ir_datasets:``.

    Raises:
        ConfigError: ir_datasets is not installed.
        DataError: The data set does not exist, has no documents, or its files cannot be fetched.
    """
    try:
        import ir_datasets
    except ModuleNotFoundError as error:
        raise ConfigError("the catalogue is an extra: python -m pip install 'stm-agent[ir-datasets]'") from error
    clean = name.removeprefix(SCHEME)
    try:
        dataset = ir_datasets.load(clean)
    except KeyError as error:
        raise DataError(f"ir_datasets has no '{clean}'; its names are at https://ir-datasets.com") from error
    if not dataset.has_docs():
        raise DataError(f"'{clean}' of ir_datasets has no documents")
    try:
        return Incoming(list(_rows(clean, dataset)), _asked(clean, dataset))
    except (OSError, RuntimeError) as error:
        raise DataError(f"'{clean}' of ir_datasets cannot be read: {str(error)[:200]}") from error


def _rows(name: str, dataset: Dataset) -> Iterator[tuple[str, dict[str, object]]]:
    for number, document in enumerate(dataset.docs_iter(), 1):
        told = {"_id": document.doc_id, **{key: _plain(value) for key, value in document._asdict().items()}}
        del told["doc_id"]
        # A project reads the field ``text``; where a data set has none, it says what of it is read.
        told.setdefault("text", document.default_text())
        yield f"{name}:{number}", told


def _plain(value: object) -> object:
    """Return a value as JSON has it."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if hasattr(value, "_asdict"):
        return {key: _plain(one) for key, one in value._asdict().items()}
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(one) for one in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _asked(name: str, dataset: Dataset) -> Asked | None:
    if not dataset.has_queries():
        return None
    queries = {query.query_id: query.default_text() for query in dataset.queries_iter()}
    qrels: dict[str, dict[str, int]] = {}
    for row in dataset.qrels_iter() if dataset.has_qrels() else ():
        qrels.setdefault(row.query_id, {})[row.doc_id] = row.relevance
    split = next((part for part in reversed(name.split("/")) if part in SPLITS), UNNAMED)
    return Asked(queries, {}, {split: qrels} if qrels else {})
