"""Find a run by the name that a user types, and list all runs."""

from __future__ import annotations

import datetime
import difflib
import json
from pathlib import Path
from typing import Any, TypedDict

from stm_agent.clock import stored_seconds
from stm_agent.errors import ConfigError, RunError, StorageError
from stm_agent.files import read_json
from stm_agent.llm.budget import read_spending
from stm_agent.loop.identity import differences
from stm_agent.loop.report_rows import Report
from stm_agent.loop.runs import known_runs, run_state
from stm_agent.loop.state_summary import STATE

REPORT_SCHEMAS = (1, 2)
"""Reports that this version can show."""


class RunRow(TypedDict):
    """One run in a list.

    Attributes:
        value: Best nDCG@10 that is known: the final model's on test, else the best model's so far on dev or its search
            half; None: nothing is scored yet.
        ndcg_at_10: The final model's nDCG@10 on test; None: test is closed.
        split: What ``value`` was measured on: ``test``, ``dev`` or ``search half``.
        synthetic: Whether an LLM wrote the test queries.
        minutes: Wall time over all processes; None: not recorded.
        began: Time of the first event, as ISO 8601; empty if nothing happened yet.
    """

    run: str
    state: str
    value: float | None
    ndcg_at_10: float | None
    split: str
    synthetic: bool
    minutes: float | None
    usd: float
    llm_calls: int
    began: str


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
        # Resolved, since a run is called by its folder's name, which "." does not have.
        return Path(name).resolve()
    exact = [path for path in folders if path.name == name]
    starts = exact or [path for path in folders if path.name.startswith(name)]
    if len(starts) == 1:
        return starts[0]
    if starts:
        names = ", ".join(path.name for path in starts)
        raise ConfigError(f"'{name}' is the start of several runs: {names}; type more of it")
    raise ConfigError(f"run '{name}' does not exist in {runs}; {_nearest(name, [path.name for path in folders])}")


def _nearest(name: str, names: list[str]) -> str:
    """Return a hint at the run that was meant: that of the most similar name, else the newest."""
    near = difflib.get_close_matches(name, names, n=1) or names[-1:]
    return f"did you mean {near[0]}?" if near else "there are no runs yet"


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
    return [_run_row(runs / entry["id"]) for entry in known_runs(runs)]


def _run_row(folder: Path) -> RunRow:
    state = run_state(folder)
    (value, split), (minutes, usd, calls) = best_value(folder, state), run_cost(folder)
    return {
        "run": folder.name,
        "state": state,
        "value": value,
        "ndcg_at_10": value if split == "test" else None,
        "split": split,
        "synthetic": split == "test"
        and "test" in _json(folder / "report.json").get("collection", {}).get("synthetic", ()),
        "minutes": minutes,
        "usd": usd,
        "llm_calls": calls,
        "began": _began(folder / "ledger.jsonl"),
    }


def best_value(folder: Path, state: str) -> tuple[float | None, str]:
    """Return the best nDCG@10 that is known of a run, and what it was measured on; see :class:`RunRow`."""
    report = _json(folder / "report.json")
    try:
        if state == "finished" and "rows" in report:
            return float(report["rows"]["merged"]["ndcg_at_10"]), "test"
        if report:
            return float(report["dev"]["merged"]), "dev"
        return float(_json(folder / STATE)["models"]["incumbent"]["search"]), "search half"
    except (KeyError, TypeError):
        # Runs of "stm-agent instruct" have no such report, and new ones no state.
        return None, ""


def shown_value(value: float | None, split: str, *, synthetic: bool) -> str:
    """Return a run's best nDCG@10 with what it was measured on; empty if nothing is scored yet."""
    mark = " (synthetic)" if synthetic else ""
    return "" if value is None else f"{value:.4f} {split}{mark}"


def run_cost(folder: Path) -> tuple[float | None, float, int]:
    """Return minutes, US dollars and LLM calls of a run so far; minutes are None if an older version kept no clock."""
    spent, seconds = read_spending(folder / "llm.jsonl"), stored_seconds(folder / "clock")
    return (seconds / 60 if seconds else None), spent.usd, spent.calls


def age(began: str, now: datetime.datetime) -> str:
    """Return how long ago a run began, in its largest unit: ``5 min``, ``3 h``, ``12 d``; empty if nobody knows."""
    if not began:
        return ""
    minutes = max(0, int((now - datetime.datetime.fromisoformat(began)).total_seconds() // 60))
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 60 * 48 else f"{minutes // (60 * 24)} d"


def _began(ledger: Path) -> str:
    """Return the time of the ledger's first line, without reading the rest."""
    try:
        with ledger.open(encoding="utf-8") as stream:
            return str(json.loads(stream.readline())["time"])
    except (OSError, ValueError, KeyError):
        # No line yet, or one that a kill cut short.
        return ""


def _json(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except StorageError:
        return {}
    return content if isinstance(content, dict) else {}


def read_report(folder: Path) -> Report:
    """Return a run's report.

    Raises:
        RunError: The run has none yet, or another version wrote it.
    """
    if not (folder / "report.json").exists():
        raise RunError(f"run {folder.name} is {run_state(folder)}; run its optimize command again to resume it")
    report: Report = read_json(folder / "report.json")
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
