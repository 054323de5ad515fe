"""Training and encoding beside plain sentence-transformers, as its documentation shows it, in one run.

    python benchmarks/training.py                     # about 25 minutes on two cores
    python benchmarks/training.py --steps 200 --documents 5000

Both sides get the same backbone, pairs, seed, batch size, learning rate, loss and number of steps; every
training runs in a process of its own, so that its peak memory is its own. The plain side is a LoRA adapter by
``model.add_adapter``, ``MultipleNegativesRankingLoss``, ``SentenceTransformerTrainer`` and the no-duplicates batch
sampler. Encoding alternates between the sides, piece by piece in fresh processes, so that all meet the same machine.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from _record import claim, job, machine, save, show, versions

PIECES = 3


def domain() -> Any:
    """Return the shipped biomedical domain."""
    from stm_agent.domain.load import load_domain

    return load_domain("biomedical", Path())


def material() -> Any:
    """Return its collection and pairs."""
    from stm_agent.domain.build import build_domain_data

    return build_domain_data(domain().collection, Path())


def train_plain(steps: int, seed: int) -> tuple[Any, float]:
    """Train as the documentation of sentence-transformers shows; return the model and the seconds of the steps."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from sentence_transformers.training_args import BatchSamplers
    from transformers import PrinterCallback

    from stm_agent.backbone.load import load_backbone

    spec = domain()
    torch.manual_seed(seed)
    # Only how it is loaded is ours: first layers, bidirectional, mean pooling; its forward is the library's.
    model = load_backbone(spec.backbone, packed=False)
    linear = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "embed_tokens"]
    model.add_adapter(LoraConfig(r=spec.train.lora_rank, lora_alpha=spec.train.lora_alpha, target_modules=linear))
    pairs = material().sources["lay"]
    columns = {"query": [pair.query for pair in pairs], "positive": [pair.positive for pair in pairs]}
    model.model_card_data.widget = [{"text": pairs[0].query}]
    arguments = SentenceTransformerTrainingArguments(
        output_dir=tempfile.mkdtemp(),
        max_steps=steps,
        per_device_train_batch_size=spec.train.batch_size,
        learning_rate=1e-3,
        warmup_steps=round(0.1 * steps),
        batch_sampler=BatchSamplers.NO_DUPLICATES,
        seed=seed,
        use_cpu=not torch.cuda.is_available(),
        bf16=torch.cuda.is_available(),
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    loss = MultipleNegativesRankingLoss(model, scale=spec.train.scale)
    trainer = SentenceTransformerTrainer(
        model=model, args=arguments, train_dataset=Dataset.from_dict(columns), loss=loss
    )
    # Prints to standard output, where the result goes.
    trainer.remove_callback(PrinterCallback)
    began = time.monotonic()
    trainer.train()
    return model, time.monotonic() - began


def train_ours(steps: int, seed: int) -> tuple[Any, float]:
    """Train the same by the engine; return the model and the seconds of the steps."""
    from stm_agent.backbone.load import load_backbone
    from stm_agent.backbone.network import network_of
    from stm_agent.domain.spec import ExpertSpec
    from stm_agent.merge.delta import fold, load_delta
    from stm_agent.train.expert import train_expert

    spec = domain()
    expert = ExpertSpec(name="lay", sources=("lay",), steps=steps, learning_rate=1e-3)
    with tempfile.TemporaryDirectory() as folder:
        done = train_expert(
            expert,
            material().sources["lay"],
            {},
            backbone=spec.backbone,
            train=spec.train,
            start=None,
            query_prefix="",
            passage_prefix="",
            seed=seed,
            folder=Path(folder),
        )
        model = load_backbone(spec.backbone)
        fold(network_of(model), load_delta(done.adapter))
    return model, done.seconds


def worker(side: str, steps: int, seed: int, threads: int) -> None:
    """Train one side, score it on dev and print what came out as JSON."""
    import torch

    from stm_agent.backbone.encoder import TextEncoder
    from stm_agent.backbone.instruction import Instruction
    from stm_agent.backbone.threads import set_threads
    from stm_agent.evaluate.scoring import score_split

    # A plain script does not know how to keep freed memory.
    torch.set_num_threads(threads) if side == "plain" else set_threads(threads)
    model, seconds = (train_plain if side == "plain" else train_ours)(steps, seed)
    collection = material().collection
    scores = score_split(None, TextEncoder(model, side), collection.texts, collection.splits["dev"], Instruction())
    told = {"seconds": seconds, "dev": scores.ndcg_at_10, "per_query": dict(scores.per_query)}
    if side == "ours":
        from stm_agent.backbone.int8 import quantise

        with tempfile.TemporaryDirectory() as cache:
            small = TextEncoder(quantise(model, Path(cache)), "int8")
            scores = score_split(None, small, collection.texts, collection.splits["dev"], Instruction())
        told |= {"int8_dev": scores.ndcg_at_10, "int8_per_query": dict(scores.per_query)}
    sys.stdout.write(json.dumps(told))


def train_side(side: str, options: argparse.Namespace, threads: int) -> dict[str, Any]:
    """Train one side in a fresh process; return its result, pairs per second and peak memory in GiB."""
    command = [sys.executable, __file__, "--side", side, "--steps", str(options.steps), "--threads", str(threads)]
    done = job([*command, "--seed", str(options.seed)])
    pairs = options.steps * domain().train.batch_size
    speed = pairs / done["result"]["seconds"]
    return {**done["result"], "pairs_per_second": speed, "peak_gib": done["peak_gib"]}


def passages(name: str, count: int) -> list[str]:
    """Return the first passages of a collection: ``hpo`` or a BEIR folder."""
    from stm_agent.domain.build import build_domain_data
    from stm_agent.domain.collection_spec import HpoCollection

    if name == "hpo":
        return list(build_domain_data(HpoCollection(documents=count), Path()).collection.texts.values())
    lines = (Path(name) / "corpus.jsonl").read_text(encoding="utf-8").split("\n")[:count]
    return [f"{row.get('title', '')} {row['text']}".strip() for row in map(json.loads, filter(None, lines))]


def encode_piece(options: argparse.Namespace) -> None:
    """Encode one piece of a collection by one side, save its vectors and print the seconds as JSON."""
    import torch

    from stm_agent.assets.pull import cache_folder
    from stm_agent.backbone.encoder import TextEncoder
    from stm_agent.backbone.int8 import quantise
    from stm_agent.backbone.load import load_backbone
    from stm_agent.backbone.threads import set_threads

    side, name, piece, output = options.encode
    documents = options.documents if name == "hpo" else options.folder_documents
    backbone = domain().backbone
    if name != "hpo":
        backbone = backbone.model_copy(update={"max_length": options.folder_tokens})
    texts = passages(name, documents)[int(piece) :: PIECES]
    if side == "plain":
        torch.set_num_threads(options.threads)
        plain = load_backbone(backbone, packed=False)

        def encode(part: list[str]) -> Any:
            return plain.encode(part, batch_size=32, normalize_embeddings=True, show_progress_bar=False)
    else:
        set_threads(options.threads)
        model = load_backbone(backbone)
        encode = TextEncoder(quantise(model, cache_folder()) if side == "int8" else model).encode
    encode(texts[:32])
    began = time.monotonic()
    vectors = encode(texts)
    seconds = time.monotonic() - began
    np.save(output, vectors)
    sys.stdout.write(json.dumps(seconds))


def encode_all(name: str, options: argparse.Namespace, threads: int) -> dict[str, Any]:
    """Encode by ``SentenceTransformer.encode`` at batch 32, by the engine and by its int8, piece by piece in turn."""
    sides = ("plain", "ours", "int8")
    seconds = dict.fromkeys(sides, 0.0)
    vectors: dict[str, list[Any]] = {side: [] for side in sides}
    flags = [f"--threads={threads}", f"--documents={options.documents}"]
    flags += [f"--folder-documents={options.folder_documents}", f"--folder-tokens={options.folder_tokens}"]
    with tempfile.TemporaryDirectory() as scrap:
        for piece in range(PIECES):
            for side in sides[:: 1 if piece % 2 else -1]:
                output = Path(scrap) / f"{side}.npy"
                command = [sys.executable, __file__, "--encode", side, name, str(piece), str(output), *flags]
                seconds[side] += job(command)["result"]
                vectors[side].append(np.load(output))
    whole = {side: np.concatenate(parts) for side, parts in vectors.items()}
    cosines = {side: float((whole["plain"] * whole[side]).sum(axis=1).min()) for side in ("ours", "int8")}
    speeds = {side: len(whole["plain"]) / value for side, value in seconds.items()}
    return {"passages": len(whole["plain"]), "per_second": speeds, "lowest_cosine": cosines}


def claims(trained: dict[str, Any], versus: Any, encoded: dict[str, Any]) -> list[dict[str, Any]]:
    """Hold every number against its target."""
    ours, plain = trained["ours"], trained["plain"]
    made = [
        claim("pairs/s of training, times plain", ours["pairs_per_second"] / plain["pairs_per_second"], 1.5, "ratio"),
        claim(
            "dev nDCG@10, ours minus plain, upper bound of the paired interval (not significantly worse)",
            versus.high,
            0.0,
            "nDCG@10",
            delta=versus.delta,
            low=versus.low,
        ),
        claim("peak memory of training, times plain", ours["peak_gib"] / plain["peak_gib"], 1.0, "ratio", lower=True),
    ]
    for name, result in encoded.items():
        speed = result["per_second"]
        made.append(claim(f"{name}: passages/s, times plain", speed["ours"] / speed["plain"], 1.2, "ratio"))
        made.append(claim(f"{name}: lowest cosine with plain", result["lowest_cosine"]["ours"], 0.99999, "cosine"))
        made.append(claim(f"{name}: passages/s in int8, times plain", speed["int8"] / speed["plain"], 2.0, "ratio"))
    lost = ours["dev"] - ours["int8_dev"]
    made.append(claim("dev nDCG@10 lost by int8 on the trained model", lost, 0.005, "nDCG@10", lower=True))
    return made


def main() -> None:
    """Train both sides, encode with both, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--documents", type=int, default=2000, help="passages of HPO that are encoded")
    parser.add_argument("--folder", type=Path, help="a BEIR folder with long texts to encode too, such as scifact")
    parser.add_argument("--folder-documents", type=int, default=600)
    parser.add_argument("--folder-tokens", type=int, default=256)
    parser.add_argument("--encode", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--side", choices=["plain", "ours"], help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, help="[as many as are idle]")
    options = parser.parse_args()
    from stm_agent.backbone.threads import choose_threads, set_threads
    from stm_agent.evaluate.significance import paired_bootstrap

    if options.encode:
        encode_piece(options)
        return
    if options.side:
        worker(options.side, options.steps, options.seed, options.threads)
        return
    before = machine()
    threads = options.threads or choose_threads()[0]
    set_threads(threads)
    encoded = {"HPO": encode_all("hpo", options, threads)}
    if options.folder:
        encoded[options.folder.name] = encode_all(str(options.folder), options, threads)
    trained = {side: train_side(side, options, threads) for side in ("plain", "ours")}
    versus = paired_bootstrap(trained["ours"].pop("per_query"), trained["plain"].pop("per_query"), seed=options.seed)
    trained["ours"].pop("int8_per_query")
    record = {
        "name": "training",
        "command": f"python benchmarks/training.py --steps {options.steps} --documents {options.documents}"
        + (f" --folder {options.folder.name}" if options.folder else "")
        + f" --folder-documents {options.folder_documents} --folder-tokens {options.folder_tokens}"
        + f" --seed {options.seed}",
        "machine": {**before, "threads": threads},
        "versions": versions(),
        "seeds": [options.seed],
        "steps": options.steps,
        "training": trained,
        "encoding": encoded,
        "claims": claims(trained, versus, encoded),
    }
    save(record)
    show(record["claims"])


if __name__ == "__main__":
    main()
