"""Merging beside sentence-transformers' merge (mergekit), the surrogate's weight search beside STM's grid, in one run.

    python benchmarks/merging.py                            # about 35 minutes on two cores
    python benchmarks/merging.py --layers 30 --grid-documents 1000 --grid-queries 450

Four experts of the biomedical domain are trained for a few steps. Then the same four are merged by both sides, each
merge in a process of its own, from the start of its reading to the end of its writing; sentence-transformers
refuses adapters, so its side gets the full models made of them. Memory is what a merge takes above the imported
libraries. Last, the means of STM's grid with steps of 0.1, every point really encoded, stand beside the surrogate's
search on the same dev queries.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from _record import claim, machine, save, show, versions

HERE = Path(__file__).parent
RATES = {"lay": 2e-3, "hard": 1e-3, "kin": 1e-3, "clinical": 1e-3}
WEIGHTS = [0.4, 0.3, 0.2, 0.1]
DENSITY = 0.5
LEARNT = 5
"""Merges that the surrogate's search really encodes, beside the experts alone."""


def backbone_of(options: argparse.Namespace) -> Any:
    """Return the biomedical domain with the asked layers."""
    from stm_agent.domain.load import load_domain

    spec = load_domain("biomedical", Path())
    return spec.model_copy(update={"backbone": spec.backbone.model_copy(update={"layers": options.layers})})


def train_four(spec: Any, options: argparse.Namespace) -> tuple[list[Path], Any]:
    """Train four experts, all from the backbone, so that they differ as STM's do; return adapters and material."""
    from stm_agent.domain.build import build_domain_data
    from stm_agent.domain.spec import ExpertSpec
    from stm_agent.loop.train_single import train_domain_expert

    experts = tuple(
        ExpertSpec(
            name=name,
            sources=("clinical",) if name == "clinical" else ("lay",),
            steps=options.steps,
            learning_rate=rate,
            neighbours=3 if name == "kin" else 0,
            alias_weight=0.5 if name == "hard" else 0.0,
        )
        for name, rate in RATES.items()
    )
    spec = spec.model_copy(update={"experts": experts})
    adapters = []
    for number, expert in enumerate(experts):
        output = options.work / expert.name
        runs = options.work / "runs"
        train_domain_expert(spec, Path(), runs, expert.name, output, start=None, steps=None, seed=number)
        adapters.append(output / "adapter")
    return adapters, build_domain_data(spec.collection, Path())


class Peak:
    """Highest resident memory of this very process while the block runs, above what it was before, in GiB."""

    def __enter__(self) -> Peak:
        import psutil

        self._process, self._going = psutil.Process(), True
        self._before = self.bytes = self._process.memory_info().rss
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def _look(self) -> None:
        while self._going:
            self.bytes = max(self.bytes, self._process.memory_info().rss)
            time.sleep(0.002)

    def __exit__(self, *_: object) -> None:
        self._going = False
        self._thread.join()
        self.gib = (self.bytes - self._before) / 2**30


def merge_theirs(method: str, options: argparse.Namespace, output: Path) -> None:
    """Merge the full models as the documentation of sentence-transformers shows."""
    from sentence_transformers import SentenceTransformer

    experts = [str(options.work / name / "model") for name in RATES]
    parameters: dict[str, Any] = {"weight": WEIGHTS}
    base = None
    if method == "ties":
        parameters |= {"density": DENSITY, "normalize": True}
        base = str(options.work / "base")
    merged = SentenceTransformer.merge(experts, method, base_model=base, parameters=parameters)
    merged.save_pretrained(str(output))


def merge_ours(method: str, kind: str, options: argparse.Namespace, output: Path) -> None:
    """Merge the adapters into one adapter or a model, or the full models from disk to disk."""
    from stm_agent.merge.delta import LoraDelta, load_delta, save_delta
    from stm_agent.merge.recipe import Recipe, merge
    from stm_agent.merge.weights import StateDictReader, WeightDelta, write_merged

    recipe = Recipe(method=method, weights=tuple(WEIGHTS), density=DENSITY)
    base = StateDictReader(options.work / "base")
    if kind == "models":
        experts = [WeightDelta(StateDictReader(options.work / name / "model"), base) for name in RATES]
        write_merged(base, merge(experts, recipe), output)
        return
    delta = merge([load_delta(options.work / name / "adapter") for name in RATES], recipe)
    if kind == "adapter":
        assert isinstance(delta, LoraDelta)
        save_delta(delta, output, base="base")
    else:
        write_merged(base, delta, output)


def worker(options: argparse.Namespace) -> None:
    """Merge once in this process and print seconds and memory."""
    import peft  # noqa: F401 - imports are nobody's merge
    import safetensors.torch  # noqa: F401
    import sentence_transformers  # noqa: F401
    from mergekit.merge_methods import merge_state_dicts  # noqa: F401

    from stm_agent.backbone.threads import set_threads
    from stm_agent.merge import delta, product, recipe, weights  # noqa: F401

    set_threads(options.threads)
    side, method, kind = options.merge.split(":")
    output = options.work / "out" / options.merge.replace(":", "-")
    shutil.rmtree(output, ignore_errors=True)
    began = time.monotonic()
    with Peak() as peak:
        if side == "theirs":
            merge_theirs(method, options, output)
        else:
            merge_ours(method, kind, options, output)
    sys.stdout.write(json.dumps({"seconds": time.monotonic() - began, "gib": peak.gib}))


def merges(options: argparse.Namespace, threads: int) -> dict[str, Any]:
    """Merge by both sides, ``--repeats`` times in turn; return the fastest seconds and the least memory of each."""
    jobs = ("theirs:linear:models", "ours:linear:adapter", "ours:linear:folder", "ours:linear:models")
    jobs += ("theirs:ties:models", "ours:ties:folder", "ours:ties:models")
    found: dict[str, list[dict[str, float]]] = {name: [] for name in jobs}
    for _ in range(options.repeats):
        for name in jobs:
            command = [sys.executable, __file__, "--merge", name, "--work", str(options.work)]
            command += ["--threads", str(threads), "--layers", str(options.layers)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found[name].append(json.loads(done.stdout))
    return {
        name: {
            "seconds": min(row["seconds"] for row in rows),
            "gib": min(row["gib"] for row in rows),
            "all_seconds": [row["seconds"] for row in rows],
        }
        for name, rows in found.items()
    }


def share_apart(work: Path, one: str, other: str) -> float:
    """Return the share of two merged models' weights that differ by more than 1e-5.

    TIES cuts at a magnitude; of entries that are equal there either may stay, so a few differ between any two programs.
    """
    from stm_agent.merge.weights import StateDictReader

    first, second = (StateDictReader(work / "out" / name.replace(":", "-")) for name in (one, other))
    gaps = [(first.tensor(name) - second.tensor(name)).abs() > 1e-5 for name in first.names]
    return sum(int(gap.sum()) for gap in gaps) / sum(gap.numel() for gap in gaps)


def search_both(spec: Any, adapters: list[Path], material: Any, options: argparse.Namespace) -> dict[str, Any]:
    """Score the means of STM's grid by real encodes, and search the same weights by the surrogate; return both."""
    import numpy as np

    from stm_agent.backbone.encoder import TextEncoder
    from stm_agent.backbone.load import load_backbone
    from stm_agent.backbone.network import network_of
    from stm_agent.evaluate.metrics import score
    from stm_agent.evaluate.ranking import rank
    from stm_agent.merge.delta import combine, fold, load_delta
    from stm_agent.merge.surrogate import Surrogate, Task

    collection, dev = material.collection, material.collection.splits["dev"]
    queries = dict(list(dev.queries.items())[: options.grid_queries])
    judged = {document for query in queries for document in dev.qrels[query]}
    order = sorted(collection.texts, key=lambda name: (name not in judged, name))
    documents = {name: collection.texts[name] for name in order[: max(options.grid_documents, len(judged))]}
    qrels = {query: dev.qrels[query] for query in queries}
    deltas = [load_delta(folder) for folder in adapters]
    model = load_backbone(spec.backbone)
    plain = {name: weight.clone() for name, weight in network_of(model).state_dict().items()}
    encodes = 0

    def encode(weights: tuple[float, ...]) -> tuple[Any, Any]:
        nonlocal encodes
        encodes += 1
        network_of(model).load_state_dict(plain)
        if any(weights):
            fold(network_of(model), combine(deltas, weights))
        encoder = TextEncoder(model, "grid")
        return encoder.encode(list(queries.values())), encoder.encode(list(documents.values()))

    def real(weights: tuple[float, ...]) -> float:
        vectors = encode(weights)
        return score(rank(list(queries), vectors[0], list(documents), vectors[1]), qrels).ndcg_at_10

    # The part of STM's grid whose weights sum to 1: the whole of it has 10 ** experts points.
    tenths = itertools.product(range(11), repeat=len(deltas))
    points = [tuple(tenth / 10 for tenth in point) for point in tenths if sum(point) == 10]
    began = time.monotonic()
    alone = [encode(tuple(float(n == m) for m in range(len(deltas)))) for n in range(len(deltas))]
    # In a mean the base's share is 0: it need not be encoded.
    query_vectors = np.stack([np.zeros_like(alone[0][0]), *(pair[0] for pair in alone)])
    document_vectors = np.stack([np.zeros_like(alone[0][1]), *(pair[1] for pair in alone)])
    surrogate = Surrogate(Task(list(queries), list(documents), qrels, query_vectors, document_vectors))
    first = {weights: surrogate.score(weights) for weights in points}
    middle = min(points, key=lambda weights: (sum((weight - 1 / len(deltas)) ** 2 for weight in weights), weights))
    reached: dict[tuple[float, ...], float] = {}
    guesses = first
    for number in range(LEARNT):
        # The middle of the experts first: there the first order is furthest off.
        left = [weights for weights in points if weights not in reached and max(weights) < 1]
        asked = middle if number == 0 else max(left, key=lambda weights: (guesses[weights], weights))
        vectors = encode(asked)
        reached[asked] = score(rank(list(queries), vectors[0], list(documents), vectors[1]), qrels).ndcg_at_10
        surrogate.learn(asked, *vectors)
        guesses = {weights: surrogate.score(weights) for weights in points}
    # An expert alone is no guess: its vectors are what the surrogate is made of.
    reached |= {weights: first[weights] for weights in points if max(weights) == 1}
    chosen = max(reached, key=lambda weights: (reached[weights], weights))
    ours = {"weights": chosen, "dev": reached[chosen], "encodes": encodes, "seconds": time.monotonic() - began}
    ours |= {"tried": [[*weights, value] for weights, value in reached.items()]}
    encodes, began = 0, time.monotonic()
    grid = {}
    for number, weights in enumerate(points, 1):
        grid[weights] = real(weights)
        if number % 20 == 0:
            sys.stderr.write(f"grid {number}/{len(points)}\n")
    best = max(points, key=lambda weights: (grid[weights], weights))
    theirs = {"weights": best, "dev": grid[best], "encodes": encodes, "seconds": time.monotonic() - began}
    from scipy.stats import spearmanr

    correlation = float(spearmanr([guesses[p] for p in points], [grid[p] for p in points]).statistic)
    before = float(spearmanr([first[p] for p in points], [grid[p] for p in points]).statistic)
    return {
        "queries": len(queries),
        "documents": len(documents),
        "surrogate": ours,
        "grid": theirs,
        "rank_correlation": correlation,
        "rank_correlation_before_learning": before,
        "uniform": grid.get((0.25,) * 4),
        "points": [[*weights, guesses[weights], grid[weights]] for weights in points],
    }


def claims(merged: dict[str, Any], differences: dict[str, float], searched: dict[str, Any]) -> list[dict[str, Any]]:
    """Hold every number against its target."""
    linear, ties = merged["theirs:linear:models"], merged["theirs:ties:models"]
    made = []
    for kind, told in (("adapter", "adapters to one adapter"), ("folder", "adapters to a model folder")):
        ours = merged[f"ours:linear:{kind}"]
        made += [
            claim(f"linear, {told}: times faster", linear["seconds"] / ours["seconds"], 10, "ratio"),
            claim(f"linear, {told}: share of the peak memory", ours["gib"] / linear["gib"], 0.2, "ratio", lower=True),
        ]
    models = merged["ours:linear:models"]
    made += [
        claim(
            "linear, full models from disk to disk: times faster", linear["seconds"] / models["seconds"], 10, "ratio"
        ),
        claim("linear, full models: share of the peak memory", models["gib"] / linear["gib"], 0.2, "ratio", lower=True),
    ]
    for kind in ("folder", "models"):
        ours = merged[f"ours:ties:{kind}"]
        made.append(
            claim(f"TIES, {kind}: seconds, times theirs", ours["seconds"] / ties["seconds"], 1.0, "ratio", lower=True)
        )
    made += [
        claim(f"{name}: share of weights that are not mergekit's to 1e-5", value, 1e-4, "share", lower=True)
        for name, value in differences.items()
    ]
    grid, found = searched["grid"], searched["surrogate"]
    made += [
        claim("grid's best minus surrogate's", grid["dev"] - found["dev"], 0.002, "dev nDCG@10", lower=True),
        claim(
            "encodes of the grid, times the surrogate's, beside the experts' own, which both need",
            (grid["encodes"] - len(RATES)) / (found["encodes"] - len(RATES)),
            50,
            "ratio",
        ),
        claim("encodes of the grid, times all of the surrogate's", grid["encodes"] / found["encodes"], 50, "ratio"),
    ]
    return made


def main() -> None:
    """Train, merge by both sides, search by both, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--grid-documents", type=int, default=250)
    parser.add_argument("--grid-queries", type=int, default=300)
    parser.add_argument("--work", type=Path, default=HERE / "work" / "merging")
    parser.add_argument("--threads", type=int, help="threads of torch (default: as many as are idle)")
    parser.add_argument("--merge", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.merge:
        worker(options)
        return
    from stm_agent.backbone.load import load_backbone
    from stm_agent.backbone.threads import choose_threads, set_threads

    before = machine()
    threads = options.threads or choose_threads()[0]
    set_threads(threads)
    shutil.rmtree(options.work, ignore_errors=True)
    options.work.mkdir(parents=True)
    spec = backbone_of(options)
    adapters, material = train_four(spec, options)
    load_backbone(spec.backbone, packed=False).save(str(options.work / "base"))
    merged = merges(options, threads)
    pairs = [
        (f"theirs:{method}:models", f"ours:{method}:{kind}")
        for method in ("linear", "ties")
        for kind in ("folder", "models")
    ]
    differences = {f"{ours}": share_apart(options.work, theirs, ours) for theirs, ours in pairs}
    searched = search_both(spec, adapters, material, options)
    record = {
        "name": "merging",
        "command": f"python benchmarks/merging.py --layers {options.layers} --steps {options.steps}"
        f" --grid-documents {options.grid_documents} --grid-queries {options.grid_queries} --repeats {options.repeats}",
        "machine": {**before, "threads": threads},
        "versions": versions(),
        "seeds": list(range(len(RATES))),
        "weights": WEIGHTS,
        "merges": merged,
        "differences": differences,
        "search": searched,
        "claims": claims(merged, differences, searched),
    }
    save(record)
    show(record["claims"])


if __name__ == "__main__":
    main()
