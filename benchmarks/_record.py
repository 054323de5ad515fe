"""What every benchmark writes down: the machine, the versions, and claims whose ``holds`` is computed."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"

STACK = (
    "torch",
    "transformers",
    "sentence-transformers",
    "peft",
    "mteb",
    "dspy",
    "gepa",
    "bm25s",
    "litellm",
    "xllamacpp",
)


def machine() -> dict[str, object]:
    """Return the processor, cores, memory (GiB) and Python of this machine."""
    import psutil

    return {
        "processor": platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def versions() -> dict[str, str]:
    """Return the versions of the libraries that decide the numbers."""
    return {name: version(name) for name in STACK}


def claim(
    text: str, measured: float, target: float, unit: str, *, lower: bool = False, **raw: object
) -> dict[str, Any]:
    """Return one claim; it holds when ``measured`` is above the target (or at most the target, with ``lower``)."""
    holds = measured <= target if lower else measured > target
    return {"claim": text, "measured": measured, "target": target, "unit": unit, "holds": holds, **raw}


def job(command: list[str]) -> dict[str, Any]:
    """Run a command that prints JSON; return its ``result``, ``wall_seconds`` and, with all children, ``peak_gib``."""
    from stm_agent.memory import PeakMemory

    started = time.monotonic()
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    with PeakMemory(running.pid) as peak:
        out, _ = running.communicate()
    if running.returncode:
        sys.exit(f"{' '.join(command)} failed with status {running.returncode}")
    return {"result": json.loads(out), "wall_seconds": time.monotonic() - started, "peak_gib": peak.gib}


def prepare(work: Path, *, keep: bool = False) -> int:
    """Make an empty workspace (or keep what is there) and give torch the idle cores; return how many threads."""
    from stm_agent.backbone.threads import choose_threads, set_threads
    from stm_agent.cli.init import init_workspace

    threads = choose_threads()[0]
    set_threads(threads)
    if not keep:
        shutil.rmtree(work, ignore_errors=True)
    if not work.exists():
        init_workspace(work)
    return threads


def optimize(work: Path, *flags: str) -> dict[str, Any]:
    """Run ``stm-agent optimize`` in a workspace; return its ``report``, wall seconds and peak memory."""
    done = job([sys.executable, "-m", "stm_agent", "optimize", "--workspace", str(work), "--json", *flags])
    report = done.pop("result")
    # Where it lies on this machine is nobody's business.
    return {"report": {**report, "model": os.path.relpath(report["model"], work)}, **done}


def save(record: dict[str, Any]) -> None:
    """Write ``results/<name>.json``, a whole file or none."""
    from stm_agent.files import write_json

    RESULTS.mkdir(exist_ok=True)
    write_json(RESULTS / f"{record['name']}.json", record)


def show(claims: list[dict[str, Any]]) -> None:
    """Print a line for each claim, the failing ones as plainly as the others."""
    for entry in claims:
        mark = "holds" if entry["holds"] else "FAILS"
        sys.stdout.write(f"{mark}  {entry['claim']}: {entry['measured']:.4g} ({entry['target']} {entry['unit']})\n")
