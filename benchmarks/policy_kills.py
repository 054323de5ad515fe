"""Kill -9 under every policy: does the same command go on to the same decisions and scores?

    python benchmarks/policy_kills.py             # five policies, four kills each: about 10 minutes on two cores
    python benchmarks/policy_kills.py --kills 1   # a short look

A small domain (random decoder of two layers, 60 documents, a scripted LLM) runs under each policy and is killed
(SIGKILL, the whole process group) after a drawn number of stages, again and again, and then runs to its end. What it
had decided before each kill must stay decided. Then its report is deleted and the same command repeats the run from its
ledger, which must give the same decisions and scores, without a call. A run under ``stm`` or ``random``, whose
decisions do not depend on measured seconds, is also compared with one that is never killed. Finished policies are kept,
so a stopped benchmark goes on. Writes ``benchmarks/results/policy_kills.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from _record import RESULTS, claim, machine, prepare, save, show, versions

HERE = Path(__file__).parent
POLICIES = ("stm", "random", "gain-per-cost", "tpe", "planner")
WITHOUT_SECONDS = ("stm", "random")
"""Policies whose decisions do not depend on measured seconds."""
STAGES = 6
"""Stages after which a kill comes at the latest."""


def small_domain(work: Path) -> Path:
    """Write a domain that is small enough to be run many times: experts of pairs, of written queries, of queries."""
    from stm_agent.domain.spec import DomainSpec
    from stm_agent.testing.pico import pico_decoder
    from stm_agent.testing.tiny import tiny_beir

    path, beir = work / "small.yaml", str(tiny_beir(work / "beir"))
    values = {
        "name": "small",
        "task": "A question -> the passage that answers it",
        "collection": {"kind": "beir", "path": beir},
        "general": [{"kind": "beir", "path": beir}],
        "backbone": {"model": str(pico_decoder(work / "pico")), "max_length": 32},
        "baseline": None,
        "experts": [
            {"name": "plain", "sources": ["train"], "steps": 12},
            {"name": "asked", "sources": ["written"], "steps": 6},
            {"name": "side", "sources": ["train"], "steps": 12, "side": "query"},
        ],
        "train": {"batch_size": 8, "learning_rate": 0.01, "scale": 20.0},
        "synthesize": {"queries": 12, "proposals": 0, "structured": "never"},
        "mine": {"encoder": None},
        "instruct": {"reflections": 0},
        "loop": {"probe_steps": 0, "bootstrap": 200},
    }
    # JSON is YAML.
    path.write_text(DomainSpec.model_validate(values).model_dump_json())
    return path


def start(domain: Path, workspace: Path, policy: str) -> subprocess.Popen[str]:
    """Start a run in a process group of its own."""
    command = [sys.executable, "-m", "stm_agent", "optimize", "--domain", str(domain), "--workspace", str(workspace)]
    command += ["--policy", policy, "--generator", "scripted:numbered", "--json"]
    command += [] if policy == "stm" else ["--patience", "3"]
    command += ["--reflection", "scripted:planner", "--planner-share", "0.5"] if policy == "planner" else []
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def finish(job: subprocess.Popen[str]) -> dict[str, Any]:
    """Return the report of a run that is not killed."""
    out, err = job.communicate()
    if job.returncode:
        sys.exit(f"a run failed with status {job.returncode}: {err[-500:]}")
    report: dict[str, Any] = json.loads(out)
    return report


def kill_after(job: subprocess.Popen[str], stages: int) -> bool:
    """Kill a run after it announced some stages; return whether it had not ended before."""
    assert job.stderr is not None
    left = stages
    for line in job.stderr:
        left -= '"kind": "stage"' in line
        if not left:
            os.killpg(job.pid, signal.SIGKILL)
            break
    job.communicate()
    return job.returncode == -signal.SIGKILL


def decisions(workspace: Path) -> list[dict[str, Any]]:
    """Return the decisions in the ledger of a workspace's only run."""
    from stm_agent.files import read_jsonl

    (ledger,) = (workspace / "runs").glob("*/ledger.jsonl")
    return [row["action"] for row in read_jsonl(ledger) if row["event"] == "action"]


def calls(workspace: Path) -> int:
    """Return the LLM calls that were paid for in the workspace's only run."""
    (run,) = (path.parent for path in (workspace / "runs").glob("*/run.json"))
    path = run / "llm.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


def scores(report: dict[str, Any]) -> dict[str, float]:
    """Return the test nDCG@10 of every row."""
    return {name: row["ndcg_at_10"] for name, row in report["rows"].items()}


def gap(first: dict[str, float], second: dict[str, float]) -> float:
    """Return the largest difference of a row; 1 if the rows are not the same."""
    return max(abs(first[name] - second[name]) for name in first) if first.keys() == second.keys() else 1.0


def measure(domain: Path, work: Path, policy: str, kills: int) -> dict[str, Any]:
    """Run one policy with kills, to its end, and once more from its ledger."""
    workspace, draw = work / policy, random.Random(policy)
    prepare(workspace)
    killed, changed = 0, 0
    known: list[dict[str, Any]] = []
    while killed < kills:
        if not kill_after(start(domain, workspace, policy), draw.randint(2, STAGES)):
            # It ended before: the next kills hit a new run.
            prepare(workspace)
            known = []
            continue
        killed += 1
        if list((workspace / "runs").glob("*/ledger.jsonl")):
            now = decisions(workspace)
            changed += now[: len(known)] != known
            known = now
        sys.stderr.write(f"{policy}: killed {killed} of {kills}, {len(known)} decisions so far\n")
    report = finish(start(domain, workspace, policy))
    decided, paid = decisions(workspace), calls(workspace)
    changed += decided[: len(known)] != known
    (workspace / "runs" / report["run"] / "report.json").unlink()
    again = finish(start(domain, workspace, policy))
    changed += decisions(workspace) != decided
    gaps = [gap(scores(report), scores(again))]
    if policy in WITHOUT_SECONDS:
        untouched = work / f"{policy}-untouched"
        prepare(untouched)
        gaps.append(gap(scores(report), scores(finish(start(domain, untouched, policy)))))
        changed += decisions(untouched) != decided
    return {
        "kills": killed,
        "decisions": len(decided),
        "changed": changed,
        "largest_gap": max(gaps),
        "paid_again": calls(workspace) - paid,
    }


def claims(runs: dict[str, dict[str, Any]], kills: int) -> list[dict[str, Any]]:
    """Return the claims over the policies so far."""
    total = sum(run["kills"] for run in runs.values())
    changed, paid = (sum(run[name] for run in runs.values()) for name in ("changed", "paid_again"))
    worst = max(run["largest_gap"] for run in runs.values())
    return [
        claim(f"kills under {', '.join(runs)}", total, len(runs) * kills - 1, "kills"),
        claim("times that decisions changed after a kill or in a repetition", changed, 0, "times", lower=True),
        claim("largest difference of a test score, killed and repeated", worst, 1e-6, "nDCG@10", lower=True),
        claim("LLM calls that a repetition paid", paid, 0, "calls", lower=True),
    ]


def main() -> None:
    """Measure what is missing and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=4, help="of each policy")
    parser.add_argument("--policies", nargs="+", default=POLICIES, choices=POLICIES)
    parser.add_argument("--work", type=Path, default=HERE / "work" / "policy_kills")
    parser.add_argument("--fresh", action="store_true", help="forget the policies of the record")
    options = parser.parse_args()
    path = RESULTS / "policy_kills.json"
    runs: dict[str, dict[str, Any]] = {} if options.fresh or not path.exists() else json.loads(path.read_text())["runs"]
    runs = {policy: run for policy, run in runs.items() if run["kills"] == options.kills}
    shutil.rmtree(options.work, ignore_errors=True)
    options.work.mkdir(parents=True)
    domain = small_domain(options.work.resolve())
    for policy in options.policies:
        if policy in runs:
            continue
        about = machine()
        runs[policy] = measure(domain, options.work.resolve(), policy, options.kills)
        save(
            {
                "name": "policy_kills",
                "command": f"python benchmarks/policy_kills.py --kills {options.kills}",
                "machine": about,
                "versions": versions(),
                "seeds": [0],
                "runs": runs,
                "claims": claims(runs, options.kills),
            }
        )
    show(claims(runs, options.kills))


if __name__ == "__main__":
    main()
