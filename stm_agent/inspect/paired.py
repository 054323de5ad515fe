"""Paired tests of the final models of runs, for each two that were tested on the same queries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import TypedDict

from stm_agent.evaluate.significance import paired_bootstrap
from stm_agent.inspect.page.queries import MODEL
from stm_agent.inspect.page.record import RunRecord


class PairedTest(TypedDict):
    """The final models of two runs on the test queries of both: the first minus the second."""

    row: str
    first: str
    second: str
    queries: int
    synthetic: bool
    first_score: float
    second_score: float
    delta: float
    low: float
    high: float
    p_value: float
    won: int
    lost: int
    changed: list[tuple[str, float]]


def paired_tests(records: Sequence[RunRecord]) -> tuple[list[PairedTest], list[str]]:
    """Return the tests of all pairs of runs that can be compared, and a line for each pair that cannot."""
    tests, refused = list[PairedTest](), list[str]()
    for second, first in combinations(records, 2):
        if reason := _obstacle(first, second):
            refused.append(f"{second.folder.name} and {first.folder.name} cannot be compared: {reason}.")
        else:
            tests.append(_test(first, second))
    return tests, refused


def test_sentence(test: PairedTest) -> str:
    """Return the result of a test in words."""
    pair = f"{test['first']} and {test['second']}"
    queries = f"{test['queries']:,} {'synthetic ' if test['synthetic'] else ''}test queries"
    if test["low"] <= 0 <= test["high"]:
        return f"{pair} cannot be distinguished on {queries} ({test['delta']:+.3f})."
    better, worse = (test["first"], test["second"]) if test["delta"] > 0 else (test["second"], test["first"])
    return f"{better} is {abs(test['delta']):.3f} nDCG@10 above {worse} on {queries}."


def largest_group(tests: Sequence[PairedTest], records: Sequence[RunRecord]) -> list[RunRecord]:
    """Return the most runs that were all tested against each other, in their order; empty without a test."""
    pairs = {frozenset((test["first"], test["second"])) for test in tests}
    names = [record.folder.name for record in records]
    groups = [{name, *(other for other in names if frozenset((name, other)) in pairs)} for name in names]
    largest = max(groups, key=len, default=set())
    return [record for record in records if record.folder.name in largest] if len(largest) > 1 else []


def _obstacle(first: RunRecord, second: RunRecord) -> str:
    """Return why two runs cannot be compared; empty: they can."""
    closed = [record.folder.name for record in (second, first) if MODEL not in record.per_query]
    if closed:
        return f"{' and '.join(closed)} has not opened test" if len(closed) == 1 else "neither has opened test"
    data = [record.identity.get("data", {}).get("collection") for record in (first, second)]
    if data[0] != data[1]:
        return "they have different data"
    if first.per_query[MODEL].keys() != second.per_query[MODEL].keys():
        return "they have other test queries"
    if first.answers is None or second.answers is None:
        return "" if data[0] else "an older version of stm-agent recorded neither their data nor their test queries"
    return next(_other_judgements(first, second), "")


def _other_judgements(first: RunRecord, second: RunRecord) -> Iterator[str]:
    """Yield what differs between test queries that have the same ids."""
    if first.answers is None or second.answers is None:
        return
    queries = first.per_query[MODEL]
    fields = (
        ("texts", first.answers["queries"], second.answers["queries"]),
        ("relevant documents", first.answers["relevant"], second.answers["relevant"]),
    )
    for what, one, other in fields:
        differing = [query for query in queries if one.get(query) != other.get(query)]
        if differing:
            yield f"{len(differing):,} of their test queries have other {what}, such as {differing[0]}"


def _test(first: RunRecord, second: RunRecord) -> PairedTest:
    one, other = first.per_query[MODEL], second.per_query[MODEL]
    test = paired_bootstrap(one, other)
    moved = {query: one[query] - other[query] for query in one if one[query] != other[query]}
    ordered = sorted(moved.items(), key=lambda item: (-abs(item[1]), item[0]))
    return {
        "row": MODEL,
        "first": first.folder.name,
        "second": second.folder.name,
        "queries": test.queries,
        "synthetic": first.synthetic_test,
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
