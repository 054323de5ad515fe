"""The run's append-only record of trials, costs and decisions."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stm_agent.errors import RunError
from stm_agent.files import append_jsonl, content_hash, read_jsonl

SCHEMA = 2
VOLATILE = {"schema", "time", "seconds"}
"""Fields that differ between two processes that record the same event."""


class Ledger:
    """Append-only JSONL that a resumed run does not write twice.

    A resumed run repeats the same steps over finished stages and records the same events again. The n-th event with
    some content in this process is the n-th with that content in the file, so an event that happens more than once,
    such as the same decision in two rounds, is recorded each time.
    """

    def __init__(self, path: Path) -> None:
        """Open the ledger at ``path`` and read what earlier processes wrote."""
        self.path = path
        self._stored = Counter(_key(entry) for entry in read_jsonl(path))
        self._recorded: Counter[str] = Counter()

    def record(self, event: str, **data: object) -> None:
        """Write one event with its data, unless an earlier process wrote it."""
        entry: dict[str, object] = {"event": event, **data}
        key = _key(entry)
        self._recorded[key] += 1
        if self._recorded[key] <= self._stored[key]:
            return
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        append_jsonl(self.path, {"schema": SCHEMA, "time": now, **entry})

    def repeats(self, event: str, **data: object) -> bool:
        """Return whether recording this event now would repeat what an earlier process recorded."""
        key = _key({"event": event, **data})
        return self._recorded[key] < self._stored[key]

    def entries(self, event: str | None = None) -> list[dict[str, Any]]:
        """Return the entries in order, all or those of one event.

        Raises:
            RunError: The ledger was written by an older or a newer version.
        """
        entries = read_jsonl(self.path)
        older = [entry for entry in entries if entry.get("schema", 0) < SCHEMA]
        if older:
            raise RunError(
                f"{self.path} has entries of schema {older[0].get('schema', 0)}, this version reads {SCHEMA}; begin a "
                "new run with --fresh"
            )
        newer = [entry for entry in entries if entry.get("schema", 0) > SCHEMA]
        if newer:
            raise RunError(
                f"{self.path} has schema {newer[0]['schema']}, this version reads {SCHEMA}; upgrade stm-agent"
            )
        return [entry for entry in entries if event in (None, entry.get("event"))]


def _key(entry: Mapping[str, Any]) -> str:
    return content_hash({name: value for name, value in entry.items() if name not in VOLATILE})
