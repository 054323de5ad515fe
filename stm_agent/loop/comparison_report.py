"""The report of a comparison of generators, as it is stored in a run's folder and printed."""

from __future__ import annotations

from typing import NotRequired, TypedDict


class Mean(TypedDict):
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float


class Gain(TypedDict):
    """A difference in nDCG@10 over the same queries, with its 95 % interval."""

    delta: float
    low: float
    high: float
    p_value: float
    queries: int


class FalseNegatives(TypedDict, total=False):
    """The share of relevant passages among mined negatives, or why it is not estimated.

    Attributes:
        share: The estimate.
        low: Lower end of its 95 % interval.
        high: Upper end.
        count: Passages that it is of.
        by: What it was estimated by: ``known positives``, the same with ``, one a query``, or ``judge``.
        reason: Why nothing is estimated; then nothing else is here.
    """

    share: float
    low: float
    high: float
    count: int
    by: str
    reason: str


class Quality(TypedDict):
    """Shares and distances of what a generator wrote; None: nothing could be measured.

    Attributes:
        asked: Passages that it was asked about.
        queries: Usable queries.
        refused: Texts that cannot be used, by reason.
        ended: Why it stopped before the last passage; None: it did not.
        accepted: Share of the passages with a usable query.
        round_trip: Share of the queries that find their passage again.
        rating: Rating of the queries.
        distance: Cosine distance of a query from the others.
        distinct_2: Share of distinct pairs of words.
    """

    asked: int
    queries: int
    refused: dict[str, int]
    ended: str | None
    accepted: Mean | None
    round_trip: Mean | None
    rating: Mean | None
    distance: Mean | None
    distinct_2: float | None


class GeneratorCost(TypedDict):
    """What a generator cost.

    Attributes:
        usd: US dollars of its answers, whichever run paid for them.
        calls: Their calls, retries included.
        tokens: Their tokens.
        seconds: Their seconds.
        paid_usd: US dollars of these that this comparison paid; the rest was paid before.
        paid_calls: Calls of these that this comparison made.
    """

    usd: float
    calls: int
    tokens: int
    seconds: float
    paid_usd: NotRequired[float]
    paid_calls: NotRequired[int]


class GeneratorRow(Quality):
    """One generator.

    Attributes:
        generator: Its LiteLLM name.
        gain: Gain of a probe over the untrained model; None: no usable pair.
        false_negatives: How many of its mined negatives are relevant.
        grade: Mean grade of a query's own passage by the judge, from 0 to 3; None: there was none.
        cost: What it cost.
    """

    generator: str
    gain: Gain | None
    false_negatives: FalseNegatives
    grade: Mean | None
    cost: GeneratorCost


class Ceilings(TypedDict):
    """The budget of each generator; None: no ceiling."""

    usd: float | None
    calls: int | None
    tokens: int | None


class ComparisonReport(TypedDict):
    """Report of ``stm-agent synthesize compare``.

    Attributes:
        run: The run.
        program: File of the program that all of them ran.
        passages: Passages that each wrote for, as far as its budget lasted.
        budget: The budget of each.
        probe: Kind of the probe.
        untrained: nDCG@10 of the untrained model on the search half.
        rows: The generators, in the order they were named in.
    """

    run: str
    program: str
    passages: int
    budget: Ceilings
    probe: str
    untrained: float
    rows: list[GeneratorRow]
