"""What earlier runs of a workspace measured: the gains of each kind of action."""

from __future__ import annotations

import math
from pathlib import Path

from stm_agent.errors import StmAgentError
from stm_agent.loop.history import OUTCOME, credited_gains
from stm_agent.loop.ledger import Ledger
from stm_agent.loop.runs import known_runs

MOST_RUNS = 20
"""Newest runs that are read."""


def earlier_gains(runs: Path, *, besides: str) -> dict[str, list[float]]:
    """Return kind -> nDCG@10 that was expected of each gain of earlier runs, of the actions that did not fail.

    A run whose ledger cannot be read, or is of another version, teaches nothing.

    Args:
        runs: Folder of all runs.
        besides: The run that is left out.
    """
    gains: dict[str, list[float]] = {}
    names = [entry["id"] for entry in known_runs(runs) if entry["id"] != besides]
    for name in names[-MOST_RUNS:]:
        try:
            entries = Ledger(runs / name / "ledger.jsonl").entries(OUTCOME)
        except StmAgentError:
            continue
        newest = {entry["number"]: entry for entry in entries}
        outcomes = [
            (str(entry["kind"]), float(entry.get("expected", entry["gain"])))
            for _, entry in sorted(newest.items())
            if not entry["failed"]
        ]
        for kind, values in credited_gains(outcomes).items():
            gains.setdefault(kind, []).extend(value for value in values if math.isfinite(value))
    return gains
