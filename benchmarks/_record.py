"""What every benchmark writes down: the machine, the versions, and claims whose ``holds`` is computed."""

from __future__ import annotations

import os
import platform
import sys
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
