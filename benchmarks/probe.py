"""Does a probe of seconds order training data as a LoRA run of minutes does?

    python benchmarks/probe.py --data path/to/collections                  # tldr: about 10 minutes on two idle cores
    python benchmarks/probe.py --data path/to/collections --set medquad --other tldr --length 128 --steps 120 --batch 32

Fourteen variants of training data of one collection: more and fewer pairs, queries with wrong words, wrong positives,
titles, sentences, another collection's pairs, mixtures and queries that a script makes of a passage. Each is rated by
every probe on the search half of dev, and by a LoRA run of both sides on test. Finished variants of the same options
are kept, so a stopped run goes on. Writes ``benchmarks/results/probe.json``.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from _record import RESULTS, claim, machine, prepare, save, show, versions

HERE = Path(__file__).parent
START = "embedded:all-minilm-l6-v2"
PROBES = {"query-map": "query-map", "query-side": "query-side", "short lora": "lora"}
"""Probe -> its kind in the engine, whose steps it has; ``lora`` is the LoRA run that it is compared with."""


def noisy_queries(pairs: Sequence[Any], share: float) -> list[Any]:
    """Return pairs in whose queries a share of the words are words of other queries."""
    draw = random.Random(0)
    words = [word for pair in pairs for word in pair.query.split()]

    def noisy(text: str) -> str:
        return " ".join(draw.choice(words) if draw.random() < share else word for word in text.split())

    return [_apart(pair, query=noisy(pair.query)) for pair in pairs]


def wrong_positives(pairs: Sequence[Any], share: float) -> list[Any]:
    """Return pairs of which a share have the passage of another pair."""
    draw = random.Random(0)
    return [
        _apart(pair, positive=draw.choice(pairs).positive if draw.random() < share else pair.positive) for pair in pairs
    ]


def _apart(pair: Any, **changes: str) -> Any:
    # A group of its own, so that nothing hints at the true passages.
    return replace(pair, group=f"alone {pair.id}", **changes)


def from_passages(data: Any, count: int, write: Any) -> list[Any]:
    """Return pairs of passages and what ``write`` makes of them."""
    from stm_agent.domain.data import Pair

    names = sorted(data.collection.texts, key=_hash)[:count]
    texts = [data.collection.texts[name] for name in names]
    return [
        Pair(f"made:{name}", write(text), text, "made", f"document {name}")
        for name, text in zip(names, texts, strict=True)
    ]


def rare_words(data: Any) -> Any:
    """Return a script that takes a passage's four rarest words."""
    from collections import Counter

    frequency = Counter(word for text in data.collection.texts.values() for word in set(text.lower().split()))
    return lambda text: " ".join(sorted(set(text.lower().split()), key=lambda word: (frequency[word], word))[:4])


def _hash(text: str) -> str:
    from stm_agent.files import sha256_text

    return sha256_text(text)


def variants(data: Any, other: Any) -> dict[str, list[Any]]:
    """Return the variants of training data by name."""
    from stm_agent.domain.unlabelled import pairs_of_source

    def drawn(pairs: Sequence[Any], count: int) -> list[Any]:
        return sorted(pairs, key=lambda pair: _hash(pair.id))[:count]

    train = drawn(data.sources["train"], 1000)
    half, foreign = train[:500], drawn(other.sources["train"], 500)
    return {
        "train, 1000 pairs": train,
        "train, 500 pairs": half,
        "train, 125 pairs": train[:125],
        "train, 32 pairs": train[:32],
        "queries with 10 % wrong words": noisy_queries(half, 0.1),
        "queries with 30 % wrong words": noisy_queries(half, 0.3),
        "queries with 60 % wrong words": noisy_queries(half, 0.6),
        "25 % wrong positives": wrong_positives(half, 0.25),
        "60 % wrong positives": wrong_positives(half, 0.6),
        "sentences of the corpus": drawn(pairs_of_source(data, "sentences"), 500),
        "rarest words of passages": from_passages(data, 500, rare_words(data)),
        "first words of passages": from_passages(data, 500, lambda text: " ".join(text.split()[:6])),
        "another collection": foreign,
        "half of it another collection": [*half[:250], *foreign[:250]],
    }


def setting(data: Any, options: argparse.Namespace) -> tuple[Any, Any]:
    """Return what probes are rated with, and the test task on the same passages."""
    from stm_agent.backbone.instruction import Instruction
    from stm_agent.domain.load import LEARNING_RATE
    from stm_agent.domain.spec import BackboneSpec, TrainSpec
    from stm_agent.evaluate.bm25 import Bm25Index
    from stm_agent.evaluate.scoring import ScoredTask
    from stm_agent.evaluate.subcorpus import subcorpus
    from stm_agent.loop.halves import cut_dev
    from stm_agent.loop.probe import ProbeSetting
    from stm_agent.loop.single import build_job

    collection = data.collection
    dev, test = collection.splits["dev"], collection.splits["test"]
    search = dev.only(cut_dev(dev).search, "dev-search")
    test = test.only(sorted(test.queries, key=_hash)[: options.queries], "test")
    judged = {**search.qrels, **test.qrels}
    both = replace(search, queries={**search.queries, **test.queries}, qrels=judged)
    lexical = Bm25Index(collection.texts).run(both.queries, 20, both.ignored_ids)
    part = subcorpus(collection.texts, both, [lexical], 20, size=options.documents)
    made = ProbeSetting(
        backbone=BackboneSpec(model=START, max_length=options.length),
        train=TrainSpec(
            learning_rate=LEARNING_RATE, scale=20.0, embeddings=False, batch_size=options.batch, checkpoint_every=0
        ),
        task=ScoredTask("search", part, search),
        instruction=Instruction(),
        build=lambda job: build_job(job, options.work / "runs"),
        groups=data.groups,
        seed=options.seed,
        cache=options.work / "vectors",
    )
    return made, ScoredTask("test", part, test)


def rate(made: Any, test: Any, pairs: Sequence[Any], options: argparse.Namespace) -> dict[str, Any]:
    """Return the scores and seconds of each probe and of the LoRA run on one variant."""
    from stm_agent.errors import CheckFailed
    from stm_agent.loop.probe import probe, score_probed

    row: dict[str, Any] = {"pairs": len(pairs)}
    untrained = made.untrained().ndcg_at_10
    for name, kind in PROBES.items():
        began = time.monotonic()
        try:
            search = probe(made, pairs, kind).scores.ndcg_at_10
        except CheckFailed as error:
            # Data that cannot be trained on leaves the model as it is.
            search, row[f"{name} failed"] = untrained, str(error)
        row[name] = {"search": search, "seconds": time.monotonic() - began}
    began = time.monotonic()
    try:
        done = probe(made, pairs, "lora", steps=options.steps)
        reached = done.scores.ndcg_at_10, score_probed(made, done.model, test).ndcg_at_10
    except CheckFailed as error:
        reached = untrained, made.untrained(test).ndcg_at_10
        row["lora failed"] = str(error)
    row["lora"] = {"search": reached[0], "test": reached[1], "seconds": time.monotonic() - began}
    return row


def correlation(rows: Sequence[dict[str, Any]], name: str, split: str) -> dict[str, float]:
    """Return Spearman's correlation of a probe with the LoRA run, with a bootstrap interval over variants."""
    import numpy as np
    from scipy.stats import spearmanr

    values = np.array([[row[name]["search"], row["lora"][split]] for row in rows])
    draw = np.random.default_rng(0)
    samples = [values[draw.integers(0, len(values), len(values))] for _ in range(2000)]
    # A sample of one variant alone has no order.
    resampled = [spearmanr(*sample.T).statistic for sample in samples if len(np.unique(sample, axis=0)) > 2]
    low, high = np.quantile(resampled, [0.025, 0.975])
    return {"spearman": float(spearmanr(*values.T).statistic), "low": float(low), "high": float(high)}


def claims(rows: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the claims over the finished variants."""
    from statistics import median

    from stm_agent.loop.probe import DEFAULT_PROBE

    found = [claim("variants of training data", len(rows), 11, "variants")]
    for name, kind in PROBES.items():
        seconds = median(row[name]["seconds"] for row in rows.values())
        share = seconds / median(row["lora"]["seconds"] for row in rows.values())
        default = ", the default" if kind == DEFAULT_PROBE else ""
        for split in ("test", "search"):
            agreed = correlation(list(rows.values()), name, split)
            text = f"{name}{default}: rank correlation of its search nDCG@10 with the LoRA run's {split} nDCG@10"
            found.append(claim(text, agreed["spearman"], 0.7, "Spearman", **agreed, seconds=seconds, share=share))
        found.append(claim(f"{name}{default}: median seconds of a variant", seconds, 60, "seconds", lower=True))
    return found


DECIDES = ("set", "other", "documents", "queries", "length", "steps", "batch", "seed")
"""Options that decide the rows."""


def main() -> None:
    """Rate what is missing and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with collections in BEIR layout")
    parser.add_argument("--set", default="tldr", help="the collection that is scored")
    parser.add_argument("--other", default="medquad", help="the collection that foreign pairs come from")
    parser.add_argument("--documents", type=int, default=400, help="passages that are scored")
    parser.add_argument("--queries", type=int, default=160, help="test queries")
    parser.add_argument("--length", type=int, default=32, help="tokens of a text, so that a LoRA run fits a benchmark")
    parser.add_argument("--steps", type=int, default=30, help="of a LoRA run")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=HERE / "work" / "probe")
    parser.add_argument("--fresh", action="store_true", help="forget finished variants")
    options = parser.parse_args()
    if options.fresh:
        shutil.rmtree(options.work, ignore_errors=True)
    prepare(options.work, keep=True)
    from stm_agent.domain.build import build_domain_data
    from stm_agent.domain.spec import BeirCollection

    data, other = (
        build_domain_data(BeirCollection(path=(options.data / name).resolve()), options.work)
        for name in (options.set, options.other)
    )
    made, test = setting(data, options)
    chosen = {name: getattr(options, name) for name in DECIDES}
    path = RESULTS / "probe.json"
    stored = json.loads(path.read_text()) if path.exists() and not options.fresh else {}
    rows: dict[str, Any] = stored.get("variants", {}) if stored.get("options") == chosen else {}
    base = {"search": made.untrained().ndcg_at_10}
    for name, pairs in variants(data, other).items():
        if name not in rows:
            rows[name] = rate(made, test, pairs, options)
        flags = " ".join(f"--{key} {value}" for key, value in chosen.items())
        record = {
            "name": "probe",
            "command": f"python benchmarks/probe.py --data DATA {flags}",
            "machine": machine(),
            "versions": versions(),
            "seeds": [options.seed],
            "options": chosen,
            "untrained": base,
            "variants": rows,
            "claims": claims(rows) if len(rows) > 3 else [],
        }
        save(record)
    show(record["claims"])


if __name__ == "__main__":
    main()
