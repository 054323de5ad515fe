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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from _record import claim, machine, prepare, save, show, versions

HERE = Path(__file__).parent
SPARSE = ("ties", "dare-linear", "dare-ties", "breadcrumbs", "breadcrumbs-ties")
DENSITIES = (0.3, 0.7)


def smaller(folder: Path, options: argparse.Namespace) -> Path:
    """Return a copy of a BEIR folder with ``--documents`` of its passages: the judged ones, then the first others."""
    from stm_agent.domain.beir import read_beir, write_beir

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
    from stm_agent.evaluate.baselines import ReadyModel
    from stm_agent.loop.actions.training import TrainExpert
    from stm_agent.loop.controls import train_controls
    from stm_agent.loop.data import prepare_training_data
    from stm_agent.loop.options import Options
    from stm_agent.loop.prepare import open_context
    from stm_agent.loop.runs import RunFolder
    from stm_agent.loop.state import RatedModel, State
    from stm_agent.workspace import runs_folder

    spec = domain_of(name, options)
    runs = runs_folder(options.work)
    config = {"benchmark": "merge_quality", "seed": seed, "domain": spec.model_dump(mode="json")}
    run = RunFolder(runs, spec.name, config)
    try:
        with open_context(
            spec, Options(seed=seed), run, workspace=options.work, runs=runs, observer=screen_observer()
        ) as context:
            none = Instruction()
            miner = ReadyModel(spec.mine.encoder or spec.backbone.model), none
            rating = context.rate(context.backbone, none)
            state = State.start(RatedModel(label="backbone", model=context.backbone, instruction=none, rating=rating))
            state = replace(state, training_data=prepare_training_data(context, miner))
            for expert in spec.experts:
                state = TrainExpert(expert=expert.name).run(context, state)
            models = {"base": context.backbone}
            models |= {f"expert {expert.name}": expert.rated.model for expert in state.experts}
            models |= {control.name: control.rated.model for control in train_controls(context, state)}
            recipes = search_methods(context, state)
            models |= {method: found["model"] for method, found in recipes.items()}
            rows = score_all(context, models)
    finally:
        run.close()
    told = {method: {"recipe": found["recipe"], "tried": found["tried"]} for method, found in recipes.items()}
    return {"rows": rows, "methods": told}


@dataclass(frozen=True)
class RecipeModel:
    """A backbone with adapters merged by any method, as a value that a scoring job can carry."""

    backbone: Any
    adapters: tuple[Path, ...]
    recipe: Any

    def source_key(self) -> object:
        """Return backbone, adapters and recipe as JSON values."""
        from stm_agent.merge.adapted import AdaptedModel, adapter_key

        adapters = [adapter_key(path) for path in self.adapters]
        return ["recipe", AdaptedModel(self.backbone).source_key(), adapters, self.recipe.model_dump(mode="json")]

    def open(self) -> Any:
        """Load the backbone and fold the merge into its weights."""
        from stm_agent.backbone.encoder import TextEncoder
        from stm_agent.backbone.load import load_backbone
        from stm_agent.backbone.network import network_of
        from stm_agent.merge.delta import fold, load_delta
        from stm_agent.merge.recipe import merge

        model = load_backbone(self.backbone)
        fold(network_of(model), merge([load_delta(path) for path in self.adapters], self.recipe))
        return TextEncoder(model)


def search_methods(context: Any, state: Any) -> dict[str, dict[str, Any]]:
    """Return for each method the recipe that is best on dev, really encoded, its model and all that was tried."""
    from stm_agent.backbone.instruction import Instruction
    from stm_agent.domain.merge_spec import METHODS
    from stm_agent.loop.merging import merge_experts
    from stm_agent.merge.adapted import AdaptedModel
    from stm_agent.merge.recipe import Recipe

    searched = merge_experts(context, state, state.experts, 1)[0].merge
    found_weights = tuple(searched.weights)
    uniform = tuple([1 / len(state.experts)] * len(state.experts))
    adapters = tuple(expert.adapter for expert in state.experts)
    backbone = context.spec.backbone
    made: dict[str, dict[str, Any]] = {
        "uniform soup": {"recipe": {"method": "linear", "weights": uniform}, "tried": []},
        "searched sum": {
            "recipe": {"method": "task-arithmetic", "weights": found_weights},
            "tried": [],
        },
    }
    made["uniform soup"]["model"] = RecipeModel(backbone, adapters, Recipe(method="linear", weights=uniform))
    made["searched sum"]["model"] = AdaptedModel(backbone, adapters, found_weights)
    for method in METHODS:
        if method in ("linear", "task-arithmetic"):
            continue
        tried: list[Any] = []

        def attempt(weights: tuple[float, ...], density: float, method: str = method, tried: list[Any] = tried) -> None:
            recipe = Recipe(method=method, weights=weights, density=density, seed=context.seed)
            model = RecipeModel(backbone, adapters, recipe)
            rating = context.rate(model, Instruction())
            sys.stderr.write(f"{method} {weights} {density}: dev {rating.domain.ndcg_at_10:.4f}\n")
            tried.append((rating.domain.ndcg_at_10, rating.general, recipe, model))

        for density in DENSITIES if method in SPARSE else (0.5,):
            attempt(found_weights, density)
        if uniform != found_weights:
            attempt(uniform, max(tried, key=lambda row: row[0])[2].density)
        best = max(tried, key=lambda row: row[0])
        made[method] = {
            "recipe": best[2].model_dump(exclude_defaults=True),
            "model": best[3],
            "tried": [[dev, general, recipe.model_dump(exclude_defaults=True)] for dev, general, recipe, _ in tried],
        }
    return made


def general_tasks(context: Any) -> list[Any]:
    """Return the general tasks with their test queries, which no search has seen."""
    from stm_agent.domain.build import build_collection
    from stm_agent.evaluate.scoring import ScoredTask

    collections = [build_collection(guard, context.workspace) for guard in context.spec.general]
    return [
        ScoredTask(f"general test {number}", collection.texts, collection.splits["test"])
        for number, collection in enumerate(collections, 1)
    ]


def score_all(context: Any, models: dict[str, Any]) -> dict[str, Any]:
    """Score every row on dev, test and the guard; test against the best expert on dev and against all-in-one."""
    from stm_agent.backbone.instruction import Instruction
    from stm_agent.evaluate.baselines import bm25_run
    from stm_agent.evaluate.metrics import score
    from stm_agent.evaluate.scoring import ScoredTask
    from stm_agent.evaluate.significance import paired_bootstrap
    from stm_agent.files import content_hash

    test = context.firewall.open_test(content_hash(sorted(models)))
    tasks = general_tasks(context)
    scores, general, rows = {}, {}, {}
    for name, model in models.items():
        rating = context.rate(model, Instruction())
        scores[name] = context.score(model, ScoredTask("test", context.documents, test), Instruction())
        general[name] = {
            f"{task.name}/{query}": value
            for task in tasks
            for query, value in context.score(model, task, Instruction().unsaid()).per_query.items()
        }
        rows[name] = {
            "dev": rating.domain.ndcg_at_10,
            "general_dev": rating.general,
            "test": scores[name].ndcg_at_10,
            "general": sum(general[name].values()) / len(general[name]),
        }
    scores["BM25"] = score(bm25_run(context.documents, test.queries), test.qrels)
    rows["BM25"] = {"test": scores["BM25"].ndcg_at_10}
    merges = [name for name in models if name not in ("base", "all-in-one") and not name.startswith("expert ")]
    best_merge = max(merges, key=lambda name: rows[name]["dev"])
    best_expert = max((name for name in models if name.startswith("expert ")), key=lambda name: rows[name]["dev"])
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
