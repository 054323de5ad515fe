"""What a search for the retrieval instruction costs, and what it finds: none, best seed, a generic pool, GEPA.

    python benchmarks/instructions.py path/to/scifact path/to/pubmedqa path/to/medquad      # about 35 minutes
    python benchmarks/instructions.py path/to/scifact --tokens 128 --steps 300 --documents 100000

Cost is measured on the first collection, whole, with 300 of its train queries: ``mteb.evaluate`` of the model, one
instruction by the fast scorer, and a search of 50 candidates from an empty cache, in one process. Quality: for every
collection, the base model and one trained on its train pairs; each row is the winner of the searching half of dev,
whether the accepting half agreed or not. Test is opened once a collection, for all rows together; losing rows stay.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from _record import claim, machine, prepare, save, show, versions

HERE = Path(__file__).parent
QUERIES, CANDIDATES = 300, 50
TAUGHT = 600
"""Passages of train beside what dev and test need, at least."""
WAYS = {
    "none": None,
    "best seed": {"reflections": 0},
    "GP pool": {"reflections": 0, "pool": 10},
    "GEPA": {"reflections": 8},
}


def backbone(options: argparse.Namespace, tokens: int | None = None) -> Any:
    """Return the decoder at the asked size."""
    from stm_agent.domain.spec import BackboneSpec

    return BackboneSpec(
        model="embedded:smollm2-135m",
        layers=options.layers,
        attention="bidirectional",
        pooling="mean",
        max_length=tokens or options.tokens,
    )


def cost(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Time mteb, one instruction, and a search, all of the same model on the same task."""
    import tempfile

    from stm_agent.backbone.encoder import TextEncoder
    from stm_agent.backbone.instruction import Instruction
    from stm_agent.backbone.load import load_backbone
    from stm_agent.domain.beir import read_beir
    from stm_agent.domain.collection import Collection, Split
    from stm_agent.evaluate.cache import EmbeddingCache
    from stm_agent.evaluate.tasks import evaluate_with_mteb, mteb_task
    from stm_agent.instruct.scorer import InstructionScorer

    whole = read_beir(folder)
    train = whole.splits["train"]
    names = list(train.queries)[:QUERIES]
    split = Split("dev", {n: train.queries[n] for n in names}, {n: train.qrels[n] for n in names})
    collection = Collection(whole.name, whole.documents, {"dev": split}, "", "")
    model = load_backbone(backbone(options, options.cost_tokens))
    encoder = TextEncoder(model)
    instruction = Instruction("Given a claim, find documents that support or refute it.")
    encoder.encode(list(split.queries.values())[:64])
    # As mteb is used: with the instruction as the query prompt, and every text encoded.
    model.prompts = {"query": instruction.query_prefix, "document": ""}
    by_mteb, mteb_seconds = timed(lambda: evaluate_with_mteb(model, mteb_task(collection, "dev"))["ndcg_at_10"])
    with tempfile.TemporaryDirectory() as place:
        scorer = InstructionScorer(encoder, EmbeddingCache(Path(place)), collection.texts, split, Instruction())
        ours, first = timed(lambda: scorer.score(instruction).ndcg_at_10)
        others = [timed(lambda n=n: scorer.score(Instruction(f"Find text number {n}.")))[1] for n in range(5)]
    with tempfile.TemporaryDirectory() as place:
        _, search_seconds = timed(lambda: fifty(encoder, EmbeddingCache(Path(place) / "v"), collection, Path(place)))
    each = sorted([first, *others])[3]
    return {
        "collection": whole.name,
        "passages": len(collection.documents),
        "queries": len(names),
        "tokens": options.cost_tokens,
        "mteb_seconds": mteb_seconds,
        "instruction_seconds": each,
        "search_seconds": search_seconds,
        "mteb_ndcg_at_10": by_mteb,
        # mteb rounds what it reports to five places.
        "ndcg_at_10": round(ours, 5),
    }


def fifty(encoder: Any, cache: Any, collection: Any, place: Path) -> Any:
    """Search among 50 candidates, everything included: corpus, sub-corpus, finalists by mteb."""
    from stm_agent.backbone.instruction import Instruction
    from stm_agent.domain.spec import InstructSpec
    from stm_agent.instruct.search import search_instruction

    kinds = ("claim", "question", "topic", "statement", "finding")
    asked = (
        "documents",
        "abstracts",
        "passages",
        "studies",
        "texts",
        "evidence",
        "reports",
        "papers",
        "proof",
        "facts",
    )
    seeds = [Instruction(f"Given a {kind}, find {what} about it.") for kind in kinds for what in asked]
    return search_instruction(
        encoder=encoder,
        cache=cache,
        searching=searching_half(collection),
        documents=collection.texts,
        seeds=seeds[:CANDIDATES],
        incumbent=Instruction(),
        reflection=None,
        spec=InstructSpec(reflections=0),
        trace=place / "traces.jsonl",
        seed=0,
        task="",
    )


def timed(call: Any) -> tuple[Any, float]:
    """Return what a call gives and its seconds."""
    began = time.monotonic()
    return call(), time.monotonic() - began


def cut(folder: Path, options: argparse.Namespace) -> Path:
    """Write a part of a collection: what is judged for dev and test first, then for train; ``--documents`` in all."""
    from stm_agent.domain.beir import read_beir, write_beir
    from stm_agent.domain.collection import Collection
    from stm_agent.domain.text import share

    whole = read_beir(folder)
    judged = {d for name in ("dev", "test") for grades in whole.splits[name].qrels.values() for d in grades}
    taught = {d for grades in whole.splits["train"].qrels.values() for d in grades}
    order = sorted(whole.documents, key=lambda one: (one.id not in judged, one.id not in taught, share(one.id)))
    kept = tuple(order[: max(options.documents, len(judged) + TAUGHT)])
    names = {one.id for one in kept}
    splits = {name: split for name, split in whole.splits.items() if name in ("dev", "test")}
    train = whole.splits["train"]
    cut_grades = {q: {d: v for d, v in grades.items() if d in names} for q, grades in train.qrels.items()}
    inside = {q: grades for q, grades in cut_grades.items() if any(v > 0 for v in grades.values())}
    splits["train"] = type(train)("train", {q: train.queries[q] for q in inside}, inside)
    place: Path = options.work / "data" / whole.name
    if not place.exists():
        write_beir(Collection(whole.name, kept, splits, whole.licence, whole.source), place)
    return place


def trained(folder: Path, options: argparse.Namespace) -> Any:
    """Train one expert on the collection's train pairs; return it as an encoder."""
    from stm_agent.backbone.encoder import TextEncoder
    from stm_agent.backbone.load import load_model
    from stm_agent.domain.load import domain_of_collection
    from stm_agent.loop.train_single import train_domain_expert
    from stm_agent.workspace import runs_folder

    spec = domain_of_collection(folder)
    train = spec.train.model_copy(update={"learning_rate": 2e-3})
    spec = spec.model_copy(update={"backbone": backbone(options), "train": train})
    output = options.work / "trained" / folder.name
    if not output.exists():
        runs = runs_folder(options.work)
        train_domain_expert(spec, options.work, runs, "train", output, start=None, steps=options.steps, seed=0)
    return TextEncoder(load_model(str(output / "model")))


def quality(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Search every way for both models; score the winners on dev's accepting half and, once, on test."""
    from stm_agent.backbone.encoder import TextEncoder
    from stm_agent.backbone.instruction import Instruction
    from stm_agent.backbone.load import load_backbone
    from stm_agent.domain.beir import read_beir
    from stm_agent.evaluate.cache import EmbeddingCache
    from stm_agent.evaluate.scoring import score_split
    from stm_agent.evaluate.significance import confidence_interval, paired_bootstrap
    from stm_agent.loop.halves import cut_dev
    from stm_agent.workspace import runs_folder

    collection = read_beir(cut(folder, options))
    runs = runs_folder(options.work)
    cache = EmbeddingCache(runs / ".cache" / "vectors")
    models = {"base": TextEncoder(load_backbone(backbone(options))), "trained": trained(cut(folder, options), options)}
    dev = collection.splits["dev"]
    accepting = dev.only(cut_dev(dev).accept, "accept")
    rows: dict[str, Any] = {}
    for model, encoder in models.items():
        found = {way: search(encoder, collection, way, f"{collection.name}-{model}", options) for way in WAYS}
        for split in (accepting, collection.splits["test"]):
            scores = {
                way: score_split(cache, encoder, collection.texts, split, one[0] if one else Instruction())
                for way, one in found.items()
            }
            for way, score in scores.items():
                interval = confidence_interval(score.per_query, seed=0)
                versus = paired_bootstrap(score.per_query, scores["none"].per_query, seed=0)
                row = rows.setdefault(model, {}).setdefault(way, describe(found[way]))
                row["test" if split.name == "test" else "dev"] = {
                    "ndcg_at_10": score.ndcg_at_10,
                    "low": interval.low,
                    "high": interval.high,
                    "minus_none": versus.delta,
                    "minus_none_low": versus.low,
                    "minus_none_high": versus.high,
                }
    return {"passages": len(collection.documents), "rows": rows}


def search(encoder: Any, collection: Any, way: str, name: str, options: argparse.Namespace) -> Any:
    """Return the winner and the whole outcome of one way to search; None: no search."""
    from stm_agent.backbone.instruction import Instruction
    from stm_agent.domain.spec import InstructSpec
    from stm_agent.evaluate.cache import EmbeddingCache
    from stm_agent.instruct.search import search_instruction
    from stm_agent.instruct.seeds import load_seeds
    from stm_agent.llm.budget import Budget
    from stm_agent.llm.open import open_client
    from stm_agent.llm.options import LlmOptions
    from stm_agent.workspace import prompt_path, runs_folder

    plan = WAYS[way]
    if plan is None:
        return None
    spec = InstructSpec.model_validate(plan)
    task = "Given a query, find the passages that answer it."
    runs = runs_folder(options.work)
    place = runs / f"{name}-{way.replace(' ', '-')}"
    asks = spec.pool or spec.reflections
    client = None
    if asks:
        client = open_client(
            LlmOptions(model=options.generator),
            cache=runs / ".cache" / "llm",
            ledger=place / "llm.jsonl",
            budget=Budget(),
        )
    seeds = load_seeds(prompt_path(options.work, "retrieval.yaml"), task=task) if way != "GP pool" else ()
    try:
        found = search_instruction(
            encoder=encoder,
            cache=EmbeddingCache(runs / ".cache" / "vectors"),
            searching=searching_half(collection),
            documents=collection.texts,
            seeds=seeds,
            incumbent=Instruction(),
            reflection=client,
            spec=spec,
            trace=place / "traces.jsonl",
            seed=0,
            task=task,
        )
    finally:
        if client:
            client.close()
    return found.winner, found


def searching_half(collection: Any) -> Any:
    """Return the half of dev that a search may look at."""
    from stm_agent.loop.halves import cut_dev

    dev = collection.splits["dev"]
    return dev.only(cut_dev(dev).search, "search")


def describe(found: Any) -> dict[str, Any]:
    """Return what a row says of its search."""
    if found is None:
        return {"instruction": "", "tried": 0}
    winner, outcome = found
    told = {"instruction": winner.query, "tried": outcome.tried, "agree": outcome.agree}
    return {**told, "origin": winner.origin}


def claims(spent: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one claim for each number."""
    ratio = spent["mteb_seconds"] / spent["instruction_seconds"]
    off = abs(spent["ndcg_at_10"] - spent["mteb_ndcg_at_10"])
    evaluations = spent["search_seconds"] / spent["mteb_seconds"]
    return [
        claim("one instruction: times cheaper than mteb.evaluate of the same model and task", ratio, 50.0, "ratio"),
        claim("one instruction: nDCG@10, difference from mteb's", off, 1e-6, "nDCG@10", lower=True),
        claim(
            f"a search of {CANDIDATES} candidates from an empty cache, in mteb.evaluate calls",
            evaluations,
            2.0,
            "calls",
            lower=True,
        ),
    ]


def main() -> None:
    """Measure cost and quality; the result file is written anew after each collection."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collections", type=Path, nargs="+", help="folders in BEIR layout with train, dev and test")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--cost-tokens", type=int, default=128, help="length for the cost; a made domain's own")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--documents", type=int, default=1500, help="passages of each collection, for quality")
    parser.add_argument("--generator", default="embedded:smollm2-135m")
    parser.add_argument("--work", type=Path, default=HERE / "work" / "instructions")
    parser.add_argument("--keep", action="store_true", help="go on from what --work holds")
    options = parser.parse_args()
    from stm_agent.files import read_json, write_json

    options.work = options.work.absolute()
    threads = prepare(options.work, keep=options.keep)
    kept = options.work / "cost.json"
    # Timed once, alone; a benchmark that goes on does not time again.
    spent = read_json(kept) if kept.exists() else cost(options.collections[0], options)
    write_json(kept, spent)
    shown = claims(spent)
    show(shown)
    results: dict[str, Any] = {}
    for folder in options.collections:
        results[folder.name] = quality(folder, options)
        names = " ".join(one.name for one in options.collections)
        save(
            {
                "name": "instructions",
                "command": f"python benchmarks/instructions.py {names} --layers {options.layers} "
                f"--tokens {options.tokens} --steps {options.steps} --documents {options.documents}",
                "machine": {**machine(), "threads": threads},
                "versions": versions(),
                "seeds": [0],
                "generator": options.generator,
                "cost": spent,
                "results": results,
                "claims": shown,
            }
        )


if __name__ == "__main__":
    main()
