"""What written data is worth: an expert of each kind of data beside the others, and written queries alone.

    python benchmarks/synthesis.py --data path/to/collections                      # tldr, seed 0: about 45 minutes
    python benchmarks/synthesis.py --data path/to/collections --sets medquad tldr --seeds 0 1 2 --documents 0

All arms have the same start, the same steps and the same number of LLM calls; an arm that asks for queries and
negatives has half of its calls for each. Four arms have no train pair: what an owner of documents alone gets, with
sentences of the corpus as queries beside the written ones, as the plan of such a corpus has it, and without. Finished
runs of the same options are kept, so the record grows and goes on where it was stopped. Writes
``benchmarks/results/synthesis.json``.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from _record import RESULTS, claim, machine, prepare, save, show, versions

HERE = Path(__file__).parent
START = "embedded:all-minilm-l6-v2"
ALONE = (
    "written queries alone",
    "written queries alone, queries' side",
    "sentences alone",
    "written queries and sentences, no train pairs",
)
DECIDES = ("generator", "calls", "steps", "documents", "queries", "length", "batch")
"""Options that decide the rows."""


def arms(options: argparse.Namespace) -> dict[str, Any]:
    """Return the experts by arm."""
    from stm_agent.domain.spec import ExpertSpec, NegativeSpec

    def expert(name: str, *sources: str, **changes: Any) -> Any:
        return ExpertSpec(name=name, sources=sources, steps=options.steps, **changes)

    mined, both = NegativeSpec(mined=1), NegativeSpec(mined=1, synthetic=1)
    return {
        "train pairs": expert("pairs", "train"),
        "mined negatives": expert("mined", "train", negatives=mined),
        "written negatives": expert("negatives", "train", negatives=NegativeSpec(synthetic=1)),
        "written queries": expert("queries", "train", "written"),
        "relabelled": expert("relabelled", "train", negatives=mined),
        "all": expert("all", "train", "written", negatives=both),
        ALONE[0]: expert("alone", "written"),
        ALONE[1]: expert("alone-side", "written", side="query"),
        ALONE[2]: expert("sentences", "sentences"),
        ALONE[3]: expert("corpus", "written", "sentences"),
    }


def domain_of(folder: Path, options: argparse.Namespace, *, audit: bool) -> Any:
    """Return the collection's domain with an expert for each arm."""
    from stm_agent.domain.load import domain_of_collection

    spec = domain_of_collection(folder)
    calls = {"pairs": options.calls, "queries": options.calls}
    return spec.model_copy(
        update={
            "backbone": spec.backbone.model_copy(update={"model": START, "max_length": options.length}),
            "starts": (),
            "general": (),
            "train": spec.train.model_copy(update={"batch_size": options.batch}),
            "synthesize": spec.synthesize.model_copy(update=calls),
            "audit": spec.audit.model_copy(update={"enabled": audit}),
            "experts": tuple(arms(options).values()),
        }
    )


def one_run(folder: Path, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Write the data, train and score every arm on one collection with one seed."""
    from stm_agent.cli.output import screen_observer
    from stm_agent.loop.data import prepare_training_data
    from stm_agent.loop.data_jobs import first_miner
    from stm_agent.loop.options import Options
    from stm_agent.loop.prepare import open_context
    from stm_agent.loop.runs import RunFolder
    from stm_agent.progress import watched_by
    from stm_agent.workspace import runs_folder

    runs = runs_folder(options.work)
    decides = {name: getattr(options, name) for name in DECIDES}
    run = RunFolder(runs, folder.name, {"benchmark": "synthesis", "seed": seed, **decides})
    asked = Options(seed=seed, generator=options.generator)
    written: dict[bool, Any] = {}
    try:
        for audit in (False, True):
            spec = domain_of(folder, options, audit=audit)
            with (
                open_context(
                    spec, asked, run, workspace=options.work, runs=runs, observer=screen_observer()
                ) as context,
                watched_by(context),
            ):
                written[audit] = prepare_training_data(context, first_miner(spec))
                if audit:
                    return rows_of(context, written, options) | {"notes": context.notes, "warnings": context.warnings}
    finally:
        run.close()
    raise AssertionError("the second data set is always prepared")


def rows_of(context: Any, written: Mapping[bool, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Train and score each arm; test is opened once, after all of them are trained."""
    from stm_agent.backbone.instruction import NO_INSTRUCTION
    from stm_agent.evaluate.scoring import ScoredTask
    from stm_agent.evaluate.significance import paired_bootstrap
    from stm_agent.evaluate.subcorpus import subcorpus
    from stm_agent.files import content_hash

    trained = {name: train(context, spec, data_of(name, written)) for name, spec in arms(options).items()}
    models = {"untouched start": context.backbone, **{name: model for name, (model, _) in trained.items()}}
    test = context.firewall.open_test(content_hash(sorted(models)))
    rows: dict[str, dict[str, Any]] = {name: dict(counts) for name, (_, counts) in trained.items()}
    for split in (context.firewall.dev, test):
        chosen = split.only(sorted(split.queries)[: options.queries or None], split.name)
        hard = [context.lexical.run(chosen.queries, 20, chosen.ignored_ids)]
        task = ScoredTask(split.name, subcorpus(context.documents, chosen, hard, 20, size=options.documents), chosen)
        scores = {name: context.score(encoding(model), task, NO_INSTRUCTION) for name, model in models.items()}
        for name, found in scores.items():
            rows.setdefault(name, {})[split.name] = {"ndcg_at_10": found.ndcg_at_10}
            for other in ("untouched start", "train pairs"):
                if name != other:
                    versus = paired_bootstrap(found.per_query, scores[other].per_query, seed=context.seed)
                    rows[name][split.name][f"minus {other}"] = vars(versus)
    return {"rows": rows}


def encoding(model: Any) -> Any:
    """Return a model as a run encodes with it: in mixed precision if the CPU pays for it."""
    from stm_agent.backbone.precision import MIXED, mixed_pays

    if not mixed_pays(START):
        return model
    backbone = model.backbone.model_copy(update={"dtype": MIXED})
    return replace(model, backbone=backbone, queries=model.queries and encoding(model.queries))


def data_of(arm: str, written: Mapping[bool, Any]) -> Any:
    """Return the data of an arm: audited where it relabels, and half of the calls each where it asks for both."""
    if arm not in ("relabelled", "all"):
        return written[False]
    data = written[True]
    if arm == "relabelled":
        return data
    half = sorted(data.synthetic)[: len(data.synthetic) // 2]
    return replace(
        data,
        synthetic={pair: data.synthetic[pair] for pair in half},
        written=data.written[: len(data.written) // 2],
    )


def train(context: Any, spec: Any, data: Any) -> tuple[Any, dict[str, Any]]:
    """Train an arm's expert by the loop's own jobs; return its model and what it was trained on."""
    from stm_agent.backbone.instruction import NO_INSTRUCTION
    from stm_agent.loop.data import pairs_of
    from stm_agent.loop.query_side import train_query_side
    from stm_agent.loop.training import TrainingPlan, build_training, training_job
    from stm_agent.loop.training_data import negative_kinds
    from stm_agent.merge.adapted import AdaptedModel
    from stm_agent.merge.query_start import QueryStart

    pairs = pairs_of(context, spec, data)
    negatives = data.for_expert(spec, pairs)
    counts = {"pairs": len(pairs), "negatives": negative_kinds(negatives)}
    context.observer({"kind": "stage", "name": "train", "text": f"{spec.name}: {len(pairs):,} pairs"})
    plan = TrainingPlan(spec=spec, pairs=pairs, training_data=data, start=None)
    if spec.side == "query":
        start = QueryStart(documents=context.backbone, backbone=context.spec.backbone, adapter=None)
        return train_query_side(context, plan, NO_INSTRUCTION, start, context.seed)[1], counts
    folder = build_training(context, training_job(context, spec, plan, negatives, NO_INSTRUCTION))
    return AdaptedModel(context.spec.backbone, (folder / "adapter",), (1.0,)), counts


def claims(runs: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one claim an arm and collection, over all seeds of the record."""
    made = []
    for folder in sorted({name.split("/")[0] for name in runs}):
        seeds = [run["rows"] for name, run in runs.items() if name.split("/")[0] == folder]
        for arm in (name for name in seeds[0] if name != "untouched start"):
            other = "untouched start" if arm in (*ALONE, "train pairs") else "train pairs"
            tests = [rows[arm]["test"] for rows in seeds]
            low = min(test[f"minus {other}"]["low"] for test in tests)
            delta = sum(test[f"minus {other}"]["delta"] for test in tests) / len(tests)
            text = f"{folder}, {arm}: test minus {other}, lowest bound of all seeds"
            made.append(claim(text, low, 0.0, "nDCG@10", mean=delta, test=[test["ndcg_at_10"] for test in tests]))
            if arm in ALONE:
                made.append(claim(f"{folder}, {arm}: test minus {other}, mean of the seeds", delta, 0.02, "nDCG@10"))
    return made


def main() -> None:
    """Run what is missing and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with collections in BEIR layout")
    parser.add_argument("--sets", nargs="+", default=["tldr"], help="names of the collections")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--generator", default="embedded:qwen2.5-coder-0.5b", help="LLM that writes")
    parser.add_argument("--calls", type=int, default=200, help="LLM calls for queries, and for negatives")
    parser.add_argument("--steps", type=int, default=60, help="training steps of every arm")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--length", type=int, default=128, help="tokens of a text")
    parser.add_argument("--documents", type=int, default=2000, help="passages that are scored; 0: the whole corpus")
    parser.add_argument("--queries", type=int, default=0, help="queries of each split that are scored; 0: all")
    parser.add_argument("--work", type=Path, default=HERE / "work" / "synthesis")
    parser.add_argument("--fresh", action="store_true", help="forget the runs of the record")
    options = parser.parse_args()
    if options.fresh:
        shutil.rmtree(options.work, ignore_errors=True)
    before, threads = machine(), prepare(options.work, keep=True)
    decides = {name: getattr(options, name) for name in DECIDES}
    path = RESULTS / "synthesis.json"
    record = {} if options.fresh or not path.exists() else json.loads(path.read_text())
    runs: dict[str, dict[str, Any]] = record.get("runs", {}) if record.get("options") == decides else {}
    flags = " ".join(f"--{name} {value}" for name, value in decides.items())
    for folder in options.sets:
        for seed in options.seeds:
            name = f"{folder}/{seed}"
            if name not in runs:
                runs[name] = one_run((options.data / folder).resolve(), seed, options)
            record = {
                "name": "synthesis",
                "command": f"python benchmarks/synthesis.py --data DATA --sets {' '.join(options.sets)} "
                f"--seeds {' '.join(map(str, options.seeds))} {flags}",
                "machine": {**before, "threads": threads},
                "versions": versions(),
                "seeds": sorted({int(name.split("/")[1]) for name in runs}),
                "options": decides,
                "runs": runs,
                "claims": claims(runs),
            }
            save(record)
    show(record["claims"])


if __name__ == "__main__":
    main()
