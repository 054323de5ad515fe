"""Is a merge better than its best expert, and that better than training on everything? Every method, dev and test.

    python benchmarks/merge_quality.py hpo path/to/scifact              # about 40 minutes on two cores
    python benchmarks/merge_quality.py hpo path/to/scifact --layers 6 --tokens 48 --steps 150 --seeds 0 1 2

STM's claim is: merged above the best single expert, and that above all-in-one. For every collection and seed the
experts are trained from the backbone, and all-in-one for as many steps as they had together. Each method is searched
on dev: with the weights that the surrogate finds for sums, densities 0.3 and 0.7 where there are any, and the uniform
mean with the better of them. All rows are scored on test and on the general tasks' test, losing
ones too; intervals are paired bootstraps on the test queries.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from _record import claim, machine, prepare, save, show, versions

HERE = Path(__file__).parent
SPARSE = ("ties", "dare-linear", "dare-ties", "breadcrumbs", "breadcrumbs-ties")
DENSITIES = (0.3, 0.7)


def smaller(folder: Path, options: argparse.Namespace) -> Path:
    """Return a copy of a BEIR folder with ``--documents`` of its passages: the judged ones, then the first others."""
    from stm_agent.domain.collection import read_beir, write_beir

    collection = read_beir(folder)
    judged = {key for split in collection.splits.values() for row in split.qrels.values() for key in row}
    order = sorted(collection.documents, key=lambda document: document.id not in judged)
    most = max(options.documents, len(judged))
    target: Path = options.work / "collections" / f"{folder.name}-{most}" / folder.name
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        write_beir(replace(collection, documents=tuple(order[:most])), target)
    return target


def domain_of(name: str, options: argparse.Namespace) -> Any:
    """Return the domain of ``hpo`` or of a BEIR folder at the asked size, its experts trained from the backbone."""
    from stm_agent.domain.load import domain_of_collection, load_domain
    from stm_agent.domain.spec import ExpertSpec, NegativeSpec

    rate = {"learning_rate": options.rate}
    if name == "hpo":
        spec = load_domain("biomedical", Path())
        collection = spec.collection.model_copy(update={"documents": options.documents})
        experts = (
            ExpertSpec(name="lay", sources=("lay",), steps=options.steps, **rate),
            ExpertSpec(name="kin", sources=("lay",), steps=options.steps, neighbours=3, **rate),
            ExpertSpec(name="clinical", sources=("clinical",), steps=options.steps, **rate),
        )
    else:
        spec = domain_of_collection(smaller(Path(name), options))
        collection = spec.collection
        mined = NegativeSpec(mined=1)
        experts = (
            ExpertSpec(name="train", sources=("train",), steps=options.steps, **rate),
            ExpertSpec(name="mined", sources=("train",), steps=options.steps, negatives=mined, **rate),
            ExpertSpec(name="slow", sources=("train",), steps=options.steps, learning_rate=options.rate / 2),
        )
    changes = {
        "backbone": spec.backbone.model_copy(update={"layers": options.layers, "max_length": options.tokens}),
        "collection": collection,
        "experts": experts,
        # The control has no rate of its own: it gets the experts'.
        "train": spec.train.model_copy(update={"learning_rate": options.rate}),
        "instruct": spec.instruct.model_copy(update={"reflections": 0}),
        # Every expert has the variant it is named for.
        "loop": spec.loop.model_copy(update={"probe_steps": 0}),
    }
    return spec.model_copy(update=changes)


def one(name: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train, merge by every method and score everything for one collection and seed."""
    from stm_agent.backbone.instruction import Instruction
    from stm_agent.cli.output import screen_observer
    from stm_agent.evaluate.baselines import static_encoder
    from stm_agent.loop.controls import train_controls
    from stm_agent.loop.data import prepare_training_data
    from stm_agent.loop.experts import train_all
    from stm_agent.loop.ledger import RunFolder
    from stm_agent.loop.optimize import Options, open_context
    from stm_agent.workspace import runs_folder

    spec = domain_of(name, options)
    runs = runs_folder(options.work)
    config = {"benchmark": "merge_quality", "seed": seed, "domain": spec.model_dump(mode="json")}
    run = RunFolder(runs, spec.name, config)
    context = open_context(
        spec, Options(seed=seed), seed, run, workspace=options.work, runs=runs, observer=screen_observer()
    )
    try:
        training_data = prepare_training_data(context, static_encoder(spec.mine.encoder or spec.backbone.model))
        experts = train_all(context, training_data, Instruction(), 1)
        controls = train_controls(context, experts, Instruction())
        deltas = {"base": None}
        deltas |= {f"expert {expert.name}": expert.delta for expert in experts}
        deltas |= {control.name: control.delta for control in controls}
        recipes = search_methods(context, experts)
        deltas |= {method: found["delta"] for method, found in recipes.items()}
        rows = score_all(context, deltas)
    finally:
        context.generator.close()
        run.close()
    told = {method: {"recipe": found["recipe"], "tried": found["tried"]} for method, found in recipes.items()}
    return {"rows": rows, "methods": told}


def search_methods(context: Any, experts: Any) -> dict[str, dict[str, Any]]:
    """Return for each method the recipe that is best on dev, really encoded, its delta and all that was tried."""
    from stm_agent.backbone.instruction import Instruction
    from stm_agent.loop.merging import merge_experts
    from stm_agent.merge.methods import METHODS
    from stm_agent.merge.recipe import Recipe, merge

    base = context.rate(context.encoder(), Instruction())
    searched = merge_experts(context, experts, base, Instruction())
    names = [expert.name for expert in experts]
    found_weights = tuple(searched.weights[name] for name in names)
    uniform = tuple([1 / len(experts)] * len(experts))
    deltas = [expert.delta for expert in experts]
    made: dict[str, dict[str, Any]] = {
        "uniform soup": {"recipe": {"method": "linear", "weights": uniform}, "tried": []},
        "searched sum": {
            "recipe": {"method": "task-arithmetic", "weights": found_weights},
            "tried": [],
        },
    }
    made["uniform soup"]["delta"] = merge(deltas, Recipe(method="linear", weights=uniform))
    made["searched sum"]["delta"] = searched.delta
    for method in METHODS:
        if method in ("linear", "task-arithmetic"):
            continue
        tried: list[Any] = []

        def attempt(weights: tuple[float, ...], density: float, method: str = method, tried: list[Any] = tried) -> None:
            recipe = Recipe(method=method, weights=weights, density=density, seed=context.seed)
            delta = merge(deltas, recipe)
            rating = context.rate(context.encoder(delta), Instruction())
            sys.stderr.write(f"{method} {weights} {density}: dev {rating.domain.ndcg_at_10:.4f}\n")
            tried.append((rating.domain.ndcg_at_10, rating.general, recipe, delta))

        for density in DENSITIES if method in SPARSE else (0.5,):
            attempt(found_weights, density)
        if uniform != found_weights:
            attempt(uniform, max(tried, key=lambda row: row[0])[2].density)
        best = max(tried, key=lambda row: row[0])
        made[method] = {
            "recipe": best[2].model_dump(exclude_defaults=True),
            "delta": best[3],
            "tried": [[dev, general, recipe.model_dump(exclude_defaults=True)] for dev, general, recipe, _ in tried],
        }
    return made


def general_test(context: Any, encoder: Any) -> dict[str, float]:
    """Return nDCG@10 of every test query of the general tasks, which no search has seen."""
    from stm_agent.backbone.instruction import Instruction
    from stm_agent.loop.context import score_split

    return {
        f"{guard.name}/{query}": value
        for guard in context.guards
        for query, value in score_split(
            context.cache, encoder, guard.texts, guard.splits["test"], Instruction().unsaid()
        ).per_query.items()
    }


def score_all(context: Any, deltas: dict[str, Any]) -> dict[str, Any]:
    """Score every row on dev, test and the guard; test against the best expert on dev and against all-in-one."""
    from stm_agent.backbone.instruction import Instruction
    from stm_agent.evaluate.baselines import bm25_run
    from stm_agent.evaluate.metrics import score
    from stm_agent.evaluate.significance import paired_bootstrap
    from stm_agent.files import content_hash

    test = context.firewall.open_test(content_hash(sorted(deltas)))
    scores, general, rows = {}, {}, {}
    for name, delta in deltas.items():
        encoder = context.encoder(delta)
        rating = context.rate(encoder, Instruction())
        scores[name] = context.scores(encoder, test, Instruction())
        general[name] = general_test(context, encoder)
        rows[name] = {
            "dev": rating.domain.ndcg_at_10,
            "general_dev": rating.general,
            "test": scores[name].ndcg_at_10,
            "general": sum(general[name].values()) / len(general[name]),
        }
    scores["BM25"] = score(bm25_run(context.documents, test.queries), test.qrels)
    rows["BM25"] = {"test": scores["BM25"].ndcg_at_10}
    merges = [name for name in deltas if name not in ("base", "all-in-one") and not name.startswith("expert ")]
    best_merge = max(merges, key=lambda name: rows[name]["dev"])
    best_expert = max((name for name in deltas if name.startswith("expert ")), key=lambda name: rows[name]["dev"])
    for other in (best_expert, "all-in-one"):
        for name in scores:
            versus = paired_bootstrap(scores[name].per_query, scores[other].per_query, seed=context.seed)
            label = "minus_best_expert" if other == best_expert else "minus_all_in_one"
            rows[name][label] = {"delta": versus.delta, "low": versus.low, "high": versus.high}
    for name in general:
        versus = paired_bootstrap(general[name], general["base"], seed=context.seed)
        rows[name]["general_minus_base"] = {"delta": versus.delta, "low": versus.low, "high": versus.high}
    return {"best_merge_on_dev": best_merge, "best_expert_on_dev": best_expert, **rows}


def claims(results: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """STM's two claims for each collection: the lowest bound of all seeds is above 0."""
    made = []
    for collection, seeds in results.items():
        rows = [result["rows"] for result in seeds]
        pairs = (
            ("best merge minus best expert", "best_merge_on_dev", "minus_best_expert"),
            ("best expert minus all-in-one", "best_expert_on_dev", "minus_all_in_one"),
        )
        for told, key, label in pairs:
            intervals = [found[found[key]][label] for found in rows]
            low = min(interval["low"] for interval in intervals)
            made.append(
                claim(f"{collection}: {told}, lowest bound of all seeds", low, 0.0, "nDCG@10", intervals=intervals)
            )
    return made


def main() -> None:
    """Run all collections and seeds; the result file is written anew after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collections", nargs="+", help="'hpo', or folders in BEIR layout with a train split")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument(
        "--documents", type=int, default=900, help="passages of each collection, the judged ones at least"
    )
    parser.add_argument("--rate", type=float, default=2e-3, help="learning rate")
    parser.add_argument("--work", type=Path, default=HERE / "work" / "merge_quality", help="emptied first")
    options = parser.parse_args()
    before = machine()
    threads = prepare(options.work)
    sizes = {name: getattr(options, name) for name in ("layers", "tokens", "steps", "documents", "rate")}
    flags = " ".join(f"--{name} {value}" for name, value in sizes.items())
    named = " ".join(Path(name).name for name in options.collections)
    results: dict[str, list[dict[str, Any]]] = {}
    for seed in options.seeds:
        for name in options.collections:
            label = Path(name).name
            results.setdefault(label, []).append(one(name, seed, options))
            save(
                {
                    "name": "merge_quality",
                    "command": f"python benchmarks/merge_quality.py {named} {flags}"
                    f" --seeds {' '.join(map(str, options.seeds))}",
                    "machine": {**before, "threads": threads},
                    "versions": versions(),
                    "seeds": options.seeds[: len(results[label])],
                    "sizes": sizes,
                    "results": results,
                    "claims": claims(results),
                }
            )
    show(claims(results))


if __name__ == "__main__":
    main()
