"""Push a model with its card, its scores in MTEB's format and its adapter to a repository of a Hub."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stm_agent.deploy.licences import SourceLicence, licences_of_run
from stm_agent.deploy.product import Product
from stm_agent.domain.scripts import UNKNOWN_CODE
from stm_agent.errors import ConfigError, RunError, StorageError, first_line, raised_as
from stm_agent.evaluate.proof import model_hash
from stm_agent.files import read_json, storing, write_json
from stm_agent.loop.report_rows import Report


@dataclass(frozen=True, kw_only=True)
class Package:
    """What is pushed.

    Attributes:
        folder: Folder with all files.
        files: Name -> bytes, largest first.
        licences: Sources with their licences, those that forbid to publish first.
        sha256: Content hash of the model, as the ledger has it.
    """

    folder: Path
    files: dict[str, int]
    licences: list[SourceLicence]
    sha256: str

    @property
    def obstacles(self) -> list[SourceLicence]:
        """Sources whose licence forbids to publish, or is not stated."""
        return [source for source in self.licences if source.verdict in ("forbids", "unstated")]


@contextmanager
def packed(product: Product) -> Iterator[Package]:
    """Yield what would be pushed, in a folder that is removed afterwards.

    Raises:
        RunError: The product has no run, its run is not finished, or its files changed meanwhile.
        StorageError: The disk is full.
    """
    if product.run is None:
        raise RunError(f"{product.name} has no run; push a run, whose card and scores are known")
    report = read_json(product.run / "report.json")
    if report.get("state") != "finished":
        raise RunError(f"run {product.name} is not finished, so no test scores belong to its model; resume it first")
    with tempfile.TemporaryDirectory() as scrap:
        folder = Path(scrap) / "model"
        with storing(folder):
            shutil.copytree(product.source, folder)
        if model_hash(folder) != product.sha256:
            raise RunError(f"the model of run {product.name} changed while it was packed; run the command again")
        if (product.run / "mteb").is_dir():
            # What the run itself wrote: mteb's own cache of results.
            shutil.copytree(product.run / "mteb", folder / "mteb")
        else:
            _write_scores(folder, report)
        write_json(folder / "stm_agent.json", {"run": product.name, "model_sha256": product.sha256})
        found = {path.relative_to(folder).as_posix(): path.stat().st_size for path in _files(folder)}
        card = folder / "README.md"
        yield Package(
            folder=folder,
            files=dict(sorted(found.items(), key=lambda item: -item[1])),
            licences=licences_of_run(product.run, report, card.read_text(encoding="utf-8") if card.is_file() else ""),
            sha256=product.sha256,
        )


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _write_scores(folder: Path, report: Report) -> None:
    """Write the test scores of the model as mteb's own result file: ``mteb/NAME.json``."""
    row = report.get("rows", {}).get("merged")
    if row is None:
        return
    from importlib.metadata import version

    from mteb.results import TaskResult

    collection = report["collection"]
    name = "".join(part.capitalize() for part in str(collection["name"]).replace("_", "-").split("-")) + "Retrieval"
    languages = collection.get("languages") or [UNKNOWN_CODE]
    metrics = {metric: row[metric] for metric in ("ndcg_at_10", "recall_at_100", "mrr_at_10")}
    scores = {**metrics, "main_score": row["ndcg_at_10"], "hf_subset": "default", "languages": languages}
    result = TaskResult(
        dataset_revision=report["run"],
        task_name=name,
        mteb_version=version("mteb"),
        scores={"test": [scores]},
        evaluation_time=None,
    )
    (folder / "mteb").mkdir()
    result.to_disk(folder / "mteb" / f"{name}.json")


def check_repository(repository: str) -> None:
    """Require a name that a Hub takes for a repository.

    Raises:
        ConfigError: The name is not ``owner/name``.
    """
    parts = repository.split("/")
    usable = all(re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?", part) for part in parts)
    if len(parts) != 2 or not usable or re.search(r"--|\.\.|\.git$", repository):
        raise ConfigError(
            f"'{repository}' is not a repository's name; give --to owner/name, in letters, digits and single . _ -"
        )


def push(package: Package, repository: str, *, private: bool, endpoint: str | None = None) -> str:
    """Create a repository, if necessary, and upload everything in one commit; return the commit's address.

    The token comes from ``HF_TOKEN`` or ``hf auth login``.

    Args:
        package: What to push.
        repository: ``owner/name``.
        private: Whether a new repository is private.
        endpoint: Address of the Hub; None: the one that huggingface_hub is set to.

    Raises:
        ConfigError: The name is not ``owner/name``.
        StorageError: The Hub cannot be reached, or refuses.
    """
    check_repository(repository)
    from huggingface_hub import HfApi

    def refused(error: BaseException) -> StorageError:
        return StorageError(f"the Hub refused {repository}: {first_line(error)[:200]}; log in with HF_TOKEN")

    api = HfApi(endpoint=endpoint)
    with raised_as(refused):
        api.create_repo(repository, private=private, exist_ok=True)
        message = f"Model {package.sha256[:16]} by stm-agent"
        commit = api.upload_folder(repo_id=repository, folder_path=package.folder, commit_message=message)
    return str(commit.commit_url)
