"""How a run shows and records what happens: the part of a run's context that holds no models and no data."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from stm_agent.files import append_jsonl
from stm_agent.loop.events import Observer
from stm_agent.loop.ledger import SCHEMA
from stm_agent.loop.runs import RunFolder
from stm_agent.loop.stopping import StopSignal


class Recorder:
    """Passes events to the observer and writes them into the run's folder; also a ``stm_agent.progress.Watcher``."""

    run: RunFolder
    observer: Observer
    stop: StopSignal
    notes: list[str]
    warnings: list[str]

    def progress(self, name: str, text: str, done: int, total: int) -> None:
        """Pass the progress of a job to the observer."""
        self.observer({"kind": "progress", "name": name, "text": text, "done": done, "total": total})

    def stop_reason(self) -> str | None:
        """Return why the run should stop; None: it should continue."""
        return self.stop.reason()

    @contextmanager
    def timed(self, name: str, text: str) -> Iterator[None]:
        """Announce a stage and record its wall time."""
        self.observer({"kind": "stage", "name": name, "text": text})
        started = time.monotonic()
        try:
            yield
        finally:
            seconds = round(time.monotonic() - started, 3)
            append_jsonl(self.run.seconds, {"schema": SCHEMA, "name": name, "seconds": seconds})

    def note(self, name: str, text: str) -> None:
        """Show and record a remark: a count or a choice that costs nothing."""
        self.observer({"kind": "note", "name": name, "text": text})
        self.notes.append(f"{name}: {text}")
        self.run.ledger.record("note", name=name, text=text)

    def warn(self, name: str, text: str) -> None:
        """Show and record a warning: something was lost, left out or damaged, and the run continues with less."""
        self.observer({"kind": "warning", "name": name, "text": text})
        self.warnings.append(f"{name}: {text}")
        self.run.ledger.record("warning", name=name, text=text)

    def decide(self, lever: str, text: str, **data: object) -> None:
        """Show and record one decision."""
        self.observer({"kind": "decision", "name": lever, "text": text})
        self.run.ledger.record("decision", lever=lever, text=text, **data)
