"""What a run's folder holds, read once for its page; a part that is missing or of another version is left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stm_agent.clock import stored_seconds
from stm_agent.errors import RunError, StorageError
from stm_agent.files import read_json, read_jsonl
from stm_agent.inspect.runs import REPORT_SCHEMAS
from stm_agent.loop.answers import ANSWERS, Answers, read_answers
from stm_agent.loop.ledger import SCHEMA as LEDGER_SCHEMA
from stm_agent.loop.planning import PLAN
from stm_agent.loop.runs import run_state
from stm_agent.loop.state_summary import STATE
from stm_agent.traces import Trial, read_texts, read_traces

Values = Mapping[str, Any]
"""JSON values of a file, whose fields differ between versions."""
PER_QUERY = "test_per_query.json"


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """Files of one run.

    Attributes:
        folder: The run's folder.
        state: ``running``, ``finished``, ``stopped`` or ``interrupted``.
        about: ``run.json``: number and identity.
        plan: The domain as the run worked with it; empty if nobody knows.
        report: ``report.json``; empty if there is none yet.
        instruction: ``instruction.json``, the result of a run of ``stm-agent instruct``; empty in other runs.
        summary: ``state.json``; empty if the first action is not done.
        ledger: Entries of the ledger that this version writes too, in order.
        traces: Trials of instructions and programs, each with its last decision.
        texts: Queries and beginnings of passages that trials name.
        calls: Lines of the ledger of LLM calls.
        per_query: Row -> test query -> nDCG@10.
        answers: What each row found first on test; None: test is closed, or the run is older.
        minutes: Wall time over all processes; None: not recorded.
        notices: What could not be read, one sentence each.
    """

    folder: Path
    state: str
    about: Values
    plan: Values
    report: Values
    instruction: Values
    summary: Values
    ledger: tuple[Values, ...]
    traces: tuple[Trial, ...]
    texts: tuple[Mapping[str, str], Mapping[str, str]]
    calls: tuple[Values, ...]
    per_query: Mapping[str, Mapping[str, float]]
    answers: Answers | None
    minutes: float | None
    notices: tuple[str, ...]

    def events(self, name: str) -> Iterator[Values]:
        """Yield the ledger's entries of one event, in order."""
        return (entry for entry in self.ledger if entry.get("event") == name)

    @property
    def identity(self) -> Values:
        """What decides the run's result; empty in a run of the first version."""
        identity: Values = self.about.get("identity", {})
        return identity

    @property
    def synthetic_test(self) -> bool:
        """Whether an LLM wrote the test queries."""
        return "test" in self.report.get("collection", {}).get("synthetic", ())


def read_record(folder: Path) -> RunRecord:
    """Read a run's folder.

    Raises:
        RunError: A newer version wrote its report or its ledger, or the folder holds no run.
    """
    about = _read(folder / "run.json")
    if not about:
        raise RunError(f"{folder} holds no run: its run.json is missing or damaged; see stm-agent runs list")
    report, entries = _read(folder / "report.json"), read_jsonl(folder / "ledger.jsonl")
    _require_readable(folder, report, entries)
    ledger = tuple(entry for entry in entries if entry.get("schema", 0) == LEDGER_SCHEMA)
    state, answers = run_state(folder), read_answers(folder)
    per_query: dict[str, dict[str, float]] = _read(folder / PER_QUERY)
    return RunRecord(
        folder=folder,
        state=state,
        about=about,
        plan=_read(folder / PLAN).get("spec") or about.get("identity", {}).get("domain", {}),
        report=report,
        instruction=_read(folder / "instruction.json"),
        summary=_read(folder / STATE),
        ledger=ledger,
        traces=tuple(read_traces(folder / "traces.jsonl")),
        texts=read_texts(folder / "traces.jsonl"),
        calls=tuple(read_jsonl(folder / "llm.jsonl")),
        per_query=per_query,
        answers=answers,
        minutes=_minutes(folder, report),
        notices=(
            *_notices(folder, state, report, per_query, answers),
            *_older_entries(len(entries), len(entries) - len(ledger)),
        ),
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except StorageError:
        return {}
    return content if isinstance(content, dict) else {}


def _minutes(folder: Path, report: Values) -> float | None:
    minutes = report.get("cost", {}).get("minutes") or stored_seconds(folder / "clock") / 60
    return float(minutes) or None


def _older_entries(total: int, older: int) -> Iterator[str]:
    if older:
        yield (
            f"{older:,} of {total:,} entries of this run's ledger were written by an older version of stm-agent and "
            "are left out: the search, the lineage or the data may be incomplete."
        )


def _require_readable(folder: Path, report: Values, ledger: Sequence[Values]) -> None:
    newer = report and report.get("schema") not in REPORT_SCHEMAS
    if newer or any(entry.get("schema", 0) > LEDGER_SCHEMA for entry in ledger):
        raise RunError(f"run {folder.name} was written by a newer version of stm-agent; upgrade stm-agent to read it")


def _notices(folder: Path, state: str, report: Values, per_query: Values, answers: Answers | None) -> Iterator[str]:
    if state == "interrupted":
        yield "This run was interrupted: the page shows what it had reached. Run its command again to resume it."
    if state == "running":
        yield "This run is still running: the page shows what it had reached when the page was made."
    if report.get("state") == "stopped":
        yield f"This run was stopped ({report.get('reason', '')}): its model is not confirmed, and test is closed."
    if report and report.get("schema", 0) < max(REPORT_SCHEMAS):
        yield "An older version of stm-agent made this run; what it did not record is left out."
    if per_query and answers is None:
        yield (
            f"This run has no {ANSWERS}, because an older version of stm-agent made it: the texts of the test queries "
            "and the passages that each row found are not shown."
        )
    if not report and not (folder / "ledger.jsonl").is_file():
        yield "This run has recorded nothing yet."
