"""The proof job: an exported folder scored on dev in a fresh process gives the number that was recorded."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from stm_agent.domain.beir import write_beir
from stm_agent.domain.collection import Collection, Document
from stm_agent.errors import CheckFailed
from stm_agent.evaluate.scoring import ScoredTask
from stm_agent.files import content_hash, read_json, sha256_file, write_json
from stm_agent.job import Job

TOLERANCE = 1e-4
"""nDCG@10 by which a reloaded model may differ from the record: float32 in another batch order."""
PROOF_QUERIES, PROOF_DOCUMENTS = 50, 200
"""Queries and passages that an exported folder is scored on: each is encoded there, and again in the run's process."""
PROOF_COST = 3.0
"""Time of a proof as a multiple of one encoding of its passages: two encodings, in float32."""
PROOF = "proof.json"
CARD = "README.md"


@dataclass(frozen=True)
class ProofJob(Job):
    """Scores an exported model as a user would: another process, the folder alone.

    Attributes:
        model: Folder of the model; the name of its stage folder identifies the content.
        dev: What it is scored on.
        expected: nDCG@10 that was recorded for it.
    """

    kind: ClassVar[str] = "prove"
    model: Path
    dev: ScoredTask
    expected: float

    def inputs(self) -> Mapping[str, object]:
        """Return what is proved."""
        return {"model": self.model.parent.name, "dev": self.dev.content_hash, "expected": self.expected}

    def build(self, folder: Path) -> None:
        """Write ``proof.json``: the expected and the measured nDCG@10.

        Raises:
            CheckFailed: The model cannot be scored in a fresh process, or gives another number.
        """
        with tempfile.TemporaryDirectory() as scrap:
            measured = self._measure(self._collection(Path(scrap) / "dev"))
        if abs(measured - self.expected) > TOLERANCE:
            raise CheckFailed(
                "reload",
                measured,
                f"dev nDCG@10 from disk is not the recorded {self.expected:.4f}; do not use the model",
            )
        write_json(folder / PROOF, {"expected": self.expected, "measured": measured})

    def _collection(self, folder: Path) -> Path:
        documents = tuple(Document(key, "", text) for key, text in self.dev.documents.items())
        split = replace(self.dev.split, name="dev")
        return write_beir(Collection("dev", documents, {"dev": split}, "", ""), folder)

    def _measure(self, collection: Path) -> float:
        # A workspace of its own, so that no stored vector or score takes the place of what the folder gives.
        workspace = collection.parent / "workspace"
        (workspace / "programs").mkdir(parents=True)
        command = [sys.executable, "-m", "stm_agent", "evaluate", str(self.model), "--collection", str(collection)]
        command += ["--workspace", str(workspace), "--split", "dev", "--json"]
        # A session of its own: Ctrl-C stops the run at its next safe point, not this child in the middle.
        done = subprocess.run(command, capture_output=True, text=True, check=False, start_new_session=True)
        if done.returncode:
            reason = f"a fresh process cannot score the model: {done.stderr[-300:]}"
            raise CheckFailed("reload", float(done.returncode), reason)
        return float(json.loads(done.stdout)["ndcg_at_10"])


def proof_encodings(documents: int) -> float:
    """Return how many passages are encoded in the time that the proof of a model of this many documents takes."""
    return PROOF_COST * min(documents, PROOF_DOCUMENTS)


def read_proof(folder: Path) -> float:
    """Return the nDCG@10 that a fresh process measured."""
    return float(read_json(folder / PROOF)["measured"])


def model_hash(folder: Path, *, without: str = CARD) -> str:
    """Return a hash over the files of a model that decide its vectors: not its card, hidden ones and ``without``."""
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    beside = (CARD, without)
    hidden = {name for name in files if name in beside or any(part.startswith(".") for part in name.split("/"))}
    return content_hash({name: sha256_file(path) for name, path in files.items() if name not in hidden})
