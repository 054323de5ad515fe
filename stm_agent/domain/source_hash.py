"""Hash a collection's source files without building it: has the data changed beneath a finished run?"""

from __future__ import annotations

from pathlib import Path

from stm_agent.domain.beir_files import collection_files
from stm_agent.domain.collection_spec import FrozenCollection, MtebCollection
from stm_agent.domain.frozen_tasks import SHA256
from stm_agent.domain.official import data_set_hash, find_task
from stm_agent.domain.spec import BeirCollection, CollectionSpec, HpoCollection
from stm_agent.domain.training_files import training_files
from stm_agent.errors import DataError
from stm_agent.files import content_hash, sha256_file


def collection_source_hash(spec: CollectionSpec, workspace: Path) -> str:
    """Return a hash that changes whenever the data behind a collection does.

    A BEIR folder is hashed file by file; an embedded asset is pinned by its own hash, and so is a task that comes with
    the package; an MTEB task and a data set on the Hub by what the domain file says of them, and a task in a local
    folder by its files too.

    Args:
        spec: Which collection.
        workspace: What a relative path in ``spec`` is relative to.

    Raises:
        DataError: The folder does not exist.
    """
    sources = _sources_hash(spec, workspace)
    if isinstance(spec, BeirCollection):
        folder = _beir_hash(workspace / spec.path)
        return content_hash([folder, *sources]) if sources else folder
    about: list[object] = [spec.model_dump(mode="json"), *sources]
    if isinstance(spec, MtebCollection) and spec.data_dir is not None:
        path = find_task(spec.name).metadata.dataset["path"]
        about.append(data_set_hash(workspace / spec.data_dir, path))
    if isinstance(spec, HpoCollection):
        from stm_agent.assets.registry import ASSETS

        about.append(ASSETS["hpo"].sha256)
    elif isinstance(spec, FrozenCollection):
        about.append(SHA256[spec.kind])
    return content_hash(about)


def _sources_hash(spec: CollectionSpec, workspace: Path) -> list[object]:
    """Return what decides the training sets beside the train split; empty: there are none."""
    if not isinstance(spec, BeirCollection | MtebCollection) or not spec.sources:
        return []
    files = [file for source in spec.sources if source.path for file in training_files(workspace / source.path)]
    own = [[str(file), sha256_file(file)] for file in files]
    others = [collection_source_hash(source.collection, workspace) for source in spec.sources if source.collection]
    return [own, others, [source.model_dump(mode="json") for source in spec.sources]]


def _beir_hash(folder: Path) -> str:
    if not folder.is_dir():
        raise DataError(f"collection folder {folder} does not exist; name a folder in BEIR layout")
    # Name, licence and source, in collection.json, are written into the model's card.
    files = [*collection_files(folder), folder / "collection.json"]
    return content_hash({str(path.relative_to(folder)): sha256_file(path) for path in files if path.is_file()})
