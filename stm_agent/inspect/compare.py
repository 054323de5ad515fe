"""Two or more runs side by side: what was configured differently, what they score, what they cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from stm_agent.errors import ConfigError
from stm_agent.inspect.page.record import RunRecord, read_record
from stm_agent.inspect.paired import PairedTest, paired_tests, test_sentence
from stm_agent.inspect.runs import best_value, run_cost, shown_value
from stm_agent.loop.identity import flat_identity

if TYPE_CHECKING:
    from rich.console import Group, RenderableType

SHOWN_QUERIES = 5
"""Queries of each side that are printed; the page and ``--json`` have all."""


class ComparedRun(TypedDict):
    """One run; ``value`` is the best known nDCG@10, on ``split``; ``synthetic``: an LLM wrote its queries."""

    name: str
    state: str
    value: float | None
    split: str
    synthetic: bool
    minutes: float | None
    usd: float
    calls: int
    looks: int | None


class Difference(TypedDict):
    """An input that is not the same in all runs, with its value in each."""

    name: str
    values: list[str]


class Compared(TypedDict):
    """The comparison of several runs."""

    verdict: str
    notices: list[str]
    runs: list[ComparedRun]
    tests: list[PairedTest]
    differences: list[Difference]


def read_runs(folders: Sequence[Path]) -> list[RunRecord]:
    """Read the runs that are compared.

    Raises:
        ConfigError: There are fewer than two different ones.
        RunError: One cannot be read.
    """
    different = {folder.resolve() for folder in folders}
    if len(different) < 2 or len(different) < len(folders):
        raise ConfigError("name two or more different runs; see stm-agent runs list")
    return [read_record(folder) for folder in folders]


def compare(records: Sequence[RunRecord]) -> Compared:
    """Compare runs; each two with the same test queries are tested against each other."""
    tests, refused = paired_tests(records)
    notices = [f"{record.folder.name}: {notice}" for record in records for notice in record.notices]
    return {
        "verdict": _verdict(tests, refused),
        "notices": [*(refused if tests else ()), *notices],
        "runs": [_run(record) for record in records],
        "tests": tests,
        "differences": _differences(records),
    }


def _run(record: RunRecord) -> ComparedRun:
    value, split = best_value(record.folder, record.state)
    minutes, usd, calls = run_cost(record.folder)
    return {
        "name": record.folder.name,
        "state": record.state,
        "value": value,
        "split": split,
        "synthetic": split == "test" and record.synthetic_test,
        "minutes": minutes,
        "usd": usd,
        "calls": calls,
        "looks": record.report.get("gate", {}).get("looks"),
    }


def _verdict(tests: Sequence[PairedTest], refused: Sequence[str]) -> str:
    return " ".join(test_sentence(test) for test in tests) or " ".join(refused)


def _differences(records: Sequence[RunRecord]) -> list[Difference]:
    flat = [flat_identity(record.identity) for record in records]
    names = sorted({name for one in flat for name in one})
    rows: list[Difference] = [{"name": name, "values": [one.get(name, "(none)") for one in flat]} for name in names]
    return [row for row in rows if len(set(row["values"])) > 1]


def comparison_table(content: Compared, queries: Mapping[str, str]) -> Group:
    """Return a comparison for the terminal; ``queries`` are the texts of test queries that are known."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    runs = Table(box=None, pad_edge=False)
    for name in ("run", "state", "best nDCG@10", "minutes", "USD", "LLM calls"):
        runs.add_column(name, justify="left" if name in ("run", "state") else "right")
    for run in content["runs"]:
        best = shown_value(run["value"], run["split"], synthetic=run["synthetic"])
        minutes = "" if run["minutes"] is None else f"{run['minutes']:.1f}"
        runs.add_row(run["name"], run["state"], best, minutes, f"{run['usd']:.4f}", f"{run['calls']:,}")
    tests = "\n".join(_test_lines(content["tests"], queries))
    notices = "\n".join(content["notices"])
    parts: list[RenderableType] = [
        Text(f"{content['verdict']}\n"),
        runs,
        Text(tests),
        *([Text(notices)] if notices else []),
    ]
    if not content["differences"]:
        return Group(*parts, Text("The runs have the same inputs."))
    inputs = Table("input", *(run["name"] for run in content["runs"]), box=None, pad_edge=False)
    for row in content["differences"]:
        inputs.add_row(row["name"], *row["values"])
    return Group(*parts, Text("What was configured differently:"), inputs)


def _p_value(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _test_lines(tests: Sequence[PairedTest], queries: Mapping[str, str]) -> Iterator[str]:
    for test in tests:
        yield ""
        yield (
            f"{test['first']} minus {test['second']}: {test['delta']:+.4f} [{test['low']:+.4f}, {test['high']:+.4f}], "
            f"p {_p_value(test['p_value'])}; {test['won']} queries won, {test['lost']} lost of {test['queries']:,}"
        )
        for query, change in test["changed"][:SHOWN_QUERIES]:
            yield f"  {change:+.3f}  {queries.get(query, query)}"
        if len(test["changed"]) > SHOWN_QUERIES:
            yield f"  and {len(test['changed']) - SHOWN_QUERIES} more; --json has all"
    yield ""
