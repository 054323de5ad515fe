"""Find a run by what a person types."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from stm_agent.errors import ConfigError
from stm_agent.files import read_json


def _all(runs: Path) -> list[Path]:
    found = [path.parent for path in runs.glob("*/run.json")] if runs.is_dir() else []
    return sorted(found, key=lambda path: (path / "run.json").stat().st_mtime)


def find_run(runs: Path, name: str) -> Path:
    """Return a run's folder by its id, a unique start of it, ``last``, or a path.

    Raises:
        ConfigError: There is no such run, or several.
    """
    folders = _all(runs)
    if name == "last" and folders:
        return folders[-1]
    if (Path(name) / "run.json").is_file():
        return Path(name)
    exact = [path for path in folders if path.name == name]
    starts = exact or [path for path in folders if path.name.startswith(name)]
    if len(starts) == 1:
        return starts[0]
    names = [path.name for path in starts or folders]
    if starts:
        raise ConfigError(f"'{name}' is the start of several runs: {', '.join(names)}; type more of it")
    near = difflib.get_close_matches(name, names, n=1) or names[-1:]
    hint = f"did you mean {near[0]}?" if near else "there are no runs yet"
    raise ConfigError(f"there is no run '{name}' in {runs}; {hint}")


def list_runs(runs: Path) -> list[dict[str, Any]]:
    """Return every run: name, state, and the merged model's test nDCG@10 where it is finished."""
    rows = []
    for folder in _all(runs):
        report = folder / "report.json"
        score = read_json(report)["rows"]["merged"]["ndcg_at_10"] if report.exists() else None
        done = score is not None or (folder / "instruction.json").exists()
        rows.append({"run": folder.name, "state": "finished" if done else "interrupted", "ndcg_at_10": score})
    return rows
