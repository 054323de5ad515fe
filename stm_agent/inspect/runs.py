"""Find a run by the name that a user types, and list all runs."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, TypedDict

from stm_agent.errors import ConfigError, RunError, StorageError
from stm_agent.files import read_json
from stm_agent.loop.identity import differences
from stm_agent.loop.runs import known_runs, run_state

REPORT_SCHEMAS = (1, 2)
"""Reports that this version can show."""


class RunRow(TypedDict):
    """One run in a list: its name, its state, and the final model's test nDCG@10 if it is finished.

    ``synthetic`` is whether an LLM wrote the test queries.
    """

    run: str
    state: str
    ndcg_at_10: float | None
    synthetic: bool


def find_run(runs: Path, name: str, *, finished: bool = False) -> Path:
    """Return a run's folder by its id, a unique start of it, ``last``, or a path.

    Args:
        runs: Folder of all runs.
        name: The name as typed.
        finished: Whether ``last`` means the newest finished run; otherwise the newest of all.

    Raises:
        ConfigError: No run matches, or several do.
    """
    folders = [runs / str(entry["id"]) for entry in known_runs(runs)]
    if name == "last":
        return _last(runs, folders, finished=finished)
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
    raise ConfigError(f"run '{name}' does not exist in {runs}; {hint}")


def _last(runs: Path, folders: list[Path], *, finished: bool) -> Path:
    wanted = [
        folder
        for folder in folders
        if not finished or (run_state(folder) == "finished" and (folder / "report.json").exists())
    ]
    if wanted:
        return wanted[-1]
    if folders:
        newest = folders[-1]
        raise ConfigError(
            f"no run in {runs} is finished; {newest.name} is {run_state(newest)}, run its command again to resume it"
        )
    raise ConfigError(f"there are no runs in {runs} yet; start one: stm-agent optimize --domain biomedical")


def list_runs(runs: Path) -> list[RunRow]:
    """Return all runs in the order in which they began."""
    rows: list[RunRow] = []
    for entry in known_runs(runs):
        folder = runs / entry["id"]
        state = run_state(folder)
        score, synthetic = _test_score(folder) if state == "finished" else (None, False)
        rows.append({"run": folder.name, "state": state, "ndcg_at_10": score, "synthetic": synthetic})
    return rows


def _test_score(folder: Path) -> tuple[float | None, bool]:
    """Return the score on test, and whether an LLM wrote the queries of test."""
    try:
        report = read_json(folder / "report.json")
        score = float(report["rows"]["merged"]["ndcg_at_10"])
        return score, "test" in report.get("collection", {}).get("synthetic", ())
    except (StorageError, KeyError, TypeError):
        # Runs of "stm-agent instruct" have no such report.
        return None, False


def read_report(folder: Path) -> dict[str, Any]:
    """Return a run's report.

    Raises:
        RunError: The run has none yet, or another version wrote it.
    """
    if not (folder / "report.json").exists():
        raise RunError(f"run {folder.name} is {run_state(folder)}; run its optimize command again to resume it")
    report: dict[str, Any] = read_json(folder / "report.json")
    if report.get("schema") not in REPORT_SCHEMAS:
        raise RunError(f"{folder / 'report.json'} has schema {report.get('schema')}; upgrade stm-agent to read it")
    return report


def changed_since(folder: Path) -> tuple[str, list[str]] | None:
    """Return the newest earlier run of the same domain and the differences from it; None if there is none."""
    entries = known_runs(folder.parent)
    own = next((entry for entry in entries if entry["id"] == folder.name), None)
    if own is None or "identity" not in own:
        return None
    domain = own["identity"].get("domain", {}).get("name")
    for entry in reversed(entries):
        same = entry.get("identity", {}).get("domain", {}).get("name") == domain
        if entry["number"] < own["number"] and domain and same:
            return entry["id"], differences(own["identity"], entry["identity"])
    return None
