"""Two or more runs side by side: what was configured differently, what they score, what they cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from stm_agent.errors import ConfigError, DataError
from stm_agent.evaluate.significance import paired_bootstrap
from stm_agent.inspect.page.queries import MODEL
from stm_agent.inspect.page.record import RunRecord, read_record
from stm_agent.inspect.runs import best_value, run_cost
from stm_agent.loop.identity import flat_identity

if TYPE_CHECKING:
    from rich.console import Group, RenderableType

SHOWN_QUERIES = 5
"""Queries of each side that are printed; the page and ``--json`` have all."""
SIGNIFICANT = 0.05


class ComparedRun(TypedDict):
    """One run; ``value`` is the best known nDCG@10, on ``split``."""

    name: str
    state: str
    value: float | None
    split: str
    minutes: float | None
    usd: float
    calls: int
    looks: int | None


class PairedTest(TypedDict):
    """The final models of two runs on the test queries of both: the first minus the second."""

    row: str
    first: str
    second: str
    queries: int
    first_score: float
    second_score: float
    delta: float
    low: float
    high: float
    p_value: float
    won: int
    lost: int
    changed: list[tuple[str, float]]


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
    if len(set(folders)) < 2 or len(set(folders)) < len(folders):
        raise ConfigError("name two or more different runs; see stm-agent runs list")
    return [read_record(folder) for folder in folders]


def compare(records: Sequence[RunRecord]) -> Compared:
    """Compare runs; tests are paired over the queries of the same collection."""
    data = {str(record.identity.get("data", {}).get("collection")) for record in records}
    tests = list(_tests(records)) if len(data) == 1 else []
    return {
        "verdict": _verdict(tests, same_data=len(data) == 1),
        "notices": [f"{record.folder.name}: {notice}" for record in records for notice in record.notices],
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
        "minutes": minutes,
        "usd": usd,
        "calls": calls,
        "looks": record.report.get("gate", {}).get("looks"),
    }


def _tests(records: Sequence[RunRecord]) -> Iterator[PairedTest]:
    for second, first in combinations(records, 2):
        if MODEL not in first.per_query or MODEL not in second.per_query:
            continue
        one, other = first.per_query[MODEL], second.per_query[MODEL]
        try:
            test = paired_bootstrap(one, other)
        except DataError:
            # Other test queries: the runs cut their collection differently.
            continue
        moved = {query: one[query] - other[query] for query in one if one[query] != other[query]}
        ordered = sorted(moved.items(), key=lambda item: (-abs(item[1]), item[0]))
        yield {
            "row": MODEL,
            "first": first.folder.name,
            "second": second.folder.name,
            "queries": test.queries,
            "first_score": sum(one.values()) / len(one),
            "second_score": sum(other.values()) / len(other),
            "delta": test.delta,
            "low": test.low,
            "high": test.high,
            "p_value": test.p_value,
            "won": sum(change > 0 for change in moved.values()),
            "lost": sum(change < 0 for change in moved.values()),
            "changed": [(query, round(change, 4)) for query, change in ordered],
        }


def _verdict(tests: Sequence[PairedTest], *, same_data: bool) -> str:
    if not same_data:
        return "The runs have different data, so their scores cannot be compared."
    if not tests:
        return "The runs cannot be compared on test: one of them has not opened it, or they have other test queries."
    test = tests[0]
    pair = f"{test['first']} and {test['second']}"
    if test["low"] <= 0 <= test["high"]:
        return f"{pair} cannot be distinguished on {test['queries']:,} test queries ({test['delta']:+.3f})."
    better, worse = (test["first"], test["second"]) if test["delta"] > 0 else (test["second"], test["first"])
    return f"{better} is {abs(test['delta']):.3f} nDCG@10 above {worse} on {test['queries']:,} test queries."


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
        best = "" if run["value"] is None else f"{run['value']:.4f} {run['split']}"
        minutes = "" if run["minutes"] is None else f"{run['minutes']:.1f}"
        runs.add_row(run["name"], run["state"], best, minutes, f"{run['usd']:.4f}", f"{run['calls']:,}")
    tests = "\n".join(_test_lines(content["tests"], queries))
    parts: list[RenderableType] = [Text(f"{content['verdict']}\n"), runs, Text(tests)]
    if not content["differences"]:
        return Group(*parts, Text("The runs have the same inputs."))
    inputs = Table("input", *(run["name"] for run in content["runs"]), box=None, pad_edge=False)
    for row in content["differences"]:
        inputs.add_row(row["name"], *row["values"])
    return Group(*parts, Text("What was configured differently:"), inputs, *(Text(line) for line in content["notices"]))


def _test_lines(tests: Sequence[PairedTest], queries: Mapping[str, str]) -> Iterator[str]:
    for test in tests:
        yield ""
        yield (
            f"{test['first']} minus {test['second']}: {test['delta']:+.4f} [{test['low']:+.4f}, {test['high']:+.4f}], "
            f"p {test['p_value']:.4f}; {test['won']} queries won, {test['lost']} lost of {test['queries']:,}"
        )
        for query, change in test["changed"][:SHOWN_QUERIES]:
            yield f"  {change:+.3f}  {queries.get(query, query)}"
        if len(test["changed"]) > SHOWN_QUERIES:
            yield f"  and {len(test['changed']) - SHOWN_QUERIES} more; --json has all"
    yield ""
