"""What is deployed: the model of a run, or a model by itself, with the hash and the scores that prove which it is."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from stm_agent.backbone.embedded import EXPORT
from stm_agent.domain.backbone_spec import VectorFormat
from stm_agent.errors import CheckFailed, RunError
from stm_agent.evaluate.fusion import FUSION
from stm_agent.evaluate.proof import model_hash
from stm_agent.files import read_json, read_jsonl

logger = logging.getLogger(__name__)
CORPUS = "dev"
"""Folder of a run with its corpus, in BEIR layout, and its dev queries."""


@dataclass(frozen=True, kw_only=True)
class Product:
    """A model that can be served, indexed, exported and pushed.

    Attributes:
        name: Id of the run, or name of the model.
        source: What ``load_model`` takes: a folder, an ``embedded:`` name or a Hub name.
        run: Folder of the run; None: a model without a run.
        sha256: Hash of the model's files, or of what identifies them; never of its card.
        proved_dev: nDCG@10 on dev of exactly these files, in the run's ledger or an export's record; None: not there.
        mixed: Whether the scores in the run's report are of mixed precision.
        dimensions: Lengths at which vectors were trained to rank alone (``train: matryoshka``), beside the whole.
        vectors: How the run stores vectors of a corpus (``backbone: vectors``).
        source_sha256: Of an export, the hash of the model it was made of.
    """

    name: str
    source: str
    run: Path | None
    sha256: str
    proved_dev: float | None = None
    mixed: bool = False
    dimensions: tuple[int, ...] = ()
    vectors: VectorFormat = "auto"
    source_sha256: str | None = None

    @property
    def fusion_weight(self) -> float | None:
        """Weight of BM25 that the run chose on dev; None: it chose none."""
        path = self.run / FUSION if self.run else None
        return float(read_json(path)["weight"]) if path and path.is_file() else None


class Hashes:
    """Hashes of models' files, computed in threads, so that libraries can be imported meanwhile."""

    def __init__(self) -> None:
        """Compute none yet."""
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="hash")
        self._hashes: dict[Path, Future[str]] = {}

    def begin(self, folder: Path) -> None:
        """Begin with the files of a model."""
        self._hashes[folder] = self._pool.submit(hash_of, folder)

    def of(self, folder: Path) -> str:
        """Return the hash of a model, once it is computed.

        Raises:
            StorageError: A file cannot be read.
        """
        if folder not in self._hashes:
            self.begin(folder)
        return self._hashes[folder].result()


def hash_of(folder: Path) -> str:
    """Return the hash over a model's files; of an export, without the record of it."""
    return model_hash(folder, without=EXPORT) if (folder / EXPORT).is_file() else model_hash(folder)


def model_of_run(run: Path) -> Path:
    """Return the folder of a run's model.

    Raises:
        RunError: The run has no model yet.
    """
    model = run / "model"
    if not (model / "modules.json").is_file() or not (run / CORPUS / "corpus.jsonl").is_file():
        raise RunError(f"run {run.name} has no model yet; run its optimize command again to resume it")
    return model


def product_of_run(run: Path, digest: Callable[[Path], str] = hash_of) -> Product:
    """Return the model of a run; ``digest`` gives the hash of a model's folder.

    Raises:
        RunError: The run has no model yet.
        CheckFailed: The model's files are not those that the run scored.

    A run that recorded no score for its files, because it was stopped before, is deployed with a warning.
    """
    model = model_of_run(run)
    sha256 = digest(model)
    proofs = [row for row in read_jsonl(run / "ledger.jsonl") if row.get("event") == "proved" and "sha256" in row]
    proof = next((row for row in reversed(proofs) if row["sha256"] == sha256), None)
    if proofs and proof is None:
        raise CheckFailed(
            "artifact-identity",
            1.0,
            f"the files in {model} are not those that run {run.name} scored; run its optimize command again, or deploy "
            "the folder by its path",
        )
    if proof is None:
        logger.warning(
            "run %s has no proof of its model: nothing shows that these files have the scores of its report; run its "
            "optimize command again, which scores them",
            run.name,
        )
    domain = read_json(run / "run.json").get("identity", {}).get("domain", {})
    return Product(
        name=run.name,
        source=str(model),
        run=run,
        sha256=sha256,
        proved_dev=float(proof["reloaded"]) if proof else None,
        mixed=bool(proof and proof.get("mixed")),
        dimensions=tuple(sorted(domain.get("train", {}).get("matryoshka") or ())),
        vectors=domain.get("backbone", {}).get("vectors", "auto"),
    )


def product_of_model(name: str, digest: Callable[[Path], str] = hash_of) -> Product:
    """Return a model by its folder, its ``embedded:`` name or its Hub name; ``digest`` gives the hash of a folder.

    Raises:
        BackboneError: No model has that name.
        CheckFailed: The files of an export are not those that were scored.
    """
    from stm_agent.backbone.identity import source_identity
    from stm_agent.files import sha256_text

    folder = Path(name)
    if (folder / EXPORT).is_file():
        return _product_of_export(folder, digest(folder))
    if folder.is_dir():
        return Product(name=folder.resolve().name, source=str(folder), run=None, sha256=digest(folder))
    short = name.removeprefix("int8:").removeprefix("embedded:")
    return Product(name=short, source=name, run=None, sha256=sha256_text(source_identity(name)))


def _product_of_export(folder: Path, sha256: str) -> Product:
    """Return what ``stm-agent export`` wrote, with what it recorded of it; exports of older versions recorded less."""
    record = read_json(folder / EXPORT)
    if "sha256" in record and record["sha256"] != sha256:
        reason = f"the files in {folder} are not those that were exported and scored; export the model again"
        raise CheckFailed("artifact-identity", 1.0, reason)
    return Product(
        name=folder.resolve().name,
        source=str(folder),
        run=None,
        sha256=sha256,
        proved_dev=float(record["dev"]) if "sha256" in record else None,
        dimensions=tuple(record.get("dimensions", ())),
        source_sha256=record.get("source_sha256"),
    )
