"""Each expert in STM's four variants beside base, all-in-one, BM25 and all-MiniLM-L6-v2: dev and test, losers too.

    python benchmarks/experts.py path/to/scifact                       # about 40 minutes on two cores
    python benchmarks/experts.py path/to/scifact path/to/medquad --layers 6 --tokens 128 --steps 200 --seeds 0 1 2

Nothing is chosen here: every variant is trained for all its steps and scored on dev and, at the end, on test, so
that a reader can see what the loop's probes choose among. ``FT+SHN`` has one mined or written hard negative for
each pair, ``+PO`` the instruction. Intervals are paired bootstraps on the queries, seed by seed.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

from _record import claim, machine, prepare, save, show, versions

HERE = Path(__file__).parent
STEPS_OF_WRITTEN = 8


def domain_of(folder: Path, options: argparse.Namespace) -> Any:
    """Return the collection's domain at the asked size: an expert on its train pairs, one on written queries."""
    from stm_agent.domain.load import domain_of_collection
    from stm_agent.domain.spec import ExpertSpec, NegativeSpec

    spec = domain_of_collection(folder)
    negatives = NegativeSpec(synthetic=1)
    experts = (
        ExpertSpec(name="train", sources=("train",), steps=options.steps, negatives=negatives),
        ExpertSpec(name="written", sources=("written",), steps=STEPS_OF_WRITTEN, start="train", learning_rate=2e-4),
    )
    changes = {
        "backbone": spec.backbone.model_copy(update={"layers": options.layers, "max_length": options.tokens}),
        "train": spec.train.model_copy(update={"learning_rate": options.rate}),
        "synthesize": spec.synthesize.model_copy(update={"pairs": 24, "queries": 36}),
        "general": (),
        "experts": experts,
    }
    return spec.model_copy(update=changes)


def one(folder: Path, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train and score everything for one collection and seed."""
    from stm_agent.cli.output import screen_observer
    from stm_agent.loop.data import prepare_training_data
    from stm_agent.loop.data_jobs import first_miner
    from stm_agent.loop.options import Options
    from stm_agent.loop.prepare import open_context
    from stm_agent.loop.runs import RunFolder
    from stm_agent.workspace import runs_folder

    spec = domain_of(folder, options)
    runs = runs_folder(options.work)
    run = RunFolder(runs, spec.name, {"benchmark": "experts", "seed": seed, "domain": spec.model_dump(mode="json")})
    try:
        with open_context(
            spec, Options(seed=seed), run, workspace=options.work, runs=runs, observer=screen_observer()
        ) as context:
            training_data = prepare_training_data(context, first_miner(spec))
            models = train_variants(context, training_data)
            return score_all(context, models)
    finally:
        run.close()


def train_variants(context: Any, training_data: Any) -> dict[str, tuple[Any, Any]]:
    """Return row name -> (model, instruction) of base, all experts in all variants, and the controls."""
    from stm_agent.backbone.instruction import Instruction
    from stm_agent.loop.controls import source_draws
    from stm_agent.loop.data import pairs_of
    from stm_agent.loop.variants import variants

    # The first seed of prompts/: the domain's own task line.
    instruction, none = Instruction(context.spec.task, origin="seed:task"), Instruction()
    models: dict[str, tuple[Any, Any]] = {
        "base": (context.backbone, none),
        "base +PO": (context.backbone, instruction),
    }
    adapters: dict[tuple[str, str], Path] = {}
    for expert in context.spec.experts:
        pairs = pairs_of(context, expert, training_data)
        for variant in variants(expert, instruction):
            start = adapters.get((expert.start or "", variant.label))
            context.observer({"kind": "stage", "name": "train", "text": f"{expert.name} {variant.label}"})
            model = train(context, variant.spec, pairs, training_data, start, variant.instruction)
            (adapters[expert.name, variant.label],) = model.adapters
            models[f"{expert.name} {variant.label}"] = (model, variant.instruction)
    everything = context.spec.experts[0].model_copy(
        update={
            "name": "all-in-one",
            "sources": ("train", "written"),
            "steps": sum(expert.steps for expert in context.spec.experts),
        }
    )
    pairs = pairs_of(context, everything, training_data)
    counts = Counter(pair.source for pair in pairs)
    draws = source_draws(context.spec.experts, counts, context.spec.train.batch_size)
    everything = everything.model_copy(
        update={"source_weights": {source: drawn / counts[source] for source, drawn in draws.items()}}
    )
    models["all-in-one"] = (train(context, everything, pairs, training_data, None, none), none)
    return models


def train(context: Any, spec: Any, pairs: Any, training_data: Any, start: Path | None, instruction: Any) -> Any:
    """Train one adapter by the loop's own job; return the backbone with it."""
    from stm_agent.loop.training import TrainingPlan, build_training, training_job
    from stm_agent.merge.adapted import AdaptedModel

    plan = TrainingPlan(spec=spec, pairs=pairs, training_data=training_data, start=start)
    negatives = training_data.for_expert(spec, pairs)
    folder = build_training(context, training_job(context, spec, plan, negatives, instruction))
    return AdaptedModel(context.spec.backbone, (folder / "adapter",), (1.0,))


def score_all(context: Any, models: dict[str, tuple[Any, Any]]) -> dict[str, Any]:
    """Score every row on dev and test, each against base by a paired bootstrap."""
    from stm_agent.backbone.instruction import Instruction
    from stm_agent.evaluate.baselines import ReadyModel, bm25_run
    from stm_agent.evaluate.metrics import score
    from stm_agent.evaluate.scoring import ScoredTask
    from stm_agent.evaluate.significance import paired_bootstrap
    from stm_agent.files import content_hash

    opened = context.firewall.open_test(content_hash(sorted(models)))
    rows: dict[str, Any] = {}
    for task in (context.dev, ScoredTask("test", context.documents, opened)):
        judged = task.split
        scores = {"BM25": score(bm25_run(task.documents, judged.queries), judged.qrels)}
        scores["all-MiniLM-L6-v2"] = context.score(ReadyModel("embedded:all-minilm-l6-v2"), task, Instruction())
        for name, (model, instruction) in models.items():
            scores[name] = context.score(model, task, instruction)
        for name, found in scores.items():
            versus = paired_bootstrap(found.per_query, scores["base"].per_query, seed=context.seed)
            interval = {"minus_base": versus.delta, "low": versus.low, "high": versus.high}
            rows.setdefault(name, {})[task.name] = {"ndcg_at_10": found.ndcg_at_10, **interval}
    return rows


def claims(results: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """One claim a collection and row: better than base on test in every seed."""
    made = []
    for collection, seeds in results.items():
        for name in (name for name in seeds[0] if not name.startswith("base")):
            tests = [rows[name]["test"] for rows in seeds]
            made.append(
                claim(
                    f"{collection}, {name}: test minus base, lowest interval bound of all seeds",
                    min(test["low"] for test in tests),
                    0.0,
                    "nDCG@10",
                    dev=[rows[name]["dev"]["ndcg_at_10"] for rows in seeds],
                    test=[test["ndcg_at_10"] for test in tests],
                )
            )
    return made


def main() -> None:
    """Run all collections and seeds; the result file is written anew after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collections", type=Path, nargs="+", help="folders in BEIR layout with a train split")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rate", type=float, default=2e-3, help="learning rate")
    parser.add_argument("--go-on", action="store_true", help="do not empty the work folder")
    parser.add_argument("--work", type=Path, default=HERE / "work" / "experts", help="emptied first, unless --go-on")
    options = parser.parse_args()
    before = machine()
    threads = prepare(options.work, keep=options.go_on)
    sizes = {name: getattr(options, name) for name in ("layers", "tokens", "steps", "rate")}
    named = " ".join(path.name for path in options.collections)
    flags = " ".join(f"--{name} {value}" for name, value in sizes.items())
    command = f"python benchmarks/experts.py {named} {flags} --seeds {' '.join(map(str, options.seeds))}"
    results: dict[str, list[dict[str, Any]]] = {}
    for seed in options.seeds:
        for folder in options.collections:
            results.setdefault(folder.name, []).append(one(folder, seed, options))
            save(
                {
                    "name": "experts",
                    "command": command,
                    "machine": {**before, "threads": threads},
                    "versions": versions(),
                    "seeds": options.seeds[: len(results[folder.name])],
                    "sizes": sizes,
                    "results": results,
                    "claims": claims(results),
                }
            )
    show(claims(results))


if __name__ == "__main__":
    main()
