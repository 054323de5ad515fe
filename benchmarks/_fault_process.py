"""Processes of the command line, started cold or forked from one that has the libraries imported.

Half of what a mini run costs is importing torch, mteb and DSPy. A nursery imports them once and forks: what a kill
meets on disk is the same. Every process is the leader of a group of its own, writes to files, and may get a clock
that is wrong.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LIBRARIES = ("torch", "sentence_transformers", "peft", "datasets", "mteb", "dspy", "gepa.api", "litellm", "bm25s")
POLL = 0.01


def run_command(request: dict[str, Any]) -> None:
    """Become the command: streams into files, clock set, then the command line's own entry."""
    os.setsid()
    for number, name in ((1, "out"), (2, "err")):
        descriptor = os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.update(request["env"])
    if request["clock"]:
        true_time, true_nanoseconds, shift = time.time, time.time_ns, int(request["clock"])
        time.time = lambda: true_time() + shift
        time.time_ns = lambda: true_nanoseconds() + shift * 10**9
    sys.argv = ["stm-agent", *request["argv"]]
    from stm_agent.cli.main import main

    main()


def nurse() -> None:
    """Import the libraries, then fork one command for each line of standard input and write its pid and status."""
    for name in LIBRARIES:
        importlib.import_module(name)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            # What the parent reads from and writes to is not the child's.
            os.close(0)
            os.open(os.devnull, os.O_RDONLY)
            run_command(json.loads(line))
            sys.exit(0)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


class Nursery:
    """Starts one command at a time, forked from a process with the libraries imported."""

    def __init__(self) -> None:
        """Start it and wait until it is ready."""
        command = [sys.executable, __file__, "nurse"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self.idle = True
        if self._line() != "ready":
            sys.exit("the nursery does not start")

    def send(self, request: dict[str, Any]) -> int:
        """Start a command; return its pid."""
        assert self._process.stdin is not None
        self.idle = False
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return int(self._line())

    def status(self) -> int:
        """Wait for the command and return its exit status."""
        status = int(self._line())
        self.idle = True
        return status

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


class Running:
    """A started command."""

    def __init__(self, request: dict[str, Any], nursery: Nursery | None) -> None:
        """Start it, cold without a nursery."""
        self._err, self._out = Path(request["err"]), Path(request["out"])
        for path in (self._err, self._out):
            path.write_text("")
        self._nursery, self._status = nursery, None
        self.lived = 0.0
        self.began = time.monotonic()
        if nursery is not None:
            self.pid = nursery.send(request)
            return
        self._popen = subprocess.Popen([sys.executable, __file__, "once", json.dumps(request)])
        self.pid = self._popen.pid

    @property
    def screen(self) -> str:
        """Standard error so far."""
        return self._err.read_text(errors="replace")

    @property
    def lines(self) -> list[str]:
        """Lines of standard error that are about stages, decisions and errors, without the clock in front."""
        return [line[7:] if line[:5].strip().replace(":", "").isdigit() else line for line in self.screen.splitlines()]

    @property
    def stages(self) -> list[str]:
        """Stages that were announced so far."""
        return [line.removeprefix("· ") for line in self.lines if line.startswith("· ")]

    @property
    def result(self) -> Any:
        """The JSON document on standard output."""
        return json.loads(self._out.read_text())

    def alive(self) -> bool:
        """Return whether it is still there and no zombie."""
        try:
            state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        return state not in "ZX"

    def wait_for(self, text: str) -> bool:
        """Wait until a stage is announced whose text has ``text``; False if it ended before."""
        return self.wait_until(lambda stages: any(text in stage for stage in stages))

    def wait_until(self, reached: Callable[[list[str]], bool]) -> bool:
        """Wait until the announced stages are as wanted; False if it ended before."""
        while True:
            alive = self.alive()
            if reached(self.stages):
                return True
            if not alive:
                return False
            time.sleep(POLL)

    def sleep(self, seconds: float) -> None:
        """Sleep, but not longer than it lives."""
        ends = time.monotonic() + seconds
        while self.alive() and (left := ends - time.monotonic()) > 0:
            time.sleep(min(POLL, left))

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it alone, as a shell or a service manager does."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> bool:
        """Kill -9 its whole group; return whether it died of that."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        return self.wait() == -signal.SIGKILL

    def wait(self) -> int:
        """Return its exit status, negative: the signal that ended it."""
        if self._status is None:
            self.lived = time.monotonic() - self.began
            self._status = self._nursery.status() if self._nursery is not None else self._popen.wait()
        return self._status


if __name__ == "__main__":
    nurse() if sys.argv[1] == "nurse" else run_command(json.loads(sys.argv[2]))
