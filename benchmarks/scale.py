"""Large corpora: exact search of a million vectors, what rounding costs, and how the cost of each stage grows.

    python benchmarks/scale.py                    # about 6 minutes on two cores, 3 GiB of disk
    python benchmarks/scale.py --million          # the stages at 1,000,000 passages too, instead of extrapolated
    python benchmarks/scale.py --vectors 100000   # a smaller search

Every search and every stage runs in a process of its own, so that its peak memory is its own. Vectors of the search are
drawn around 1,000 centres, which is harder for a search that prunes than evenly drawn ones. Stages are measured with
stored vectors: encoding is a rate of this machine, measured once, times the passages.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _record import claim, job, machine, prepare, save, show, versions
from numpy.typing import NDArray

DIMENSION, QUERIES, TOP = 384, 300, 100
FORMATS = ("float32", "float16", "int8")
SIZES = (1_000, 10_000, 100_000)
MILLION = 1_000_000
PAIRS, JUDGED, EXPERTS, WEIGHTINGS = 200, 100, 3, 64
ENCODED = 256
WORDS_OF_A_PASSAGE = 60
STAGES = ("mining", "scoring", "merge search")


def unit(random_: np.random.Generator, rows: int, centres: NDArray[np.float32]) -> NDArray[np.float32]:
    """Draw normalised vectors around centres."""
    near = centres[random_.integers(0, len(centres), rows)]
    vectors = near + random_.standard_normal((rows, centres.shape[1]), dtype=np.float32) * np.float32(0.7)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def centres_of(random_: np.random.Generator) -> NDArray[np.float32]:
    """Draw the centres."""
    return random_.standard_normal((1000, DIMENSION), dtype=np.float32)


def shard_files(folder: Path, number_format: str, count: int) -> list[tuple[Path, int]]:
    """Return the path and size of every shard."""
    from stm_agent.evaluate.shards import SHARD

    sizes = [min(SHARD, count - begin) for begin in range(0, count, SHARD)]
    return [(folder / number_format / f"{number}.safetensors", size) for number, size in enumerate(sizes)]


def write_vectors(folder: Path, count: int, seed: int) -> None:
    """Write the same vectors in every number format, and the queries."""
    from stm_agent.evaluate.shards import write_shard

    random_ = np.random.default_rng(seed)
    centres = centres_of(random_)
    files = [shard_files(folder, name, count) for name in FORMATS]
    for row in zip(*files, strict=True):
        vectors = unit(random_, row[0][1], centres)
        for (path, _), name in zip(row, FORMATS, strict=True):
            write_shard(path, vectors, name)
    np.save(folder / "queries.npy", unit(random_, QUERIES, centres))


def search_worker(options: argparse.Namespace) -> dict[str, Any]:
    """Open the shards of one format, verify them, and search."""
    import torch

    from stm_agent.evaluate.search import top_k
    from stm_agent.evaluate.shards import ShardedVectors, read_shard

    torch.set_num_threads(options.threads)
    queries = np.load(options.work / "queries.npy")
    began, cpu = time.monotonic(), time.process_time()
    files = shard_files(options.work, options.search, options.vectors)
    vectors = ShardedVectors(tuple(read_shard(path, options.search, (size, DIMENSION)) for path, size in files))
    opened = time.monotonic()
    scores, columns = top_k(queries, vectors, TOP)
    done = time.monotonic()
    np.savez(options.work / f"found-{options.search}.npz", scores=scores, columns=columns)
    return {
        "verify_seconds": opened - began,
        "search_seconds": done - opened,
        "seconds": done - began,
        "cpu_seconds": time.process_time() - cpu,
        "cosine_off_by_at_most": vectors.off,
    }


def exact_worker(options: argparse.Namespace) -> dict[str, Any]:
    """Compare what was found in float32 with faiss over the same vectors, a shard at a time."""
    import faiss

    faiss.omp_set_num_threads(options.threads)
    queries, found = np.load(options.work / "queries.npy"), np.load(options.work / "found-float32.npz")
    best = np.full((QUERIES, TOP), -np.inf, dtype=np.float32)
    first = 0
    from stm_agent.evaluate.shards import read_shard

    for path, size in shard_files(options.work, "float32", options.vectors):
        block = read_shard(path, "float32", (size, DIMENSION)).open().rows(slice(None))
        index = faiss.IndexFlatIP(DIMENSION)
        index.add(block)
        both = np.concatenate([best, index.search(queries, min(TOP, size))[0]], axis=1)
        best = -np.sort(-both, axis=1)[:, :TOP]
        first += size
    return {"largest_difference": float(np.abs(best - found["scores"]).max())}


def overlap(work: Path, number_format: str) -> float:
    """Return the share of the exact first 100 that a format finds."""
    exact, found = (np.load(work / f"found-{name}.npz")["columns"] for name in ("float32", number_format))
    return float(np.mean([len(set(a) & set(b)) / TOP for a, b in zip(exact.tolist(), found.tolist(), strict=True)]))


def loss_worker(options: argparse.Namespace) -> dict[str, Any]:
    """Score scifact's test split by all-MiniLM-L6-v2 with vectors in each format; measure the encoding rate."""
    from stm_agent.backbone.instruction import Instruction
    from stm_agent.backbone.threads import set_threads
    from stm_agent.domain.beir import read_beir
    from stm_agent.evaluate.baselines import static_encoder
    from stm_agent.evaluate.cache import EmbeddingCache
    from stm_agent.evaluate.scoring import score_split

    set_threads(options.threads)
    collection = read_beir(options.data / "scifact")
    encoder, cache = static_encoder("embedded:all-minilm-l6-v2"), EmbeddingCache(options.work / "cache")
    texts = list(collection.texts.values())
    encoder.encode(texts[:8])
    began = time.monotonic()
    encoder.encode(texts[:ENCODED])
    rate = ENCODED / (time.monotonic() - began)
    scores = {}
    exact = cache.encode(encoder, texts)
    # Every format rounds the very same vectors.
    encoder.encode = _stored(cache, encoder.encode, texts, exact)  # type: ignore[method-assign]
    for name in ("auto", *FORMATS[1:]):
        encoder.vector_format = name
        scores[name] = score_split(
            cache, encoder, collection.texts, collection.splits["test"], Instruction()
        ).ndcg_at_10
    return {"texts_per_second": rate, "ndcg_at_10": {**scores, "float32": scores.pop("auto")}}


def _stored(cache: Any, encode: Any, texts: Sequence[str], vectors: NDArray[np.float32]) -> Any:
    rows = dict(zip(texts, vectors, strict=True))

    def look_up(asked: Sequence[str], *, prefix: str = "") -> NDArray[np.float32]:
        if all(text in rows for text in asked):
            return np.stack([rows[text] for text in asked])
        return encode(asked, prefix=prefix)

    return look_up


class Drawn:
    """An encoder whose vectors are drawn by a text's number, so that stages are measured without encoding."""

    identity, dimension, vector_format = "drawn", DIMENSION, "auto"

    def __init__(self, texts: Sequence[str], seed: int) -> None:
        random_ = np.random.default_rng(seed)
        self._rows = {text: number for number, text in enumerate(texts)}
        self._vectors = unit(random_, len(texts), centres_of(random_))

    def room(self, prefix: str) -> int | None:
        return None

    def encode(self, texts: Sequence[str], *, prefix: str = "") -> NDArray[np.float32]:
        return self._vectors[[self._rows[text] for text in texts]]


def passages(count: int, seed: int) -> dict[str, str]:
    """Write passages of words drawn by Zipf's law from 50,000."""
    random_ = np.random.default_rng(seed)
    ranks = np.arange(1, 50_001)
    shares = 1 / ranks / (1 / ranks).sum()
    drawn = random_.choice(50_000, size=(count, WORDS_OF_A_PASSAGE), p=shares)
    return {f"d{number}": " ".join(f"w{word}" for word in row) for number, row in enumerate(drawn.tolist())}


def stage_worker(options: argparse.Namespace) -> dict[str, Any]:
    """Run one stage over a number of passages and return its seconds."""
    import torch

    torch.set_num_threads(options.threads)
    stage, count = options.stage.rsplit(":", 1)
    return {"seconds": {"mining": _mining, "scoring": _scoring, "merge search": _merging}[stage](int(count), options)}


def _mining(count: int, options: argparse.Namespace) -> float:
    from stm_agent.domain.data import Pair
    from stm_agent.domain.spec import MineSpec
    from stm_agent.mine.negatives import mine
    from stm_agent.mine.prompted import PromptedEncoder

    pool = passages(count, options.seed)
    chosen = random.Random(options.seed).sample(list(pool), PAIRS)
    texts = {name: " ".join(pool[name].split()[:8]) for name in chosen}
    pairs = [Pair(f"{name}:{name}", f"q {texts[name]}", pool[name], "train", name) for name in chosen]
    encoder = Drawn([*pool.values(), *(pair.query for pair in pairs)], options.seed)
    began = time.monotonic()
    groups = {name: frozenset([name]) for name in chosen}
    mine(pairs, pool, groups, spec=MineSpec(documents=0), encoder=PromptedEncoder(encoder))
    return time.monotonic() - began


def _scoring(count: int, options: argparse.Namespace) -> float:
    from stm_agent.evaluate.metrics import score
    from stm_agent.evaluate.ranking import rank

    random_ = np.random.default_rng(options.seed)
    centres = centres_of(random_)
    documents, queries = unit(random_, count, centres), unit(random_, QUERIES, centres)
    names, asked = [f"d{number}" for number in range(count)], [f"q{number}" for number in range(QUERIES)]
    qrels = {query: {names[number % count]: 1} for number, query in enumerate(asked)}
    began = time.monotonic()
    score(rank(asked, queries, names, documents, k=TOP), qrels)
    return time.monotonic() - began


def _merging(count: int, options: argparse.Namespace) -> float:
    from stm_agent.merge.search import search
    from stm_agent.merge.surrogate import Task

    random_ = np.random.default_rng(options.seed)
    centres = centres_of(random_)
    queries = np.stack([unit(random_, JUDGED, centres) for _ in range(1 + EXPERTS)])
    documents = [unit(random_, count, centres) for _ in range(1 + EXPERTS)]
    names, asked = [f"d{number}" for number in range(count)], [f"q{number}" for number in range(JUDGED)]
    qrels = {query: {names[number % count]: 1} for number, query in enumerate(asked)}
    began = time.monotonic()
    search(Task(asked, names, qrels, queries, documents), [], budget=WEIGHTINGS, step=0.1, seed=options.seed)
    return time.monotonic() - began


def growth(costs: dict[int, float]) -> float:
    """Return the exponent b of cost = a * passages ** b between the two largest sizes."""
    small, large = sorted(costs)[-2:]
    return math.log(costs[large] / costs[small]) / math.log(large / small)


def stage_table(options: argparse.Namespace, rate: float) -> dict[str, Any]:
    """Return seconds of every stage at every size, growth exponents, and a million: measured or extrapolated."""
    sizes = (*SIZES, MILLION) if options.million else SIZES
    table: dict[str, Any] = {}
    for stage in STAGES:
        done = {size: work(options, "--stage", f"{stage}:{size}") for size in sizes}
        costs = {size: row["result"]["seconds"] for size, row in done.items()}
        table[stage] = {
            "seconds": {str(size): round(seconds, 3) for size, seconds in costs.items()},
            "peak_gib": {str(size): round(row["peak_gib"], 2) for size, row in done.items()},
            "growth_exponent": round(growth(costs), 3),
        }
        if not options.million:
            largest = max(costs)
            ahead = costs[largest] * (MILLION / largest) ** max(growth(costs), 1.0)
            table[stage]["extrapolated_seconds"] = {str(MILLION): round(ahead, 1)}
    table["encoding"] = {
        "rate_texts_per_second": round(rate, 1),
        "seconds_by_the_rate": {str(size): round(size / rate, 1) for size in (*SIZES, MILLION)},
        "growth_exponent": 1.0,
    }
    return table


def work(options: argparse.Namespace, *flags: str) -> dict[str, Any]:
    """Run a part of the benchmark in a process of its own, unless ``--keep`` finds its result."""
    stored = options.work / "parts" / f"{'-'.join(flags).strip('-')}.json"
    if options.keep and stored.is_file():
        return dict(json.loads(stored.read_text()))
    same = ["--work", str(options.work), "--data", str(options.data), "--vectors", str(options.vectors)]
    same += ["--threads", str(options.threads), "--seed", str(options.seed)]
    done = job([sys.executable, str(Path(__file__).resolve()), *same, *flags])
    stored.parent.mkdir(exist_ok=True)
    stored.write_text(json.dumps(done))
    return done


def claims(
    searches: dict[str, Any], off: float, scores: dict[str, float], stages: dict[str, Any], count: int
) -> list[Any]:
    """Return what is claimed."""
    text = f"{count:,} vectors of {DIMENSION} x {QUERIES} queries, exact top-{TOP}"
    rows = [
        claim(f"{text}, float32: seconds", searches["float32"]["seconds"], 60, "seconds", lower=True),
        claim(f"{text}, float32: peak memory", searches["float32"]["peak_gib"], 2, "GiB", lower=True),
        claim(f"{text}, float16: seconds", searches["float16"]["seconds"], 60, "seconds", lower=True),
        claim(f"{text}, float16: peak memory", searches["float16"]["peak_gib"], 2, "GiB", lower=True),
        claim(f"{text}: largest difference of a score from faiss IndexFlatIP", off, 1e-5, "cosine", lower=True),
        claim("float16 finds of the exact first 100", searches["float16"]["overlap"], 0.99, "share"),
        claim("int8 finds of the exact first 100", searches["int8"]["overlap"], 0.9, "share"),
    ]
    for name, most in (("float16", 0.0005), ("int8", 0.002)):
        lost = scores["float32"] - scores[name]
        rows.append(claim(f"nDCG@10 of all-MiniLM-L6-v2 on scifact lost by {name}", lost, most, "nDCG@10", lower=True))
    for stage in STAGES:
        exponent = stages[stage]["growth_exponent"]
        rows.append(claim(f"{stage}: growth exponent from 10,000 passages on", exponent, 1.1, "exponent", lower=True))
    return rows


def options_of() -> argparse.Namespace:
    """Return the flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder that holds scifact in BEIR layout")
    parser.add_argument("--vectors", type=int, default=MILLION)
    parser.add_argument("--million", action="store_true", help="measure the stages at 1,000,000 passages too")
    parser.add_argument("--keep", action="store_true", help="continue with the parts of a run that was stopped")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path(__file__).parent / "work" / "scale")
    parser.add_argument("--threads", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--search", help=argparse.SUPPRESS)
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    parser.add_argument("--exact", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--loss", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure, write the record and print the claims."""
    options = options_of()
    workers = ((options.search, search_worker), (options.stage, stage_worker))
    for asked, worker in (*workers, (options.exact, exact_worker), (options.loss, loss_worker)):
        if asked:
            sys.stdout.write(json.dumps(worker(options)))
            return
    before = machine()
    options.work.mkdir(parents=True, exist_ok=True)
    options.threads = prepare(options.work, keep=options.keep)
    options.data = options.data.resolve()
    if not (options.keep and (options.work / "queries.npy").is_file()):
        write_vectors(options.work, options.vectors, options.seed)
    searches = {}
    for name in FORMATS:
        done = work(options, "--search", name)
        searches[name] = {**done["result"], "peak_gib": done["peak_gib"]}
        searches[name]["overlap"] = overlap(options.work, name)
    off = work(options, "--exact")["result"]["largest_difference"]
    loss = work(options, "--loss")["result"]
    stages = stage_table(options, loss["texts_per_second"])
    record = {
        "name": "scale",
        "command": f"python benchmarks/scale.py --vectors {options.vectors}{' --million' if options.million else ''}"
        f" --seed {options.seed}",
        "machine": {**before, "threads": options.threads},
        "versions": versions(),
        "seeds": [options.seed],
        "vectors": options.vectors,
        "search": searches,
        "scifact": loss,
        "stages": stages,
        "claims": claims(searches, off, loss["ndcg_at_10"], stages, options.vectors),
    }
    save(record)
    show(record["claims"])
    shutil.rmtree(options.work, ignore_errors=True)


if __name__ == "__main__":
    main()
