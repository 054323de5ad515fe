"""A finished run made by hand: pico checkpoint, tiny collection, the ledger's proof of its dev score."""

from __future__ import annotations

import shutil
from pathlib import Path

from stm_agent.files import append_jsonl, write_json
from stm_agent.testing.pico import pico_checkpoint
from stm_agent.testing.tiny import tiny_beir


def pico_run(space: Path, name: str = "tiny-1", *, prompts: dict[str, str] | None = None, seed: int = 0) -> Path:
    """Write a run with a model that was proved, and return its folder."""
    from stm_agent.backbone.instruction import Instruction
    from stm_agent.backbone.load import load_model
    from stm_agent.backbone.sides import encoder_of
    from stm_agent.domain.beir import read_beir
    from stm_agent.evaluate.proof import model_hash
    from stm_agent.evaluate.scoring import score_split

    run = space / "runs" / name
    run.mkdir(parents=True)
    (space / "programs").mkdir(exist_ok=True)
    model = run / "model"
    shutil.copytree(pico_checkpoint(space / f"made-{name}", prompts=prompts, seed=seed), model)
    collection = read_beir(tiny_beir(run / "dev"))
    loaded = load_model(str(model))
    scores = score_split(
        None, encoder_of(loaded), collection.texts, collection.splits["dev"], Instruction.none(loaded.prompts)
    )
    identity = {"domain": {"name": "tiny", "train": {"matryoshka": [8, 16]}}}
    write_json(run / "run.json", {"schema": 2, "id": name, "number": 1, "identity": identity})
    write_json(run / "fusion.json", {"weight": 0.4, "dev": 0.5})
    dev = scores.ndcg_at_10
    report = {"schema": 2, "run": name, "state": "finished", "rows": {}, "dev": {"base": dev - 0.05, "merged": dev}}
    write_json(run / "report.json", report)
    append_jsonl(
        run / "ledger.jsonl",
        {"schema": 2, "event": "proved", "dev": dev, "reloaded": dev, "sha256": model_hash(model)},
    )
    return run
