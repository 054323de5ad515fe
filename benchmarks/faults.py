"""A mini run under everything that goes wrong: does the same command end with the same scores, nothing paid twice?

    python benchmarks/faults.py                          # 100 kills and all other faults
    python benchmarks/faults.py --kills 500 --damages 60
    python benchmarks/faults.py --only kills --kills 20
    python benchmarks/faults.py --go-on                  # keeps the cases that an earlier call of the same code ended

The run is the command line's own, on a pico decoder and a tiny collection, with an LLM behind HTTP that counts every
request by its body. Processes are forked from one that has the libraries imported, unless ``--cold``; the run that
nothing happens to is made both ways. Writes ``benchmarks/results/faults.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Before numpy is imported: a forked process keeps no threads of its parent.
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
os.environ |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "OMP_WAIT_POLICY": "PASSIVE"}

from _fault_breaks import damaged, full_disk, llm_gone, out_of_memory
from _fault_job import Mini, apart, mini_domain
from _fault_people import clock, side_by_side, stops
from _fault_server import CountingServer
from _record import claim, machine, save, show, versions

HERE = Path(__file__).parent
KILLS_A_JOB = 10
LONGEST = 2.0
"""Seconds, at most, for which a stage counts where moments are drawn: the proof, half of a mini run, imports libraries.
"""
EARLY = 0.2
"""Share of the kills that come before the process has repeated what earlier ones did."""

Case = Callable[[Mini, argparse.Namespace], tuple[dict[str, Any], list[dict[str, Any]]]]


def moments(mini: Mini, count: int, draws: random.Random) -> list[tuple[int, float]]:
    """Draw moments of a run, in order: number of a stage, from 1, by its length, and seconds into it."""
    weights = [min(seconds, LONGEST) for seconds in mini.durations]
    numbers = draws.choices(range(1, len(weights) + 1), weights, k=count)
    return sorted((number, draws.uniform(0, mini.durations[number - 1])) for number in numbers)


def killed_job(mini: Mini, number: int, count: int, draws: random.Random) -> dict[str, Any]:
    """Run one job to its end through at most ``count`` kills at random moments.

    A moment is counted from the announcement of its stage, or from the last kill in the same stage, so that late stages
    are killed as often as early ones, whatever a process must do again.
    """
    workspace, asked = mini.workspace("killed")
    kills: list[dict[str, Any]] = []
    before = (0, 0.0)
    for target, seconds in moments(mini, count, draws):
        running = mini.start(workspace, mini.command(workspace))
        if draws.random() >= EARLY:
            running.wait_until(lambda stages, target=target: len(stages) >= target)
            running.sleep(seconds - before[1] if target == before[0] else seconds)
            before = (target, seconds)
        else:
            running.sleep(draws.uniform(0, 1.0))
        stages = running.stages
        if not running.kill():
            break
        kills.append({"stage": stages[-1] if stages else "start", "seconds_lived": round(running.lived, 2)})
    last = mini.run(workspace) if running.wait() == -signal.SIGKILL else running
    row = {"job": number, "kills": kills, "status": last.wait(), "off": mini.off(last), "llm": asked.to_json()}
    sys.stderr.write(f"killed {len(kills)} times, ends {row['off']:.1g} off, {row['llm']}\n")
    return row


def killed(mini: Mini, options: argparse.Namespace) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Kill jobs until there are as many kills as asked for; a job that is over is written down."""
    path = options.work / "cases" / "killed-jobs.json"
    rows: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    while (left := options.kills - sum(len(row["kills"]) for row in rows)) > 0:
        draws = random.Random(f"{options.seed}/{len(rows)}")
        rows.append(killed_job(mini, len(rows), min(KILLS_A_JOB, left), draws))
        path.write_text(json.dumps(rows))
    kills = sum(len(row["kills"]) for row in rows)
    twice = sum(row["llm"]["paid_twice"] for row in rows)
    under_way = sum(row["llm"]["under_way_at_a_kill"] for row in rows)
    asked = sum(row["llm"]["requests"] for row in rows)
    return {"jobs": rows, "kills": kills, "requests": asked, "under_way_at_a_kill": under_way}, [
        claim("kills at random moments, each followed by the same command", kills, options.kills - 1, "kills"),
        claim(
            "killed: largest difference of a test score",
            max(row["off"] for row in rows),
            1e-6,
            "nDCG@10",
            lower=True,
        ),
        claim(
            "killed: LLM calls paid twice, beside those under way at a kill",
            twice,
            0,
            "calls",
            lower=True,
            under_way_at_a_kill=under_way,
            requests=asked,
        ),
    ]


CASES: dict[str, Case] = {
    "kills": killed,
    "damages": lambda mini, options: damaged(mini, options.damages, options.seed),
    "llm": lambda mini, options: llm_gone(mini),
    "memory": lambda mini, options: out_of_memory(mini),
    "disk": lambda mini, options: full_disk(mini),
    "side": lambda mini, options: side_by_side(mini),
    "stops": lambda mini, options: stops(mini),
    "clock": lambda mini, options: clock(mini),
}


def once(folder: Path, name: str, call: Callable[[], Any]) -> Any:
    """Return the value of a call, or what an earlier call of the benchmark wrote down of it."""
    path = folder / f"{name}.json"
    if not path.exists():
        value = call()
        path.write_text(json.dumps(value))
    return json.loads(path.read_text())


def measure_untouched(mini: Mini) -> dict[str, Any]:
    """Run what nothing happens to, cold and forked."""
    cold = mini.measure(0, "untouched-cold", warm=False)
    warm = mini.measure(0, "untouched")
    return {"scores": warm, "durations": mini.durations, "cold_and_warm_apart": apart(cold, warm)}


def main() -> None:
    """Run the cases; the result file is written after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--damages", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="seed of moments and damages")
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES), help="cases to run")
    parser.add_argument("--cold", action="store_true", help="import everything in every process")
    parser.add_argument("--go-on", action="store_true", help="do not empty the work folder")
    parser.add_argument("--work", type=Path, default=HERE / "work" / "faults", help="emptied first, unless --go-on")
    options = parser.parse_args()
    options.work = options.work.resolve()
    if not options.go_on:
        shutil.rmtree(options.work, ignore_errors=True)
    cases = options.work / "cases"
    cases.mkdir(parents=True, exist_ok=True)
    mini_domain(options.work)
    record: dict[str, Any] = {"name": "faults", "machine": machine(), "versions": versions(), "seeds": [options.seed]}
    flags = f"--kills {options.kills} --damages {options.damages} --seed {options.seed}"
    flags += " --cold" if options.cold else ""
    with CountingServer() as server:
        mini = Mini(options.work, server, cold=options.cold)
        untouched = once(cases, "untouched", lambda: measure_untouched(mini))
        mini.untouched[0], mini.durations = untouched["scores"], untouched["durations"]
        claims = [
            claim("cold and forked processes: difference", untouched["cold_and_warm_apart"], 0, "nDCG@10", lower=True)
        ]
        found: dict[str, Any] = {}
        for name in options.only:
            began = time.monotonic()
            entry, made = once(cases, name, lambda name=name: CASES[name](mini, options))
            found[name] = entry
            claims += made
            sys.stderr.write(f"{name}: {time.monotonic() - began:.0f} s\n")
            record |= {"command": f"python benchmarks/faults.py {flags}", "untouched": untouched}
            record |= {"cases": found, "claims": claims}
            save(record)
        mini.close()
    show(claims)


if __name__ == "__main__":
    main()
