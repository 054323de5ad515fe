"""Ray on two nodes: a node killed 20 times in the middle of a job, the overhead of a task, and eight trainings.

    python benchmarks/ray_kills.py             # about 15 minutes on two cores
    python benchmarks/ray_kills.py --kills 3   # a short look

A small domain (random decoder of two layers, 60 documents, a stub as the LLM) runs inline, then under Ray on a cluster
of three nodes on loopback: a head without cores and two nodes of one core each. Whenever a job is at work, its node is
killed and another one is started, each job at most twice; runs in new workspaces follow until there were enough kills.
Then 20 jobs that do nothing give the overhead of a task, and eight small trainings the speed of two workers against
this process. Workers compute with one thread, as does the run inline; the eight trainings inline have all cores.
Writes ``benchmarks/results/ray_kills.json``; parts that were measured before are kept, unless ``--fresh`` is given.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from _record import RESULTS, claim, machine, save, show, versions

HERE = Path(__file__).parent
TRAININGS, EMPTY_JOBS, MOST_KILLS_A_JOB = 8, 20, 2
STEPS = 120


class Killer:
    """Kills the node of a job at work, and starts another one. Ray starts nodes in the main thread alone."""

    def __init__(self, cluster: Any, kills: int) -> None:
        self.cluster, self.left, self.killed = cluster, kills, Counter[str]()

    def look(self) -> None:
        """Kill a node if one is at work on a job that was not killed often enough."""
        for node in list(self.cluster.worker_nodes):
            name = working_on(node)
            if not self.left or name is None or self.killed[name] >= MOST_KILLS_A_JOB:
                continue
            time.sleep(0.5)
            if working_on(node) != name:
                continue
            self.killed[name] += 1
            self.left -= 1
            self.cluster.remove_node(node, allow_graceful=False)
            self.cluster.add_node(num_cpus=1)
            sys.stderr.write(f"killed the node of {name}; {self.left} kills left\n")
            return


def working_on(node: Any) -> str | None:
    """Return the name of the job that a node works on; Ray shows it as the title of the worker's process."""
    (raylet,) = (info.process for info in node.all_processes["raylet"])
    try:
        lines = [child.cmdline() for child in psutil.Process(raylet.pid).children(recursive=True)]
    except psutil.Error:
        return None
    titles = [line[0] for line in lines if line and line[0].startswith("ray::")]
    names = [title.removeprefix("ray::").split("(")[0].strip() for title in titles]
    return next((name for name in names if "-" in name and not name.startswith("IDLE")), None)


def domain(work: Path) -> Any:
    """Return a domain that is small enough to be run many times."""
    from stm_agent.domain.spec import DomainSpec
    from stm_agent.testing.pico import pico_decoder
    from stm_agent.testing.tiny import tiny_beir

    beir, decoder = str(tiny_beir(work / "beir")), str(pico_decoder(work / "pico"))
    hard = {"name": "hard", "sources": ["train"], "steps": 20, "negatives": {"mined": 1, "synthetic": 1}}
    return DomainSpec.model_validate(
        {
            "name": "tiny",
            "task": "A question -> the passage that answers it",
            "collection": {"kind": "beir", "path": beir},
            "general": [{"kind": "beir", "path": beir}],
            "backbone": {"model": decoder, "max_length": 32},
            "baseline": None,
            "experts": [{"name": "plain", "sources": ["train"], "steps": 30}, hard],
            "train": {"batch_size": 8, "learning_rate": 0.01, "scale": 20.0},
            "synthesize": {"pairs": 8, "structured": "never"},
            "mine": {"encoder": None},
            "instruct": {"reflections": 0},
            "loop": {"probe_steps": 4, "bootstrap": 500},
        }
    )


def optimize(spec: Any, work: Path, api_base: str, executor: str) -> dict[str, float]:
    """Run the loop in a new workspace; return the test scores of its rows."""
    from stm_agent.cli.init import init_workspace
    from stm_agent.loop.optimize import optimize as run
    from stm_agent.loop.options import Options

    init_workspace(work)
    options = Options(generator="openai/stub", api_base=api_base, price_in=0.0, price_out=0.0, executor=executor)
    report = run(spec, options, workspace=work, runs=work / "runs", observer=lambda event: None)
    left = [*(work / "runs" / ".stages").glob(".partial-*")]
    sys.stderr.write(f"{executor}: {report['dev']}, {len(left)} half-built folders of killed nodes\n")
    return {name: row["ndcg_at_10"] for name, row in report["rows"].items()}


def requests(api_base: str) -> int:
    """Return how many requests the stub got so far."""
    with urllib.request.urlopen(api_base.removesuffix("/v1") + "/counts") as reply:  # noqa: S310 - our own stub
        return int(json.load(reply).get("requests", 0))


def new_cluster(cores: int) -> Any:
    """Start a head without cores and two nodes, and connect."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
    for _ in range(2):
        cluster.add_node(num_cpus=cores)
    return cluster


def measure_kills(spec: Any, work: Path, api_base: str, cluster: Any, kills: int) -> dict[str, Any]:
    """Compare runs whose nodes are killed with one that ran inline."""
    before = requests(api_base)
    reference = optimize(spec, work / "inline", api_base, "inline")
    paid = requests(api_base) - before
    killer = Killer(cluster, kills)
    gaps, calls, began = [], [], time.monotonic()
    while killer.left:
        killer.killed.clear()
        before = requests(api_base)
        with ThreadPoolExecutor(1) as pool:
            run = pool.submit(optimize, spec, work / f"ray-{len(gaps)}", api_base, "ray")
            while not run.done():
                killer.look()
                time.sleep(0.2)
        rows = run.result()
        calls.append(requests(api_base) - before)
        gaps.append(max(abs(rows[name] - reference[name]) for name in reference))
        if rows.keys() != reference.keys():
            sys.exit(f"the rows are {sorted(rows)} instead of {sorted(reference)}")
    return {
        "kills": kills,
        "runs": len(gaps),
        "largest_gap": max(gaps),
        "calls_inline": paid,
        "calls_under_ray": calls,
        "seconds": round(time.monotonic() - began, 1),
    }


def measure_overhead(work: Path) -> float:
    """Return the mean seconds from handing a job out to having its folder, beyond what building it inline takes."""
    from stm_agent.execute.cluster import Resources
    from stm_agent.execute.inline import InlineExecutor
    from stm_agent.execute.ray import RayExecutor
    from stm_agent.execute.store import JobStore
    from stm_agent.testing.jobs import NumberJob

    executor = RayExecutor(JobStore(work / "ray"), resources=lambda kind: Resources())
    # The first jobs start the workers.
    executor.run([NumberJob(-1, seconds=2.0), NumberJob(-2, seconds=2.0)])
    began = time.monotonic()
    for number in range(EMPTY_JOBS):
        executor.run([NumberJob(number)])
    sent = time.monotonic() - began
    inline, began = InlineExecutor(JobStore(work / "inline")), time.monotonic()
    for number in range(EMPTY_JOBS):
        inline.run([NumberJob(number)])
    return (sent - (time.monotonic() - began)) / EMPTY_JOBS


def trainings(spec: Any, work: Path, first: int, count: int) -> list[Any]:
    """Return trainings that differ by their seeds."""
    from stm_agent.backbone.instruction import Instruction
    from stm_agent.domain.build import build_domain_data
    from stm_agent.domain.spec import BackboneSpec, ExpertSpec
    from stm_agent.testing.pico import pico_decoder
    from stm_agent.train.job import NO_NEGATIVES, TrainingJob

    data = build_domain_data(spec.collection, work)
    decoder = work / "larger"
    if not decoder.exists():
        pico_decoder(decoder, layers=6, hidden=192)
    return [
        TrainingJob(
            expert=ExpertSpec(name="plain", sources=("train",), steps=STEPS),
            # The rate of the small decoder would make this one diverge.
            train=spec.train.model_copy(update={"learning_rate": 0.001}),
            backbone=BackboneSpec(model=str(decoder), max_length=32),
            pairs=tuple(data.sources["train"]),
            negatives=NO_NEGATIVES,
            instruction=Instruction(),
            seed=seed,
            cache=work / ".cache",
        )
        for seed in range(first, first + count)
    ]


def measure_trainings(spec: Any, work: Path) -> dict[str, float]:
    """Return the seconds of eight trainings inline, with all cores, and on two workers of one core each."""
    import torch

    from stm_agent.execute.cluster import Resources
    from stm_agent.execute.inline import InlineExecutor
    from stm_agent.execute.ray import RayExecutor
    from stm_agent.execute.store import JobStore

    executor = RayExecutor(JobStore(work / "ray"), resources=lambda kind: Resources())
    inline = InlineExecutor(JobStore(work / "inline"))
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    seconds = {}
    for name, where in (("inline", inline), ("ray", executor)):
        # Imports and the first training of a process are not what is compared.
        where.run(trainings(spec, work, 100, 2))
        began = time.monotonic()
        where.run(trainings(spec, work, 0, TRAININGS))
        seconds[name] = round(time.monotonic() - began, 2)
    return seconds


def main() -> None:
    """Measure, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--fresh", action="store_true", help="measure all parts again")
    options = parser.parse_args()
    # Ray gives its workers a low priority, so that on a busy machine their speed is not that of this process.
    os.environ |= {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    os.environ["PYTHONPATH"] = str(HERE.parent)
    import ray
    import torch

    torch.set_num_threads(1)
    record = RESULTS / "ray_kills.json"
    measured: dict[str, Any] = {}
    if record.exists() and not options.fresh:
        measured = json.loads(record.read_text()).get("measured", {})
    if measured.get("killed", {}).get("kills") != options.kills:
        measured.pop("killed", None)
    cluster = new_cluster(1)
    try:
        with tempfile.TemporaryDirectory() as scrap, llm_stub() as api_base:
            work = Path(scrap)
            spec = domain(work)
            parts: dict[str, Callable[[], Any]] = {
                "overhead": lambda: measure_overhead(work / "overhead"),
                "killed": lambda: {
                    "kills": options.kills,
                    **measure_kills(spec, work, api_base, cluster, options.kills),
                },
                "trainings": lambda: measure_trainings(spec, work),
            }
            for name, measure in parts.items():
                if name not in measured:
                    about = machine()
                    measured[name] = measure()
                    write(measured, about, options.kills, str(ray.__version__))
    finally:
        ray.shutdown()
        cluster.shutdown()
    show(claims(measured))


@contextmanager
def llm_stub() -> Iterator[str]:
    """Start the stub of an LLM server; yield its address."""
    command = [sys.executable, str(HERE / "_llm_stub.py"), "--seconds", "0.02", "--same"]
    stub = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert stub.stdout is not None
        yield f"{stub.stdout.readline().strip()}/v1"
    finally:
        stub.kill()


def claims(measured: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the claims on the parts that were measured."""
    rows = []
    if killed := measured.get("killed"):
        more = max(calls - killed["calls_inline"] for calls in killed["calls_under_ray"])
        text = f"test nDCG@10 with {killed['kills']} nodes killed, largest difference to inline"
        rows.append(claim(text, killed["largest_gap"], 1e-6, "nDCG@10", lower=True, **killed))
        rows.append(claim("LLM calls paid twice", more, 0, "calls", lower=True))
    if (overhead := measured.get("overhead")) is not None:
        rows.append(
            claim("overhead of a task on a warm cluster", round(overhead, 3), 1.0, "s", lower=True, jobs=EMPTY_JOBS)
        )
    if seconds := measured.get("trainings"):
        text = f"{TRAININGS} trainings, inline on all cores / two workers of one core"
        rows.append(claim(text, round(seconds["inline"] / seconds["ray"], 2), 1.0, "x", **seconds))
    return rows


def write(measured: dict[str, Any], about: dict[str, Any], kills: int, version: str) -> None:
    """Write the record with the parts so far."""
    save(
        {
            "name": "ray_kills",
            "command": f"python benchmarks/ray_kills.py --kills {kills}",
            "machine": about,
            "versions": {**versions(), "ray": version},
            "seeds": [0],
            "measured": measured,
            "claims": claims(measured),
        }
    )


if __name__ == "__main__":
    main()
