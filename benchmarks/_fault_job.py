"""The mini run that faults are thrown at: a pico decoder, a tiny collection, an LLM behind HTTP."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from _fault_process import Nursery, Running
from _fault_server import Asked, CountingServer

GENERATOR, PRICES = "openai/fake", ("--price-in", "1", "--price-out", "2")
FIRST_STAGE = "building the collections"


def mini_domain(work: Path, **changes: Any) -> Path:
    """Write the domain: three experts, all levers that ask an LLM; a run of seconds once libraries are imported."""
    from stm_agent.testing.pico import pico_decoder
    from stm_agent.testing.tiny import tiny_beir

    if not (work / "beir").exists():
        tiny_beir(work / "beir")
        pico_decoder(work / "pico")
    collection = {"kind": "beir", "path": str(work / "beir")}
    domain: dict[str, Any] = {
        "name": "mini",
        "task": "A question -> the passage that answers it",
        "collection": collection,
        "general": [collection],
        "backbone": {"model": str(work / "pico"), "max_length": 32},
        "baseline": None,
        "experts": [
            {"name": "plain", "sources": ["train"], "steps": 30},
            {
                "name": "hard",
                "sources": ["train"],
                "steps": 20,
                "start": "plain",
                "negatives": {"mined": 1, "synthetic": 1},
            },
            {"name": "written", "sources": ["written"], "steps": 10, "start": "plain"},
        ],
        "train": {"batch_size": 8, "learning_rate": 0.01, "scale": 20.0, "checkpoint_every": 5},
        "synthesize": {"pairs": 6, "queries": 12},
        "mine": {"encoder": None},
        "instruct": {"reflections": 2},
        "loop": {"probe_steps": 4, "bootstrap": 500},
        **changes,
    }
    path = work / f"{domain['name']}.yaml"
    path.write_text(yaml.safe_dump(domain, sort_keys=False))
    return path


def scores(report: dict[str, Any]) -> dict[str, float]:
    """Return the test nDCG@10 of every row."""
    return {name: row["ndcg_at_10"] for name, row in report["rows"].items()}


def apart(one: dict[str, float], other: dict[str, float]) -> float:
    """Return the largest difference of two runs' scores; 1.0 if they have other rows."""
    if set(one) != set(other):
        return 1.0
    return max((abs(one[name] - other[name]) for name in one), default=1.0)


@dataclass
class Mini:
    """Starts mini runs.

    Attributes:
        work: Holds domain, workspaces and streams.
        server: The LLM.
        cold: Start every process by exec, nothing imported.
        untouched: Test scores of the run that nothing happened to, by seed.
        durations: Seconds of each announced stage of that run.
    """

    work: Path
    server: CountingServer
    cold: bool = False
    untouched: dict[int, dict[str, float]] = field(default_factory=dict)
    durations: list[float] = field(default_factory=list)
    _free: list[Nursery] = field(default_factory=list)
    _started: int = 0

    def workspace(self, name: str, server: CountingServer | None = None) -> tuple[Path, Asked]:
        """Return an empty workspace and what its runs ask the LLM."""
        from stm_agent.cli.init import init_workspace

        folder = self.work / "spaces" / name
        shutil.rmtree(folder, ignore_errors=True)
        init_workspace(folder)
        return folder, (server or self.server).expect(name, folder / "runs" / ".cache" / "llm")

    def command(self, workspace: Path, *flags: str, domain: str = "mini", base: str | None = None) -> list[str]:
        """Return the arguments of ``stm-agent optimize``."""
        place = ["--domain", str(self.work / f"{domain}.yaml"), "--workspace", str(workspace), "--json"]
        return ["optimize", *place, "--generator", GENERATOR, "--api-base", base or self.server.base, *PRICES, *flags]

    def start(self, workspace: Path, argv: list[str], *, clock: int = 0, warm: bool = True) -> Running:
        """Start one command."""
        self._started += 1
        streams = self.work / "streams"
        streams.mkdir(exist_ok=True)
        request = {
            "argv": argv,
            "env": {"OPENAI_API_KEY": workspace.name},
            "err": str(streams / f"{self._started}.err"),
            "out": str(streams / f"{self._started}.out"),
            "clock": clock,
        }
        return Running(request, None if self.cold or not warm else self._nursery())

    def _nursery(self) -> Nursery:
        # Two commands side by side need two.
        for nursery in self._free:
            if nursery.idle:
                return nursery
        self._free.append(Nursery())
        return self._free[-1]

    def run(self, workspace: Path, *flags: str, **more: Any) -> Running:
        """Run ``optimize`` to its end."""
        running = self.start(workspace, self.command(workspace, *flags), **more)
        running.wait()
        return running

    def off(self, running: Running, seed: int = 0) -> float:
        """Return how far a finished run's scores are from the untouched run's; 1.0 if it failed."""
        if running.wait():
            return 1.0
        if seed not in self.untouched:
            self.untouched[seed] = self.measure(seed, f"seed-{seed}")
        return apart(scores(running.result), self.untouched[seed])

    def measure(self, seed: int, name: str, *, warm: bool = True) -> dict[str, float]:
        """Run one seed that nothing happens to; return its scores."""
        workspace, _ = self.workspace(name)
        running = self.start(workspace, self.command(workspace, "--seed", str(seed)), warm=warm)
        announced: list[float] = []
        while running.wait_until(lambda stages: len(stages) > len(announced)):
            announced.append(time.monotonic())
        if status := running.wait():
            raise SystemExit(f"the untouched run failed with status {status}: {running.screen[-2000:]}")
        ends = [*announced[1:], time.monotonic()]
        if seed == 0:
            self.durations = [end - start for start, end in zip(announced, ends, strict=True)]
        return scores(running.result)

    def close(self) -> None:
        """End what forks."""
        for nursery in self._free:
            nursery.close()


def folder_of(workspace: Path) -> Path:
    """Return the one run of a workspace."""
    (path,) = (workspace / "runs").glob("*/run.json")
    return path.parent


def has_model(folder: Path) -> bool:
    """Return whether a run has an exported model."""
    return (folder / "model" / "modules.json").is_file()


def half_written(workspace: Path) -> list[str]:
    """Return what stands under a good name and is not whole: stages, JSON files, vectors, an exported model."""
    import numpy as np

    from stm_agent.execute.manifest import folder_fault
    from stm_agent.files import read_json

    runs, found = workspace / "runs", []
    for stage in sorted(path for path in (runs / ".stages").glob("*") if path.name[0] != "."):
        if fault := folder_fault(stage):
            found.append(f"{stage.name}: {fault}")
    paths = [path for path in runs.rglob("*") if path.is_file() and not set(path.relative_to(runs).parts) & {".stages"}]
    for path in paths:
        if ".partial-" in str(path.relative_to(runs)):
            continue
        try:
            if path.suffix == ".json":
                read_json(path)
            elif path.suffix == ".npz":
                np.load(path)
        except Exception as error:
            found.append(f"{path.relative_to(runs)}: {error}")
    found += [f"{run.name}: a model without files" for run in runs.glob("*/model") if not has_model(run.parent)]
    return found
