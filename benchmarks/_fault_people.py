"""What people and machines do to a run: start it twice, stop it, set the clock back."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any

from _fault_job import Mini, folder_of, has_model
from _record import claim

Claims = list[dict[str, Any]]
DAY = 86_400
IN_CREATE = 0x100


class BuildCounter:
    """Counts the stage folders that are begun in a folder, by inotify: every build makes a temporary one."""

    def __init__(self, folder: Path) -> None:
        """Watch a folder, which is made."""
        folder.mkdir(parents=True, exist_ok=True)
        self.builds: Counter[str] = Counter()
        library = ctypes.CDLL(None, use_errno=True)
        self._descriptor = library.inotify_init()
        library.inotify_add_watch(self._descriptor, os.fsencode(folder), IN_CREATE)
        self._thread = threading.Thread(target=self._read, daemon=True)

    def _read(self) -> None:
        while data := os.read(self._descriptor, 65536):
            while data:
                length = int.from_bytes(data[12:16], "little")
                name = data[16 : 16 + length].rstrip(b"\0").decode()
                if name == "end":
                    return
                if name.startswith(".partial-"):
                    self.builds[name.removeprefix(".partial-").rpartition("-")[0]] += 1
                data = data[16 + length :]

    def __enter__(self) -> BuildCounter:
        """Begin to count."""
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop counting."""
        os.close(self._descriptor)


def stm_agent(mini: Mini, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run a short command."""
    return subprocess.run([sys.executable, "-m", "stm_agent", *argv], capture_output=True, text=True)


def side_by_side(mini: Mini) -> tuple[dict[str, Any], Claims]:
    """Start the same command twice, then two seeds at once, in one workspace."""
    workspace, asked = mini.workspace("twice")
    first = mini.start(workspace, mini.command(workspace))
    first.wait_for("seed instructions")
    second = mini.run(workspace)
    twice = {"status": second.wait(), "lines": second.lines, "off": mini.off(first)}
    refused = twice["status"] == 2 and sum(line.startswith("error: ") for line in twice["lines"]) == 1
    workspace, both = mini.workspace("seeds")
    with BuildCounter(workspace / "runs" / ".stages") as counter:
        runs = {seed: mini.start(workspace, mini.command(workspace, "--seed", str(seed))) for seed in (0, 1)}
        off = max(mini.off(running, seed) for seed, running in runs.items())
    again = {name: count for name, count in counter.builds.items() if count > 1}
    record = {"twice": twice, "builds": sum(counter.builds.values()), "built_again": again, "llm": both.to_json()}
    return record, [
        claim("the same command twice: refused in one line, exit 2", float(refused), 0, "refusals"),
        claim("the same command twice: difference of a test score", twice["off"], 1e-6, "nDCG@10", lower=True),
        claim("two seeds at once: largest difference from each alone", off, 1e-6, "nDCG@10", lower=True),
        claim("two seeds at once: stages built twice", len(again), 0, "stages", lower=True),
        claim(
            "side by side: LLM calls asked for twice",
            sum(counts.to_json()["requests"] - counts.to_json()["distinct"] for counts in (asked, both)),
            0,
            "calls",
            lower=True,
        ),
    ]


STOPS = {
    "SIGINT": "writes queries",
    "SIGTERM": "training expert plain",
    "runs stop": "training expert hard",
    "SIGINT, late": "writing the model",
}


def stops(mini: Mini) -> tuple[dict[str, Any], Claims]:
    """Stop a run in each way; the same command must end with the same scores."""
    rows = []
    for number, (way, stage) in enumerate(STOPS.items()):
        workspace, asked = mini.workspace(f"stop-{number}")
        running = mini.start(workspace, mini.command(workspace))
        running.wait_for(stage)
        if way == "runs stop":
            stm_agent(mini, "runs", "stop", folder_of(workspace).name, "--workspace", str(workspace))
        else:
            running.signal(signal.Signals[way.split(",")[0]])
        status = running.wait()
        rows.append(
            {
                "way": way,
                "stage": stage,
                "status": status,
                "model": has_model(folder_of(workspace)),
                "last_line": running.lines[-1].replace(str(mini.work), "") if running.lines else "",
                "off": mini.off(mini.run(workspace)),
                "llm": asked.to_json(),
            }
        )
    whole = [row for row in rows if row["status"] == 130 and row["model"]]
    return {"stops": rows}, [
        claim("stopped: exit 130 with the best model exported, all of", len(whole), len(rows) - 1, "stops"),
        claim(
            "stopped and resumed: largest difference of a test score",
            max(row["off"] for row in rows),
            1e-6,
            "nDCG@10",
            lower=True,
        ),
        claim(
            "stopped and resumed: LLM calls paid twice",
            sum(row["llm"]["paid_twice"] for row in rows),
            0,
            "calls",
            lower=True,
        ),
    ]


def clock(mini: Mini) -> tuple[dict[str, Any], Claims]:
    """Kill a run whose clock is ten days ahead, resume it thirty days behind, begin another sixty days behind."""
    import json
    import time

    workspace, asked = mini.workspace("clock")
    began = time.monotonic()
    ahead = mini.start(workspace, mini.command(workspace), clock=10 * DAY)
    ahead.wait_for("training expert hard")
    ahead.kill()
    old = time.time() - 100 * DAY
    for path in (workspace / "runs").rglob("*"):
        os.utime(path, (old, old))
    behind = mini.run(workspace, clock=-30 * DAY)
    wall = (time.monotonic() - began) / 60
    off = mini.off(behind)
    minutes = behind.result["cost"]["minutes"] if behind.wait() == 0 else 0.0
    first = folder_of(workspace).name
    later = mini.run(workspace, "--seed", "1", clock=-60 * DAY)
    off = max(off, mini.off(later, 1))
    second = later.result["run"]
    listed = json.loads(stm_agent(mini, "runs", "list", "--workspace", str(workspace), "--json").stdout)
    last = json.loads(stm_agent(mini, "runs", "show", "last", "--workspace", str(workspace), "--json").stdout)["run"]
    record = {"listed": [row["run"] for row in listed], "begun": [first, second], "last": last}
    record |= {"minutes": minutes, "wall_minutes": wall, "llm": asked.to_json()}
    # A clock that jumped would count days, or less than nothing.
    wrong = 0.0 if 0 < minutes <= wall + 0.05 else 1.0
    return record, [
        claim("clock set back: largest difference of a test score", off, 1e-6, "nDCG@10", lower=True),
        claim("clock set back: minutes of the run outside of the wall time", wrong, 0, "runs", lower=True),
        claim("clock set back: 'last' is not the run that began last", float(last != second), 0, "runs", lower=True),
        claim("clock set back: LLM calls paid twice", asked.stored_repeats, 0, "calls", lower=True),
    ]
