"""Hash a collection's source files without building it: has the data changed beneath a finished run?"""

from __future__ import annotations

import platform
from pathlib import Path

from stm_agent.domain.spec import BeirCollection, CollectionSpec, HpoCollection, PythonDocsCollection
from stm_agent.errors import DataError
from stm_agent.files import content_hash, sha256_file


def collection_source_hash(spec: CollectionSpec, workspace: Path) -> str:
    """Return a hash that changes whenever the data behind a collection does.

    A BEIR folder is hashed file by file; an embedded asset is pinned by its own hash; the standard library by its
    version; an MTEB task by what the domain file says of it.

    Args:
        spec: Which collection.
        workspace: What a relative path in ``spec`` is relative to.

    Raises:
        DataError: The folder does not exist.
    """
    if isinstance(spec, BeirCollection):
        return _beir_hash(workspace / spec.path)
    about: list[object] = [spec.model_dump(mode="json")]
    if isinstance(spec, HpoCollection):
        from stm_agent.assets.registry import ASSETS

        about.append(ASSETS["hpo"].sha256)
    elif isinstance(spec, PythonDocsCollection):
        about.append(platform.python_version())
    return content_hash(about)


def _beir_hash(folder: Path) -> str:
    if not folder.is_dir():
        raise DataError(f"collection folder {folder} does not exist; name a folder in BEIR layout")
    # Name, licence and source, in collection.json, are written into the model's card.
    names = ("corpus.jsonl", "queries.jsonl", "collection.json")
    files = [*(folder / name for name in names), *sorted((folder / "qrels").glob("*.tsv"))]
    return content_hash({str(path.relative_to(folder)): sha256_file(path) for path in files if path.is_file()})
