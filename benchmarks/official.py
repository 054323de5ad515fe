"""An official MTEB task from a local folder in the Hub's layout: are its numbers the published ones?

    python benchmarks/official.py --data path/to/collections   # about 12 minutes on two cores

``--data`` holds ``scifact`` in BEIR layout. It is written once more as the Hub lays out ``mteb/scifact``, and read by
mteb's own SciFact class. BM25 and all-MiniLM-L6-v2 are scored on it: MiniLM by ``mteb.evaluate`` and the fast scorer.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from _record import claim, machine, save, show, versions

MINILM = "embedded:all-minilm-l6-v2"
EXPECTED = {"bm25": 0.679, MINILM: 0.645}
"""nDCG@10 on SciFact: of BM25 as it is measured beside the collection, of all-MiniLM-L6-v2 as it is published."""
TOLERANCE = 0.002


def scored(data: Path, work: Path) -> dict[str, dict[str, float]]:
    """Write the data set, score on it, and return nDCG@10 and seconds of each model."""
    from stm_agent.domain.beir import read_beir
    from stm_agent.domain.official import OfficialTask
    from stm_agent.loop.evaluate_single import evaluate_official
    from stm_agent.testing.hub_data import official_data

    official_data("SciFact", work / "data", read_beir(data / "scifact"), {"test": "test", "train": "train"})
    task = OfficialTask(name="SciFact", data_dir=work / "data")
    found = {}
    for label, model, engine in (("bm25", "bm25", "fast"), ("mteb", MINILM, "mteb"), ("fast", MINILM, "fast")):
        began = time.monotonic()
        scores = evaluate_official(model, task, runs=work / "runs", engine=engine)
        found[label] = {"ndcg_at_10": scores["ndcg_at_10"], "seconds": round(time.monotonic() - began, 1)}
    return found


def claims(found: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    """Hold every number against its target."""
    lexical, official, fast = (found[label]["ndcg_at_10"] for label in ("bm25", "mteb", "fast"))
    return [
        claim(
            f"BM25 on the official SciFact from a local folder differs from {EXPECTED['bm25']}",
            abs(lexical - EXPECTED["bm25"]),
            TOLERANCE,
            "nDCG@10",
            lower=True,
            ndcg_at_10=lexical,
        ),
        claim(
            f"all-MiniLM-L6-v2 by mteb.evaluate differs from {EXPECTED[MINILM]}",
            abs(official - EXPECTED[MINILM]),
            TOLERANCE,
            "nDCG@10",
            lower=True,
            ndcg_at_10=official,
        ),
        claim("the fast scorer differs from mteb.evaluate", abs(official - fast), 1e-4, "nDCG@10", lower=True),
    ]


def main() -> None:
    """Score and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with scifact in BEIR layout")
    options = parser.parse_args()
    before = machine()
    from stm_agent.backbone.threads import choose_threads, set_threads

    threads = choose_threads()[0]
    set_threads(threads)
    work = Path(tempfile.mkdtemp())
    try:
        found = scored(options.data, work)
    finally:
        shutil.rmtree(work)
    record = {
        "name": "official",
        "command": "python benchmarks/official.py --data path/to/collections",
        "machine": {**before, "threads": threads},
        "versions": versions(),
        "seeds": [],
        "scores": found,
        "claims": claims(found),
    }
    save(record)
    show(record["claims"])


if __name__ == "__main__":
    main()
