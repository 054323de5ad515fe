"""On a GPU: the main job, and training and encoding beside plain sentence-transformers, in one run.

    scripts/gpu_check                 # about 15 minutes; writes benchmarks/results/gpu.json
    scripts/gpu_check --no-main-job   # training and encoding alone, about 3 minutes
    scripts/gpu_check --model Qwen/Qwen3-Embedding-0.6B   # encodes with that model too

Both sides get the same backbone, texts, number format, batch of training, learning rate, loss and steps. Encoding
alternates between the sides, and so does training, so that all meet the same machine. Memory is that of torch's
allocator. Besides, memory is made short on purpose: batches must be halved, and the vectors must stay.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _record import claim, machine, optimize, prepare, save, show, versions
from training import domain, material, passages, train_ours, train_plain

REPEATS = 3
SHORT_OF = 0.02
"""Share of the GPU's memory that is left for the encoding that runs out of it."""
FLOOR = 0.70
"""nDCG@10 of the main job, as benchmarks/embedded.py claims it."""


def gpu() -> dict[str, object]:
    """Return what the GPU is, or end with one line."""
    import torch

    if not torch.cuda.is_available():
        sys.stderr.write("error: torch finds no GPU; run scripts/gpu_check on a machine with one (torch with CUDA)\n")
        sys.exit(2)
    properties = torch.cuda.get_device_properties(0)
    return {
        "name": properties.name,
        "memory_gib": round(properties.total_memory / 2**30, 1),
        "cuda": torch.version.cuda,
        "bfloat16": torch.cuda.is_bf16_supported(),
    }


def measured(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """Return what a function returns, its seconds, and the peak memory of the GPU in GiB."""
    import torch

    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    began = time.monotonic()
    result = work()
    torch.cuda.synchronize()
    return result, time.monotonic() - began, torch.cuda.max_memory_allocated() / 2**30


def encode_both(spec: Any, texts: list[str]) -> dict[str, Any]:
    """Encode by ``SentenceTransformer.encode`` with its own defaults and by the engine, in turn."""
    from stm_agent.backbone.encoder import TextEncoder
    from stm_agent.backbone.load import load_backbone
    from stm_agent.backbone.network import network_of

    plain, ours = load_backbone(spec, packed=False), TextEncoder(load_backbone(spec))
    sides: dict[str, Callable[[list[str]], Any]] = {
        "plain": lambda part: plain.encode(part, normalize_embeddings=True, show_progress_bar=False),
        "ours": ours.encode,
    }
    for encode in sides.values():
        encode(texts[:256])
    speeds: dict[str, list[float]] = {side: [] for side in sides}
    peaks: dict[str, float] = {}
    vectors: dict[str, Any] = {}
    for repeat in range(REPEATS):
        for side in list(sides)[:: 1 if repeat % 2 else -1]:
            vectors[side], seconds, peaks[side] = measured(lambda side=side: sides[side](texts))
            speeds[side].append(len(texts) / seconds)
    cosine = float((np.asarray(vectors["plain"]) * np.asarray(vectors["ours"])).sum(axis=1).min())
    return {
        "texts": len(texts),
        "kernel": getattr(network_of(ours.model).config, "_attn_implementation", None),
        "per_second": {side: statistics.median(values) for side, values in speeds.items()},
        "peak_gib": peaks,
        "lowest_cosine": cosine,
        "halved": halved(ours, texts, vectors["ours"]),
    }


def halved(encoder: Any, texts: list[str], expected: Any) -> dict[str, Any]:
    """Encode with almost no memory left: batches must become smaller, and the vectors must stay."""
    import torch

    from stm_agent.backbone.batches import Room

    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(SHORT_OF)
    # As if the memory had been free when it was measured.
    encoder._room = Room(len(texts), 2**30)
    try:
        again = encoder.encode(texts)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    return {"smaller": encoder.halved, "lowest_cosine": float((again * expected).sum(axis=1).min())}


def train_both(steps: int) -> dict[str, Any]:
    """Train as the documentation of sentence-transformers shows and by the engine; return pairs/s, dev and memory."""
    from stm_agent.backbone.encoder import TextEncoder
    from stm_agent.backbone.instruction import Instruction
    from stm_agent.evaluate.scoring import score_split

    collection = material().collection
    found: dict[str, dict[str, Any]] = {}
    for side, train in (("plain", train_plain), ("ours", train_ours)):
        (model, seconds), _, peak = measured(lambda train=train: train(steps, 0))
        dev = score_split(None, TextEncoder(model, side), collection.texts, collection.splits["dev"], Instruction())
        pairs = steps * domain().train.batch_size
        found[side] = {"pairs_per_second": pairs / seconds, "dev": dev.ndcg_at_10, "peak_gib": peak}
    return found


def claims(encoded: dict[str, Any], trained: dict[str, Any], main_job: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Hold every number against its target."""
    ours, plain = trained["ours"], trained["plain"]
    made = [
        claim("pairs/s of training, times plain", ours["pairs_per_second"] / plain["pairs_per_second"], 1.0, "ratio"),
        claim("dev nDCG@10 of training, ours minus plain", ours["dev"] - plain["dev"], -0.02, "nDCG@10"),
        claim("peak memory of training, times plain", ours["peak_gib"] / plain["peak_gib"], 1.0, "ratio", lower=True),
    ]
    for name, result in encoded.items():
        speed = result["per_second"]
        made += [
            claim(f"{name}: passages/s, times plain", speed["ours"] / speed["plain"], 1.0, "ratio"),
            claim(f"{name}: lowest cosine with plain", result["lowest_cosine"], 0.999, "cosine"),
            claim(f"{name}: batches became smaller when memory ran out", result["halved"]["smaller"], 0, "yes is 1"),
            claim(f"{name}: lowest cosine with those vectors", result["halved"]["lowest_cosine"], 0.999, "cosine"),
        ]
    if main_job is not None:
        merged = main_job["report"]["rows"]["merged"]["ndcg_at_10"]
        made.append(claim("main job, merged test nDCG@10", merged, FLOOR, "nDCG@10"))
        made.append(claim("main job ends within", main_job["wall_seconds"] / 60, 20.0, "minutes", lower=True))
    return made


def main() -> None:
    """Run everything and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--documents", type=int, default=4000, help="passages of HPO that are encoded")
    parser.add_argument("--model", help="a model on the Hub, or a folder, that is encoded with too")
    parser.add_argument("--no-main-job", action="store_true", help="leave out the main job")
    parser.add_argument("--out", type=Path, help="JSON file to write [benchmarks/results/gpu.json]")
    options = parser.parse_args()
    device = gpu()
    from stm_agent.domain.spec import BackboneSpec
    from stm_agent.files import write_json

    before = machine()
    texts = passages("hpo", options.documents)
    starts = {"HPO": domain().backbone}
    if options.model:
        starts[options.model] = BackboneSpec(model=options.model, max_length=256)
    encoded = {name: encode_both(spec, texts) for name, spec in starts.items()}
    trained = train_both(options.steps)
    main_job = None
    if not options.no_main_job:
        work = Path(tempfile.mkdtemp()) / "space"
        prepare(work)
        main_job = optimize(work, "--domain", "biomedical", "--seed", "0")
    record = {
        "name": "gpu",
        "command": " ".join(["scripts/gpu_check", *sys.argv[1:]]),
        "machine": {**before, "gpu": device},
        "versions": versions(),
        "seeds": [0],
        "steps": options.steps,
        "encoding": encoded,
        "training": trained,
        "main_job": main_job,
        "claims": claims(encoded, trained, main_job),
    }
    write_json(options.out, record) if options.out else save(record)
    show(record["claims"])


if __name__ == "__main__":
    main()
