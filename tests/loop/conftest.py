"""A whole domain small enough for a test: pico decoder, tiny collection, scripted LLM."""

from __future__ import annotations

from pathlib import Path

import pytest

from stm_agent.domain.spec import DomainSpec
from stm_agent.testing.pico import pico_decoder
from stm_agent.testing.tiny import tiny_beir


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    from stm_agent.cli.init import init_workspace

    return init_workspace(tmp_path / "space")


@pytest.fixture
def tiny_domain(tmp_path: Path) -> DomainSpec:
    """Two experts, one round, guard = the same tiny collection; no MiniLM, no download, no query map."""
    beir = str(tiny_beir(tmp_path / "beir"))
    decoder = str(pico_decoder(tmp_path / "pico"))
    return DomainSpec.model_validate(
        {
            "name": "tiny",
            "task": "A question -> the passage that answers it",
            "collection": {"kind": "beir", "path": beir},
            "general": [{"kind": "beir", "path": beir}],
            "backbone": {"model": decoder, "max_length": 32},
            "baseline": None,
            "experts": [
                {"name": "plain", "sources": ["train"], "steps": 30},
                {
                    "name": "hard",
                    "sources": ["train"],
                    "steps": 20,
                    "start": "plain",
                    "negatives": {"mined": 1, "synthetic": 1},
                },
            ],
            "train": {"batch_size": 8, "learning_rate": 0.01, "scale": 20.0},
            "synthesize": {"pairs": 4, "queries": 4},
            "mine": {"encoder": None},
            "instruct": {"reflections": 1},
            "loop": {"probe_steps": 4, "bootstrap": 500, "query_map": False},
        }
    )


@pytest.fixture
def proof_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Score the exported folder as the fresh process does, without the seconds that its imports take.

    ``test_loop.py`` starts the real one.
    """
    from stm_agent.domain.beir import read_beir
    from stm_agent.evaluate.proof import ProofJob
    from stm_agent.loop.evaluate_single import evaluate_model

    def measure(job: ProofJob, collection: Path) -> float:
        return evaluate_model(str(job.model), read_beir(collection), "dev", runs=collection.parent)["ndcg_at_10"]

    monkeypatch.setattr(ProofJob, "_measure", measure)
