"""Run folders: which one belongs to an identity, and whether a process works on it.

A run's name ends in the hash of its identity, so the same command finds the same run and changed inputs make a new
one. Runs are numbered in the order in which they began: clocks may jump.
"""

from __future__ import annotations

import re
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import NotRequired, TypedDict, cast

from filelock import FileLock, Timeout

from stm_agent.errors import ConfigError, RunError, RunLocked, StorageError
from stm_agent.files import read_json, storing, write_json
from stm_agent.loop.identity import Identity, differences, identity_hash
from stm_agent.loop.ledger import Ledger
from stm_agent.loop.stopping import STOP_FILE

SCHEMA = 2
LOCK = ".lock"
STOPPED = "stopped.json"
"""What a stopped search of an instruction leaves; a run of the loop has a report instead."""
PROGRAM_RESULT, COMPARISON = "program.json", "comparison.json"
"""What a finished search of a program's text leaves, and a finished comparison of generators."""
COMMANDS = "commands.jsonl"
BEFORE_WORK = {"run.json", LOCK, "firewall.jsonl", "clock", COMMANDS}
"""Contents of a run's folder before anything is scored, trained or paid for."""


class RunEntry(TypedDict):
    """``run.json`` of a run; what only some versions write may be missing.

    Attributes:
        id: Name of its folder.
        number: The order in which runs began; 0: older than all others.
        schema: Version of its layout.
        identity: What decides its result.
        fresh: Whether ``--fresh`` began it.
    """

    id: str
    number: int
    schema: NotRequired[int]
    identity: NotRequired[Identity]
    identity_hash: NotRequired[str]
    fresh: NotRequired[bool]


class RunFolder:
    """One run on disk, locked for this process.

    ``run.json`` (its identity), ``ledger.jsonl``, ``llm.jsonl``, ``traces.jsonl``, ``clock/``, ``report.json`` and
    ``model/``.
    """

    def __init__(self, root: Path, name: str, identity: Identity, *, fresh: bool = False) -> None:
        """Open or create a run and lock it.

        Raises:
            ConfigError: ``name`` cannot be a folder's name.
            RunLocked: Another process works on it.
            RunError: It is a run of another identity, or of another version of this program.
        """
        if "/" in name or name.startswith("."):
            raise ConfigError(f"'{name}' cannot name a run: no '/' and no leading '.'; try 'run-1'")
        self.id, self.identity, self.folder = name, identity, root / name
        with storing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(self.folder / LOCK)
        try:
            # "runs list" holds the lock for a moment to see whether somebody works on the run.
            self._lock.acquire(timeout=1)
        except Timeout:
            raise RunLocked(
                f"run {name} is being worked on by another process; wait for it, stop it (stm-agent runs stop {name}), "
                "or use another --seed"
            ) from None
        with ExitStack() as refused:
            refused.callback(self._lock.release)
            # A request to stop that an earlier process left was for that process.
            self.had_stop_request = (self.folder / STOP_FILE).exists()
            (self.folder / STOP_FILE).unlink(missing_ok=True)
            self._claim(root, fresh=fresh)
            self.ledger = Ledger(self.folder / "ledger.jsonl")
            # It is this run: the lock stays until close().
            refused.pop_all()

    def _claim(self, root: Path, *, fresh: bool) -> None:
        path = self.folder / "run.json"
        self._new = not path.exists()
        if self._new:
            number = 1 + max((entry["number"] for entry in known_runs(root)), default=0)
            about = {"schema": SCHEMA, "id": self.id, "number": number, "fresh": fresh}
            write_json(path, {**about, "identity_hash": identity_hash(self.identity), "identity": dict(self.identity)})
            return
        stored = read_json(path)
        if stored.get("schema") != SCHEMA:
            raise RunError(
                f"run {self.id} was made by another version (schema {stored.get('schema')}, this one writes {SCHEMA}); "
                "leave --run-id out, or name a new one"
            )
        if stored["identity_hash"] != identity_hash(self.identity):
            changed = "; ".join(differences(self.identity, stored["identity"])[:3])
            raise RunError(
                f"run {self.id} was made with other inputs ({changed}); leave --run-id out, or name a new one"
            )

    @property
    def traces(self) -> Path:
        """Path of the run's trace file."""
        return self.folder / "traces.jsonl"

    @property
    def commands(self) -> Path:
        """Path of the command lines that worked on the run, one line a process."""
        return self.folder / COMMANDS

    @property
    def seconds(self) -> Path:
        """Path of the wall times of the stages, one line a stage and process."""
        return self.folder / "seconds.jsonl"

    @property
    def llm_ledger(self) -> Path:
        """Path of the paid LLM calls."""
        return self.folder / "llm.jsonl"

    @property
    def clock(self) -> Path:
        """Folder of the run's clock."""
        return self.folder / "clock"

    @property
    def model(self) -> Path:
        """Path of the exported model."""
        return self.folder / "model"

    @property
    def report(self) -> Path:
        """Path of the report, whose ``state`` is ``finished`` or ``stopped``."""
        return self.folder / "report.json"

    def close(self) -> None:
        """Release the run; remove it if it was created here and has no results."""
        if self._new and {path.name for path in self.folder.iterdir()} <= BEFORE_WORK:
            shutil.rmtree(self.folder)
        self._lock.release()


def open_run(
    root: Path, domain: str, identity: Identity, *, run_id: str | None = None, fresh: bool = False
) -> RunFolder:
    """Open the run of an identity: the newest there is, or a new one.

    Args:
        root: Folder of all runs.
        domain: First part of the run's name.
        identity: What decides its result.
        run_id: Name of the run; None: made of domain and identity.
        fresh: Begin a new run, unless the newest was begun so and is not finished.

    Raises:
        RunLocked: Another process works on it.
        RunError: ``run_id`` is a run of another identity.
    """
    base = run_id or f"{domain}-{identity_hash(identity)[:8]}"
    same = [
        entry
        for entry in known_runs(root)
        if _continues(entry, base) and entry.get("identity_hash") == identity_hash(identity)
    ]
    newest = max(same, key=lambda entry: entry["number"], default=None)
    if newest is None:
        taken = (root / base / "run.json").exists() and run_id is None
        return RunFolder(root, f"{base}-2" if taken else base, identity, fresh=fresh)
    unfinished = newest.get("fresh") and run_state(root / newest["id"]) != "finished"
    if fresh and not unfinished:
        number = 2
        while (root / f"{base}-{number}").exists():
            number += 1
        return RunFolder(root, f"{base}-{number}", identity, fresh=True)
    return RunFolder(root, newest["id"], identity)


def _continues(entry: RunEntry, base: str) -> bool:
    """Return whether a run is the one of this name, or was begun under it with ``--fresh``."""
    restarted = entry.get("fresh") and re.fullmatch(rf"{re.escape(base)}-\d+", entry["id"])
    return entry["id"] == base or bool(restarted)


def known_runs(root: Path) -> list[RunEntry]:
    """Return ``run.json`` of every run, in the order in which they began; unreadable ones are left out."""
    runs: list[RunEntry] = []
    for path in root.glob("*/run.json") if root.is_dir() else []:
        try:
            entry = read_json(path)
        except StorageError:
            continue
        if isinstance(entry, dict):
            number = entry.get("number")
            # Runs of the first schema have no number: they are older than all others.
            named = {**entry, "id": path.parent.name, "number": number if isinstance(number, int) else 0}
            runs.append(cast("RunEntry", named))
    return sorted(runs, key=lambda entry: (entry["number"], entry["id"]))


def run_state(folder: Path) -> str:
    """Return ``running``, ``finished``, ``stopped`` or ``interrupted``."""
    if is_locked(folder):
        return "running"
    stored = run_state_of(folder / "report.json")
    if stored or any((folder / name).exists() for name in ("instruction.json", PROGRAM_RESULT, COMPARISON)):
        return stored or "finished"
    return "stopped" if (folder / STOPPED).exists() else "interrupted"


def run_state_of(report: Path) -> str | None:
    """Return the state that a report holds; None: it cannot be read, or is not there."""
    try:
        content = read_json(report)
    except StorageError:
        return None
    # Reports of the first schema were written at the end only.
    return str(content.get("state", "finished")) if isinstance(content, dict) and "rows" in content else None


def is_locked(folder: Path) -> bool:
    """Return whether a process works on a run now."""
    if not (folder / LOCK).exists():
        return False
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except OSError:
        # No process works on a folder that is read-only.
        return False
    lock.release()
    return False
