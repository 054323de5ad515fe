"""Export a model in another format, and score it on dev against the ledger before it is called done."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypedDict

from stm_agent.backbone.embedded import EXPORT
from stm_agent.deploy.formats import FORMATS, write_format
from stm_agent.deploy.product import CORPUS, Product
from stm_agent.deploy.served import ServedModel, Vectors
from stm_agent.domain.beir import read_beir
from stm_agent.domain.collection import Collection
from stm_agent.errors import CheckFailed, ConfigError, DataError
from stm_agent.evaluate.proof import TOLERANCE, model_hash
from stm_agent.files import read_json, whole_folder, write_json

SPEED_TEXTS = 256
"""Passages that measure the speed."""
SCHEMA = 1


class ExportReport(TypedDict):
    """What was exported, and what it costs and saves; also in ``stm_agent_export.json`` of the folder."""

    schema: int
    format: str
    folder: str
    network: str | None
    products: str | None
    source_sha256: str
    sha256: str
    dimensions: list[int]
    ledger_dev: float | None
    source_dev: float
    dev: float
    loss: float
    source_bytes: int
    bytes: int
    source_texts_per_second: float
    texts_per_second: float
    smallest_cosine: float


def export_model(
    product: Product, name: str, output: Path, *, max_loss: float, collection: Path | None, cache: Path | None
) -> ExportReport:
    """Write a product in another format into a new folder.

    Args:
        product: The model.
        name: One of :data:`~stm_agent.deploy.formats.FORMATS`.
        output: Folder to write; it must not exist.
        max_loss: Largest loss of nDCG@10 on dev.
        collection: BEIR folder with the dev queries; None: the run's own.
        cache: Folder of stored vectors of the original; None: it is encoded again.

    Raises:
        ConfigError: ``output`` exists, or there are no dev queries to score on.
        CheckFailed: The original does not give the ledger's score, the export loses more than ``max_loss``, or turns a
            vector further than its format may. Nothing is left of the export then.
        BackboneError: The model does not fit the format.
        StorageError: The disk is full; nothing is left of the export.
    """
    _check(product, output)
    dev = _dev_of(product, collection)
    ledger = _ledger_dev(product) if collection is None else None
    original = _measured(ServedModel(product), dev, cache)
    _check_ledger(product, ledger, original.dev)
    with whole_folder(output) as partial:
        exported = _measured(_written(product, name, partial), dev, None)
        _check_loss(name, original.dev, exported.dev, max_loss)
        report: ExportReport = {
            "schema": SCHEMA,
            "format": name,
            "folder": str(output),
            "network": FORMATS[name].network,
            "products": FORMATS[name].products,
            "source_sha256": product.sha256,
            "sha256": model_hash(partial, without=EXPORT),
            "dimensions": list(product.dimensions),
            "ledger_dev": ledger,
            "source_dev": original.dev,
            "dev": exported.dev,
            "loss": original.dev - exported.dev,
            "source_bytes": _bytes(Path(product.source)),
            "bytes": _bytes(partial),
            "source_texts_per_second": original.speed,
            "texts_per_second": exported.speed,
            "smallest_cosine": _checked_cosine(name, original.vectors, exported.vectors),
        }
        _write_report(partial, report)
    return report


class _Measured(NamedTuple):
    """nDCG@10 on dev, passages a second, and vectors of these passages."""

    dev: float
    speed: float
    vectors: Vectors


def _write_report(folder: Path, report: ExportReport) -> None:
    # Where the folder lies now means nothing once it is moved.
    write_json(folder / EXPORT, {field: value for field, value in report.items() if field != "folder"})


def _check(product: Product, output: Path) -> None:
    if output.exists():
        raise ConfigError(f"{output} exists; name a new folder with --output, nothing is overwritten")
    if not Path(product.source).is_dir():
        raise ConfigError(f"{product.source} is not a folder; export a run, or the folder of a model")
    if (Path(product.source) / EXPORT).is_file():
        raise ConfigError(f"{product.source} is an export itself; export the model that it was made of")


def _check_ledger(product: Product, ledger: float | None, source_dev: float) -> None:
    # The report of a run in mixed precision has other numbers than float32; the hash proves the files.
    if ledger is not None and not product.mixed and abs(source_dev - ledger) > TOLERANCE:
        reason = f"the model in {product.source} does not give the run's dev nDCG@10 of {ledger:.4f}; do not deploy it"
        raise CheckFailed("artifact-identity", source_dev, reason)


def _check_loss(name: str, source_dev: float, dev: float, max_loss: float) -> None:
    if source_dev - dev > max_loss:
        reason = f"{name} loses more nDCG@10 on dev than --max-loss {max_loss}: {source_dev:.4f} -> {dev:.4f}"
        raise CheckFailed("max-loss", source_dev - dev, f"{reason}; nothing was written")


def _checked_cosine(name: str, vectors: Vectors, exported: Vectors) -> float:
    """Return the smallest cosine of an exported vector with the original's."""
    cosine = float((vectors * exported).sum(axis=1).min())
    if cosine < FORMATS[name].nearest:
        raise CheckFailed(
            "smallest-cosine", cosine, f"{name} turns a vector of this model too far; nothing was written"
        )
    return cosine


def _written(product: Product, name: str, folder: Path) -> ServedModel:
    """Write the export and load it."""
    write_format(Path(product.source), folder, name)
    chosen = FORMATS[name]
    about = {"schema": SCHEMA, "format": name, "network": chosen.network, "products": chosen.products}
    write_json(folder / EXPORT, about)
    return ServedModel(Product(name=product.name, source=str(folder), run=None, sha256=""))


def _dev_of(product: Product, collection: Path | None) -> Collection:
    if collection is None and product.run is None:
        raise ConfigError(f"{product.name} has no run to be scored on; give --collection FOLDER with a dev split")
    folder = collection or Path(str(product.run)) / CORPUS
    found = read_beir(folder)
    if "dev" not in found.splits:
        raise DataError(f"{folder} has no dev split to score an export on; add qrels/dev.tsv")
    return found


def _ledger_dev(product: Product) -> float | None:
    """Return nDCG@10 on all dev queries that the run recorded for its model; None: it was stopped before."""
    path = Path(str(product.run)) / "report.json"
    report = read_json(path) if path.is_file() else {}
    return float(report["dev"]["merged"]) if report.get("state") == "finished" and "dev" in report else None


def _score(model: ServedModel, collection: Collection, cache: Path | None) -> float:
    from stm_agent.backbone.instruction import Instruction
    from stm_agent.evaluate.cache import EmbeddingCache
    from stm_agent.evaluate.scoring import score_split

    stored = EmbeddingCache(cache) if cache else None
    instruction = Instruction(query_prompt=model.prefixes["query"], passage_prompt=model.prefixes["passage"])
    return score_split(stored, model.encoder, collection.texts, collection.splits["dev"], instruction).ndcg_at_10


def _measured(model: ServedModel, collection: Collection, cache: Path | None) -> _Measured:
    score = _score(model, collection, cache)
    texts: Sequence[str] = list(collection.texts.values())[:SPEED_TEXTS]
    # The first batch takes longer: libraries plan their work by its shape.
    model.encoder.encode(texts[:4])
    started = time.monotonic()
    vectors = model.encoder.encode(texts)
    return _Measured(score, round(len(texts) / max(time.monotonic() - started, 1e-9), 2), vectors)


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
