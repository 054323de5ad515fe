"""The run's append-only record of trials, costs and decisions, and the lock that guards it."""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from stm_agent.errors import ConfigError, RunError, RunLocked
from stm_agent.files import append_jsonl, content_hash, read_json, read_jsonl, storing, write_json

SCHEMA = 1
BEFORE_WORK = {"run.json", ".lock", "firewall.jsonl"}
"""What a run's folder has before anything is scored, trained or paid for."""


class Ledger:
    """Append-only JSONL; an entry that is already there is not written twice.

    A resumed run walks the same path over finished stages, so it says the same things again; the
    ledger keeps the first time each was said.
    """

    def __init__(self, path: Path) -> None:
        """Open the ledger at ``path`` and read what earlier processes wrote."""
        self.path = path
        self._known = {self._key(entry) for entry in read_jsonl(path)}

    @staticmethod
    def _key(entry: Mapping[str, Any]) -> str:
        volatile = {"schema", "time", "seconds"}
        return content_hash({name: value for name, value in entry.items() if name not in volatile})

    def record(self, event: str, **data: object) -> None:
        """Write one event with its data, once."""
        entry: dict[str, object] = {"event": event, **data}
        key = self._key(entry)
        if key in self._known:
            return
        self._known.add(key)
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        append_jsonl(self.path, {"schema": SCHEMA, "time": now, **entry})

    def entries(self, event: str | None = None) -> list[dict[str, Any]]:
        """Return the entries in order, all or those of one event.

        Raises:
            RunError: The ledger was written by a newer schema.
        """
        entries = read_jsonl(self.path)
        newer = [entry for entry in entries if entry.get("schema", 0) > SCHEMA]
        if newer:
            raise RunError(
                f"{self.path} has schema {newer[0]['schema']}, this version reads up to {SCHEMA}; upgrade stm-agent"
            )
        return [entry for entry in entries if event in (None, entry.get("event"))]


class RunFolder:
    """One run on disk: ``run.json`` (its config), ``ledger.jsonl``, ``traces.jsonl``, ``report.json``, ``model/``.

    The folder's name ends in the hash of the config, so the same command finds the same run.
    """

    def __init__(self, root: Path, domain: str, config: Mapping[str, object], name: str | None = None) -> None:
        """Open or create the run of ``config`` and lock it for this process.

        Raises:
            RunLocked: Another process works on it.
            RunError: ``name`` is a run of another config.
        """
        digest = content_hash(config)
        self.id = name or f"{domain}-{digest[:8]}"
        if "/" in self.id or self.id.startswith("."):
            raise ConfigError(f"'{self.id}' cannot name a run: no '/' and no leading '.'; try '{domain}-1'")
        self.folder = root / self.id
        with storing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(self.folder / ".lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise RunLocked(
                f"run {self.id} is being worked on by another process; wait for it, or use another --seed"
            ) from None
        self._claim(config, digest)
        self.ledger = Ledger(self.folder / "ledger.jsonl")

    def _claim(self, config: Mapping[str, object], digest: str) -> None:
        path = self.folder / "run.json"
        self._new = not path.exists()
        if self._new:
            write_json(path, {"schema": SCHEMA, "id": self.id, "config_hash": digest, "config": config})
            return
        stored = read_json(path)
        if stored.get("config_hash") != digest:
            changed = sorted(k for k in {*config, *stored["config"]} if config.get(k) != stored["config"].get(k))
            self.close()
            raise RunError(
                f"run {self.id} was made with another config (differs in: {', '.join(changed)}); "
                "leave --run-id out, or name a new one"
            )

    @property
    def traces(self) -> Path:
        """Path of the run's trace file."""
        return self.folder / "traces.jsonl"

    @property
    def seconds(self) -> Path:
        """Path of the wall times of the stages, one line a stage and process."""
        return self.folder / "seconds.jsonl"

    @property
    def model(self) -> Path:
        """Path of the merged model, the product."""
        return self.folder / "model"

    @property
    def report(self) -> Path:
        """Path of the final report; it exists only when the run is finished."""
        return self.folder / "report.json"

    def close(self) -> None:
        """Give the run free for another process; one made here that came to nothing is gone, not interrupted."""
        if self._new and {path.name for path in self.folder.iterdir()} <= BEFORE_WORK:
            shutil.rmtree(self.folder)
        self._lock.release()
