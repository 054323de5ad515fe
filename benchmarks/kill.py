"""Kill -9 in every stage of the main job: does the same command end with the same scores?

    python benchmarks/kill.py              # short experts, about 10 minutes on two cores
    python benchmarks/kill.py --share 1    # the main job whole

The job runs once untouched. Then, in a workspace of its own, it is killed (SIGKILL, the whole process group)
a few seconds into the first stage of each kind, started again by the same command, and so on to its end.
Writes ``benchmarks/results/kill.json``.
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
import time
from pathlib import Path
from typing import Any

import yaml
from _record import claim, machine, save, show, versions

HERE = Path(__file__).parent
STAGES = (
    "building the collections",
    "scoring the untouched backbone",
    "writes queries",
    "mining negatives",
    "writes hard negatives",
    "seed instructions",
    "training expert lay",
    "scoring expert lay",
    "training expert hard",
    "training expert clinical",
    "searching merge weights",
    "writing the model",
    "opening the test queries",
)
LATEST = 5.0
"""Seconds into a stage at which the kill comes at the latest."""


def short_domain(work: Path, share: float) -> Path:
    """Write the biomedical domain with a share of every expert's steps, and a small corpus."""
    shown = subprocess.run(
        [sys.executable, "-m", "stm_agent", "domains", "show", "biomedical"], capture_output=True, text=True, check=True
    )
    domain = yaml.safe_load(shown.stdout)
    for expert in domain["experts"]:
        expert["steps"] = max(4, round(expert["steps"] * share))
    if share < 1:
        # What decides nothing here is small as well: 900 definitions, 100 guard passages, a few written texts.
        domain["collection"]["documents"] = domain["mine"]["documents"] = 900
        domain["general"][0]["documents"] = 100
        domain["synthesize"] |= {"pairs": 6, "queries": 36}
        domain["instruct"]["reflections"] = 1
        # Short trainings still have a checkpoint to be killed after.
        domain["train"]["checkpoint_every"] = 3
    path = work / "short.yaml"
    path.write_text(yaml.safe_dump(domain, sort_keys=False))
    return path


def start(domain: Path, workspace: Path) -> subprocess.Popen[str]:
    """Start the job in a process group of its own."""
    command = [sys.executable, "-m", "stm_agent", "optimize", "--domain", str(domain), "--workspace", str(workspace)]
    return subprocess.Popen(
        [*command, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def run_to_stage(job: subprocess.Popen[str], waiting: list[str]) -> str | None:
    """Follow a job until it announces a stage of ``waiting``; None when it ends before."""
    assert job.stderr is not None
    for line in job.stderr:
        hit = next((stage for stage in waiting if stage in line), None)
        if hit:
            return hit
    return None


def scores(report: dict[str, Any]) -> dict[str, float]:
    """Return the test nDCG@10 of every row."""
    return {name: row["ndcg_at_10"] for name, row in report["rows"].items()}


def killed_everywhere(domain: Path, workspace: Path, seed: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Run the job with one kill for each stage; return its report and the kills."""
    waiting, kills, clock = list(STAGES), [], random.Random(seed)
    while True:
        job = start(domain, workspace)
        stage = run_to_stage(job, waiting)
        if stage is None:
            out, _ = job.communicate()
            if job.returncode:
                sys.exit(f"the job failed with status {job.returncode} after {len(kills)} kills")
            return json.loads(out), kills
        after = clock.uniform(0, LATEST)
        time.sleep(after)
        os.killpg(job.pid, signal.SIGKILL)
        job.communicate()
        waiting.remove(stage)
        kills.append({"stage": stage, "seconds_into_it": round(after, 2), "status": job.returncode})
        sys.stderr.write(f"killed: {stage}, {after:.1f} s into it\n")


def main() -> None:
    """Run both jobs and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=0.1, help="share of every expert's steps")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments of the kills")
    parser.add_argument("--work", type=Path, default=HERE / "work" / "kill", help="emptied first")
    options = parser.parse_args()
    shutil.rmtree(options.work, ignore_errors=True)
    for name in ("whole", "killed"):
        subprocess.run([sys.executable, "-m", "stm_agent", "init", str(options.work / name)], check=True)
    domain = short_domain(options.work, options.share)
    out, err = start(domain, options.work / "whole").communicate()
    if not out:
        sys.exit(f"the untouched job failed: {err[-500:]}")
    whole = scores(json.loads(out))
    report, kills = killed_everywhere(domain, options.work / "killed", options.seed)
    after = scores(report)
    record = {
        "name": "kill",
        "command": f"python benchmarks/kill.py --share {options.share} --seed {options.seed}",
        "machine": machine(),
        "versions": versions(),
        "seeds": [options.seed],
        "domain": yaml.safe_load(domain.read_text()),
        "kills": kills,
        "untouched": whole,
        "killed": after,
        "claims": [
            claim("stages killed", len(kills), len(STAGES) - 1, "stages"),
            claim(
                "largest difference of a test score, killed and untouched",
                max(abs(whole[name] - after.get(name, 0.0)) for name in whole),
                1e-6,
                "nDCG@10",
                lower=True,
            ),
        ],
    }
    save(record)
    show(record["claims"])


if __name__ == "__main__":
    main()
