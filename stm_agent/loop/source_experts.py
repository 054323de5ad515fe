"""Experts of one source each, beside those that learn from all sources of a user's data.

Experts of one source that are merged can beat one expert of their mix (Synthesize-Train-Merge, arXiv 2602.04731), since
the weights of a merge are chosen on dev: a source that does not help gets none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from stm_agent.domain.data import DomainData
from stm_agent.loop.time_table import QUERY_EXPERTS, TimeTable, pairs_by_source
from stm_agent.loop.useful_training import FEWEST_STEPS, UsefulTraining

WHOLE = 0.9
"""Share of all pairs from which a source alone would be the mix once more."""


@dataclass(frozen=True, kw_only=True)
class SourceExperts:
    """Sources that have experts of their own.

    Attributes:
        both: Source -> steps of its expert of both sides.
        queries: Source -> steps of its expert of queries.
        reasons: One line, or none if there is one source only.
    """

    both: Mapping[str, int]
    queries: Mapping[str, int]
    reasons: tuple[str, ...]


ONE_SOURCE = SourceExperts(both={}, queries={}, reasons=())


def steps_by_source(sizes: Mapping[str, int], pairs: int, *, useful: float, ceiling: int) -> dict[str, int]:
    """Return source -> the steps of an expert of it alone, for those with enough pairs that are not nearly all of them.

    Args:
        sizes: Source -> its pairs.
        pairs: Of all sources.
        useful: Steps beyond which an expert of all pairs learns them by heart; a source has its share of them.
        ceiling: Steps of the expert of all pairs.
    """
    steps = {name: useful * size / pairs for name, size in sizes.items() if size <= WHOLE * pairs}
    return {name: min(round(count), ceiling) for name, count in steps.items() if count >= FEWEST_STEPS}


def source_line(sizes: Mapping[str, int], both: Mapping[str, int], queries: Mapping[str, int], least: int) -> str:
    """Return the line of a plan that says which sources have experts of their own, and why others have none.

    Args:
        sizes: Source -> its pairs.
        both: Source -> steps of its expert of both sides.
        queries: Source -> steps of its expert of queries.
        least: Pairs that an expert of queries needs.
    """
    alone = [
        f"{side} of {', '.join(f'{name} ({count} steps)' for name, count in steps.items())}"
        for side, steps in (("both sides", both), ("queries", queries))
        if steps
    ]
    mixed = [f"{name} ({size:,} pairs)" for name, size in sizes.items() if name not in {*both, *queries}]
    text = f"{len(sizes)} sources: experts of one source each, beside those of all: {'; '.join(alone) or 'none'}"
    rule = f"an expert of one source needs {least:,} pairs, at most {WHOLE:.0%} of all, and minutes"
    return f"{text}; learnt in the mix alone: {', '.join(mixed)} ({rule})" if mixed else text


def source_experts(
    data: DomainData, table: TimeTable, useful: UsefulTraining, both: int, queries: int, left: float
) -> SourceExperts:
    """Return the sources that have experts of their own, if several teach.

    Experts of queries take the places of bags, so they cost no minutes. Those of both sides take what the training of
    all pairs leaves, since it gains nothing from more steps then.

    Args:
        data: The domain's.
        table: How the minutes are spent.
        useful: How much training all pairs can use.
        both: Steps of the expert of both sides of all pairs; 0: there is none.
        queries: Steps of an expert of queries of all pairs.
        left: Seconds that no expert of all pairs needs.
    """
    sizes, pairs = pairs_by_source(data, useful.sources)
    if len(sizes) == 1 or not useful.mined:
        return ONE_SOURCE
    taught = steps_by_source(sizes, pairs, useful=useful.queries, ceiling=queries)
    of_queries = dict(list(taught.items())[: QUERY_EXPERTS - 1])
    wanted = steps_by_source(sizes, pairs, useful=useful.both, ceiling=both)
    of_both: dict[str, int] = {}
    for source, steps in wanted.items():
        if both and (seconds := of_source(table, useful, steps)) <= left:
            of_both[source] = steps
            left -= seconds
    least = math.ceil(FEWEST_STEPS * pairs / useful.queries)
    line = source_line(sizes, of_both, of_queries, least)
    return SourceExperts(both=of_both, queries=of_queries, reasons=(line,))


def of_source(table: TimeTable, useful: UsefulTraining, steps: int) -> float:
    """Return the seconds of an expert of both sides of one source: its steps, and the encoding that scores it."""
    return steps * useful.both_step + table.scored
