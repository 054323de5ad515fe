"""Which way of deciding what to try next gains most in equal minutes?

    python benchmarks/loop.py --data path/to/collections                  # tldr, seed 0, four policies: 45 minutes
    python benchmarks/loop.py --data path/to/collections --sets tldr scifact --seeds 0 1 2 --policies all

Each run is one collection, one seed and one policy, in a workspace of its own, so that none uses what another one
built. A collection is cut to 1,000 passages: those relevant to drawn test, dev and train queries, and others by hash.
Each run has 10 minutes. ``planner`` asks the embedded LLM, ``planner (good)`` a script that reads the menu, and
``planner (nonsense)`` one that does not. Finished runs of the same minutes are kept, so the record grows and continues
where it was stopped. Writes ``benchmarks/results/loop.json``; rows that lose are kept.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import mean
from typing import Any

from _record import RESULTS, claim, machine, optimize, prepare, save, show, versions

HERE = Path(__file__).parent
PASSAGES = 1000
JUDGED = {"test": 300, "dev": 200, "train": 300}
"""Relevant passages of a sub-corpus by split, at most; a query comes with all of its own."""
START = "embedded:all-minilm-l6-v2"
POLICIES: dict[str, list[str]] = {
    "stm": ["--policy", "stm"],
    "random": ["--policy", "random"],
    "gain-per-cost": ["--policy", "gain-per-cost"],
    "tpe": ["--policy", "tpe"],
    "planner": ["--policy", "planner"],
    "planner (good)": ["--policy", "planner", "--reflection", "scripted:planner"],
    "planner (nonsense)": ["--policy", "planner", "--reflection", "scripted:numbered"],
}
WITHOUT_LLM = [name for name in POLICIES if not name.startswith("planner")]
ALL = "all"


def sub_collection(source: Path, target: Path) -> Path:
    """Write the part of a collection that runs work on; the same for every seed and policy."""
    from stm_agent.domain.beir import read_beir, write_beir
    from stm_agent.domain.collection import Collection
    from stm_agent.files import sha256_text

    if target.exists():
        return target
    whole = read_beir(source)
    chosen: set[str] = set()
    splits = {}
    for name, most in JUDGED.items():
        if name not in whole.splits:
            continue
        split, queries, mine = whole.splits[name], [], set()
        for query in sorted(split.queries, key=sha256_text):
            relevant = set(split.qrels[query])
            if len(mine | relevant) <= most:
                mine |= relevant
                queries.append(query)
        chosen |= mine
        splits[name] = split.only(queries, name)
    others = sorted((item.id for item in whole.documents if item.id not in chosen), key=sha256_text)
    chosen |= set(others[: max(0, PASSAGES - len(chosen))])
    part = Collection(
        name=f"{whole.name}-{PASSAGES}",
        documents=tuple(item for item in whole.documents if item.id in chosen),
        splits=splits,
        licence=whole.licence,
        source=whole.source,
    )
    return write_beir(part, target)


def one_run(folder: Path, seed: int, policy: str, options: argparse.Namespace) -> dict[str, Any]:
    """Run one policy in a workspace of its own; return scores, counts and costs."""
    from stm_agent.files import read_json, read_jsonl

    work = options.work / f"{folder.name}-{seed}-{policy.replace(' ', '-').strip('()')}"
    prepare(work, keep=True)
    flags = ["--collection", str(folder), "--start", START, "--seed", str(seed)]
    done = optimize(work, *flags, "--budget-minutes", str(options.minutes), *POLICIES[policy])
    report, run = done["report"], work / "runs" / done["report"]["run"]
    ledger = read_jsonl(run / "ledger.jsonl")
    rows = {name: row["ndcg_at_10"] for name, row in report["rows"].items()}
    dev, general = report["dev"], report["general"]
    confirmed = [entry for entry in ledger if entry["event"] == "look" and entry["confirmed"]]
    merged = read_json(run / "test_per_query.json")["merged"]
    return {
        "minutes": options.minutes,
        "wall_minutes": done["wall_seconds"] / 60,
        "test": rows["merged"],
        "gain": rows["merged"] - rows["base"],
        "gain_per_minute": (rows["merged"] - rows["base"]) / report["cost"]["minutes"],
        "dev_gain": dev["merged"] - dev["base"],
        "general": general,
        "tried": sum(entry["event"] == "action" for entry in ledger),
        "taken": sum(entry["event"] == "decision" and bool(entry.get("kept")) for entry in ledger),
        "confirmed": len(confirmed),
        "accept_gain": max((entry["gain"] for entry in confirmed if entry["what"] == "model"), default=None),
        "fallbacks": sum(warning.startswith("planner: ") for warning in report["warnings"]),
        "failures": report["failures"],
        "usd": report["cost"]["usd"],
        "per_query": {query: round(score, 4) for query, score in merged.items()},
    }


def differences(runs: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return how far each run is above or below that of ``gain-per-cost`` in its place, on test."""
    found = {}
    for name, run in runs.items():
        place, _, policy = name.rpartition("/")
        measured = runs.get(f"{place}/gain-per-cost")
        if measured and policy != "gain-per-cost":
            found[name] = minus(run, measured, int(place.rpartition("/")[2]))
    return found


def minus(first: Mapping[str, Any], second: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Return the paired difference of two runs on test."""
    from stm_agent.evaluate.significance import paired_bootstrap

    return vars(paired_bootstrap(first["per_query"], second["per_query"], samples=10_000, seed=seed))


def claims(runs: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the claims over all runs of the record."""
    rows = []
    places = sorted({name.rpartition("/")[0] for name in runs})

    def pairs(policy: str, other: str) -> Iterable[tuple[str, dict[str, Any]]]:
        for place in places:
            if {f"{place}/{policy}", f"{place}/{other}"} <= runs.keys():
                seed = int(place.rpartition("/")[2])
                yield place, minus(runs[f"{place}/{policy}"], runs[f"{place}/{other}"], seed)

    for place, difference in pairs("gain-per-cost", "stm"):
        text = f"{place}: gain-per-cost is not below stm, upper bound"
        rows.append(claim(text, difference["high"], 0.0, "nDCG@10", **difference))
    if deltas := [difference["delta"] for _, difference in pairs("gain-per-cost", "random")]:
        rows.append(claim(f"mean of {len(deltas)} runs: gain-per-cost minus random", mean(deltas), 0.0, "nDCG@10"))
    away = [
        abs(difference["delta"]) / runs[f"{place}/gain-per-cost"]["test"]
        for place, difference in pairs("planner (nonsense)", "gain-per-cost")
    ]
    if away:
        text = f"mean of {len(away)} runs: distance of planner (nonsense) to gain-per-cost, as a share of its score"
        rows.append(claim(text, mean(away), 0.01, "share", lower=True))
    gaps = [run["accept_gain"] - run["gain"] for run in runs.values() if run["accept_gain"] is not None]
    if gaps:
        text = f"mean of {len(gaps)} runs with a confirmed model: gain on the accept half minus gain on test"
        rows.append(claim(text, mean(gaps), 0.005, "nDCG@10", lower=True))
    return rows


def command(runs: Mapping[str, Any], minutes: float) -> str:
    """Return the command that makes all runs of the record."""
    sets, seeds, policies = (list(dict.fromkeys(name.split("/")[part] for name in runs)) for part in range(3))
    chosen = "" if policies == WITHOUT_LLM else f" --policies {' '.join(map(shlex.quote, policies))}"
    named = f"--sets {' '.join(sets)} --seeds {' '.join(seeds)}{chosen}"
    return f"python benchmarks/loop.py --data DATA {named} --minutes {minutes:g}"


def main() -> None:
    """Run what is missing and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with collections in BEIR layout")
    parser.add_argument("--sets", nargs="+", default=["tldr"], help="names of the collections")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--policies", nargs="+", default=WITHOUT_LLM, choices=[ALL, *POLICIES])
    parser.add_argument("--minutes", type=float, default=10.0, help="of each run")
    parser.add_argument("--work", type=Path, default=HERE / "work" / "loop")
    parser.add_argument("--fresh", action="store_true", help="forget the runs of the record")
    options = parser.parse_args()
    if options.fresh:
        shutil.rmtree(options.work, ignore_errors=True)
    options.work.mkdir(parents=True, exist_ok=True)
    path = RESULTS / "loop.json"
    runs: dict[str, dict[str, Any]] = {} if options.fresh or not path.exists() else json.loads(path.read_text())["runs"]
    found: list[dict[str, Any]] = []
    for name in options.sets:
        folder = sub_collection((options.data / name).resolve(), options.work.resolve() / f"{name}-{PASSAGES}")
        for seed in options.seeds:
            for policy in POLICIES if ALL in options.policies else options.policies:
                key = f"{name}/{seed}/{policy}"
                if runs.get(key, {}).get("minutes") != options.minutes:
                    runs[key] = one_run(folder, seed, policy, options)
                found = claims(runs)
                record = {
                    "name": "loop",
                    "command": command(runs, options.minutes),
                    "machine": machine(),
                    "versions": versions(),
                    "passages": PASSAGES,
                    "seeds": sorted({int(run.split("/")[1]) for run in runs}),
                    "runs": runs,
                    "minus_gain_per_cost": differences(runs),
                    "claims": found,
                }
                save(record)
    show(found)


if __name__ == "__main__":
    main()
