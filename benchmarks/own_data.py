"""A folder becomes a retriever: is it better than what its owner would use instead?

    python benchmarks/own_data.py --data path/to/collections                    # scifact, seed 0: 45 minutes
    python benchmarks/own_data.py --data path/to/collections --sets scifact medquad pubmedqa tldr --seeds 0 1

Each run is one collection and one seed: ``stm-agent optimize --collection`` with ``--budget-minutes`` on everything its
folder has, beside the untouched start, BM25, and plain full fine-tuning of the same start for the same minutes
(``_plain_finetune.py``). Finished runs of the same minutes are kept, so the record grows and goes on where it was
stopped. Writes ``benchmarks/results/own_data.json``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any

from _record import RESULTS, claim, machine, optimize, save, show, versions

HERE = Path(__file__).parent
START = "embedded:all-minilm-l6-v2"
BASELINE_ROW = "all-MiniLM-L6-v2"
PLAIN, UNTOUCHED, ALL_IN_ONE = "plain fine-tuning", "untouched start", "all-in-one"


def one_run(folder: Path, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Run the loop and the plain fine-tuning on one collection; return scores and paired differences."""
    from stm_agent.evaluate.significance import paired_bootstrap
    from stm_agent.files import read_json

    flags = ["--collection", str(folder), "--seed", str(seed), "--budget-minutes", str(options.minutes)]
    done = optimize(options.work, *flags, *(["--controls"] if options.controls else []))
    report = done["report"]
    runs = options.work / "runs" / report["run"]
    ours = read_json(runs / "test_per_query.json")
    others = {**{name: row for name, row in ours.items() if name != "merged"}}
    plain: dict[str, Any] | None = None
    if options.plain or BASELINE_ROW not in ours:
        # A run that reads fewer tokens than the untouched start does has no row of it.
        plain = plain_finetuning(folder, seed, options)
        others[UNTOUCHED] = plain.pop("untouched_per_query")
    else:
        others[UNTOUCHED] = ours[BASELINE_ROW]
    if options.plain and plain:
        others[PLAIN] = plain.pop("test_per_query")
    differences = {
        name: vars(paired_bootstrap(ours["merged"], row, samples=10_000, seed=seed)) for name, row in others.items()
    }
    scores = {name: mean(row.values()) for name, row in {**ours, **others}.items()}
    kept = (
        "weights",
        "model_label",
        "race",
        "plan",
        "gate",
        "best_expert_on_dev",
        "failures",
        "warnings",
        "cost",
        "dev",
    )
    return {
        "scores": scores,
        "merged_minus": differences,
        "plain": plain if options.plain else None,
        "minutes": options.minutes,
        # A run that was finished before is answered in seconds.
        "wall_minutes": max(done["wall_seconds"] / 60, report["cost"]["minutes"]),
        "report": {name: report[name] for name in kept},
    }


def plain_finetuning(folder: Path, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Score the untouched start and, if asked for, fine-tune it as a user of sentence-transformers would."""
    with tempfile.TemporaryDirectory() as scrap:
        output = Path(scrap) / "plain.json"
        script = str(HERE / "_plain_finetune.py")
        wanted = options.minutes if options.plain_minutes is None else options.plain_minutes
        minutes = wanted if options.plain else 0.0
        work = options.work / "plain" / f"{folder.name}-{seed}-{minutes:g}"
        arguments = [START, str(folder), str(minutes), str(seed), str(output), str(work)]
        subprocess.run([sys.executable, script, *arguments], check=True)
        result: dict[str, Any] = json.loads(output.read_text())
    return result


def claims(runs: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the claims over all runs of the record."""
    rows = []
    for name, run in runs.items():
        better = max(("BM25", UNTOUCHED), key=lambda row: run["scores"][row])
        against = run["merged_minus"][better]
        rows.append(_not_below(name, f"the better of BM25 and the untouched start ({better})", against))
        if against := run["merged_minus"].get(PLAIN):
            rows.append(_not_below(name, PLAIN, against))
        if control := run["merged_minus"].get(ALL_IN_ONE):
            rows.append(
                claim(f"{name}: merged minus {ALL_IN_ONE}, lower bound", control["low"], 0.0, "nDCG@10", **control)
            )
    sets = sorted({name.split("/")[0] for name in runs})

    for other, asked in ((UNTOUCHED, 0.05), (PLAIN, 0.01)):
        by_set = {folder: _deltas(runs, folder, other) for folder in sets}
        measured = {folder: mean(deltas) for folder, deltas in by_set.items() if deltas}
        if measured:
            text = f"mean over {', '.join(measured)}: merged minus {other}"
            rows.append(claim(text, mean(measured.values()), asked, "nDCG@10"))
    above = [folder for folder in sets if _lowest_against_expert(runs, folder) > 0]
    rows.append(
        claim(
            "sets, of 2 or more that are asked for, on which merged is above the best single expert in every seed",
            len(above),
            1,
            "sets",
            sets=above,
        )
    )
    return rows


def _deltas(runs: dict[str, dict[str, Any]], folder: str, other: str) -> list[float]:
    """Return merged minus another row, a seed each, of the runs on a collection that have the row."""
    own = [run["merged_minus"] for name, run in runs.items() if name.split("/")[0] == folder]
    return [row[other]["delta"] for row in own if other in row]


def _not_below(name: str, other: str, against: dict[str, Any]) -> dict[str, Any]:
    """Return the claim that merged is not significantly below another row; a model that equals it is not below."""
    text = f"{name}: nDCG@10 by which merged is significantly below {other}"
    return claim(text, max(0.0, -against["high"]), 0.0, "nDCG@10", lower=True, **against)


def _lowest_against_expert(runs: dict[str, dict[str, Any]], folder: str) -> float:
    bounds = []
    for name, run in runs.items():
        expert = f"expert {run['report']['best_expert_on_dev']}"
        if name.split("/")[0] == folder:
            bounds.append(run["merged_minus"].get(expert, {"low": -1.0})["low"])
    return min(bounds)


def command(runs: dict[str, dict[str, Any]], options: argparse.Namespace) -> str:
    """Return the command that makes all runs of the record."""
    sets, seeds = (" ".join(dict.fromkeys(name.split("/")[part] for name in runs)) for part in (0, 1))
    plain = "" if all(run["plain"] for run in runs.values()) else " --no-plain"
    return (
        f"python benchmarks/own_data.py --data DATA --sets {sets} --seeds {seeds} --minutes {options.minutes:g}{plain}"
    )


def main() -> None:
    """Run what is missing and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with collections in BEIR layout")
    parser.add_argument("--sets", nargs="+", default=["scifact"], help="names of the collections")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--minutes", type=float, default=15.0, help="of each run, and of each plain fine-tuning")
    parser.add_argument("--plain-minutes", type=float, help="of each plain fine-tuning (default: --minutes)")
    parser.add_argument("--no-plain", dest="plain", action="store_false", help="leave the plain fine-tuning out")
    parser.add_argument("--controls", action="store_true", help="also train all sources in one adapter")
    parser.add_argument("--work", type=Path, default=HERE / "work" / "own_data")
    parser.add_argument("--fresh", action="store_true", help="forget the runs of the record")
    options = parser.parse_args()
    if options.fresh:
        shutil.rmtree(options.work, ignore_errors=True)
    if not options.work.exists():
        subprocess.run([sys.executable, "-m", "stm_agent", "init", str(options.work)], check=True)
    path = RESULTS / "own_data.json"
    runs: dict[str, dict[str, Any]] = {} if options.fresh or not path.exists() else json.loads(path.read_text())["runs"]
    for folder in options.sets:
        for seed in options.seeds:
            name = f"{folder}/{seed}"
            known = runs.get(name, {})
            if known.get("minutes") != options.minutes or (options.plain and known.get("plain") is None):
                runs[name] = one_run((options.data / folder).resolve(), seed, options)
            record = {
                "name": "own_data",
                "command": command(runs, options),
                "machine": machine(),
                "versions": versions(),
                "seeds": sorted({int(name.split("/")[1]) for name in runs}),
                "runs": runs,
                "claims": claims(runs),
            }
            save(record)
    show(record["claims"])


if __name__ == "__main__":
    main()
