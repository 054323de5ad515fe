"""The wall between dev and test: test judgements are handed out once, for one final configuration, and recorded."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

from stm_agent.domain.collection import Collection, Split
from stm_agent.errors import DataError, FirewallError
from stm_agent.files import append_jsonl, read_jsonl

SCHEMA = 1
WAYS_ON = "or make judgements with stm-agent annotate, or have queries written: stm-agent optimize --corpus FOLDER"
"""What to do about missing judgements, as the end of a message."""


def require_judged(collection: Collection) -> None:
    """Check that a collection can be adapted to.

    Raises:
        DataError: It has no dev or no test split.
    """
    for name in ("dev", "test"):
        if name not in collection.splits:
            raise DataError(f"collection {collection.name} has no {name} split; add qrels/{name}.tsv, {WAYS_ON}")


class Firewall:
    """Withholds a collection's test split until the end of a run.

    Attributes:
        synthetic: Which of dev and test have queries that an LLM wrote.

    The ledger is append-only JSONL: one ``sealed`` line with the collection's hash, then one ``opened`` line. They bind
    every process that resumes the run.
    """

    def __init__(self, collection: Collection, ledger_path: Path) -> None:
        """Seal ``collection``, unless an earlier process of the same run did.

        Raises:
            DataError: The collection has no dev or no test split.
            FirewallError: The run began with other documents, queries or judgements.
        """
        require_judged(collection)
        self._dev, self._test = collection.splits["dev"], collection.splits["test"]
        self.synthetic = tuple(name for name in ("dev", "test") if collection.splits[name].synthetic)
        self._ledger = ledger_path
        sealed = self._first("sealed")
        if sealed is None:
            self._record("sealed", collection=collection.content_hash)
        elif sealed["collection"] != collection.content_hash:
            raise FirewallError(
                f"collection {collection.name} is not the one this run began with; restore its files or start a new run"
            )

    @property
    def dev(self) -> Split:
        """The judged split every lever may read."""
        return self._dev

    @property
    def opened(self) -> bool:
        """Whether the test judgements have been handed out."""
        return self._first("opened") is not None

    @property
    def openings(self) -> int:
        """How many final configurations the test judgements were handed out for."""
        opened = (entry["final"] for entry in read_jsonl(self._ledger) if entry.get("event") == "opened")
        return len(set(opened))

    def open_test(self, final: str, *, again: bool = False) -> Split:
        """Hand out the test split.

        Args:
            final: Hash of the final configuration that will be scored. A resumed run that arrives at
                the very same one gets the split again.
            again: Whether a finished run continues with a raised budget: it may open test for its new model. Each
                opening is recorded, and the report shows how many there were.

        Raises:
            FirewallError: Test was already opened for another configuration.
        """
        before = self._last("opened")
        if before is None or (again and before["final"] != final):
            self._record("opened", final=final)
        elif before["final"] != final:
            raise FirewallError(
                f"test was opened at {before['time']} for another final model ({before['final'][:12]}); start a new run"
            )
        return self._test

    def _first(self, event: str) -> dict[str, Any] | None:
        return next((entry for entry in read_jsonl(self._ledger) if entry.get("event") == event), None)

    def _last(self, event: str) -> dict[str, Any] | None:
        found = [entry for entry in read_jsonl(self._ledger) if entry.get("event") == event]
        return found[-1] if found else None

    def _record(self, event: str, **data: str) -> None:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        append_jsonl(self._ledger, {"schema": SCHEMA, "time": now, "event": event, **data})
