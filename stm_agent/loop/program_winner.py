"""The winner of a search of a program's text becomes a new file; nothing is overwritten."""

from __future__ import annotations

from pathlib import Path

from stm_agent.errors import ConfigError
from stm_agent.files import write_atomic
from stm_agent.loop.search_report import WinnerReport
from stm_agent.synthesize.program_text import save_state

EXISTS = "{} exists; name a new file with --output, nothing is overwritten"


def refuse_existing(target: Path) -> None:
    """Refuse a file that exists.

    Raises:
        ConfigError: It does.
    """
    if target.exists():
        raise ConfigError(EXISTS.format(target))


def write_winner(folder: Path, report: WinnerReport, target: Path) -> str | None:
    """Write the winner of a report; return its file, None if it was not accepted.

    Args:
        folder: The run's folder, which holds the candidate.
        report: ``accepted``, ``candidate`` and ``structured`` are read.
        target: ``.py`` for a program, ``.json`` for the state of one.

    Raises:
        ConfigError: ``target`` holds something else.
    """
    candidate = report["candidate"]
    if not report["accepted"] or candidate is None:
        return None
    winner = folder / candidate
    if target.suffix == ".json":
        if not target.exists():
            save_state(winner, target, structured=report["structured"])
        return str(target)
    content = winner.read_bytes()
    if target.exists() and target.read_bytes() != content:
        raise ConfigError(EXISTS.format(target))
    write_atomic(target, content)
    return str(target)
