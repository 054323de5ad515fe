"""What the texts of one generator are worth in a comparison: shares, distances, grades and a probe, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stm_agent.domain.data import Pair
from stm_agent.errors import DataError
from stm_agent.evaluate.cache import EmbeddingCache, encode_queries
from stm_agent.evaluate.significance import confidence_interval, paired_bootstrap
from stm_agent.loop.comparison_report import Gain, Mean, Quality
from stm_agent.loop.context import RunContext
from stm_agent.loop.grading import Grader
from stm_agent.loop.probe import ProbeKind, ProbeSetting, probe
from stm_agent.synthesize.feedback import QueryRater


@dataclass(frozen=True, kw_only=True)
class Written:
    """What one generator wrote.

    Attributes:
        asked: Passages that it was asked about.
        pairs: Its usable queries.
        refused: Texts that cannot be used, by reason.
        ended: Why it stopped before the last passage; None: it did not.
    """

    asked: tuple[str, ...]
    pairs: tuple[Pair, ...]
    refused: Mapping[str, int]
    ended: str | None


def quality_of(context: RunContext, setting: ProbeSetting, rater: QueryRater, written: Written) -> Quality:
    """Return shares and distances of what one generator wrote."""
    covered = {pair.group for pair in written.pairs}
    accepted = {name: float(name in covered) for name in written.asked}
    ratings = rater.rate([(pair.group, pair.query) for pair in written.pairs])
    names = [pair.id for pair in written.pairs]
    trips = {name: float(rating.round_trip) for name, rating in zip(names, ratings, strict=True)}
    scores = {name: rating.score for name, rating in zip(names, ratings, strict=True)}
    return {
        "asked": len(written.asked),
        "queries": len(written.pairs),
        "refused": dict(written.refused),
        "ended": written.ended,
        "accepted": _interval(accepted),
        "round_trip": _interval(trips),
        "rating": _interval(scores),
        "distance": _interval(_distances(context, setting, written.pairs)),
        "distinct_2": distinct_share([pair.query for pair in written.pairs], 2),
    }


def grades_of(pairs: Sequence[Pair], grader: Grader | None) -> Mean | None:
    """Return the mean grade, from 0 to 3, of each query's own passage; None without a judge or usable judgements."""
    if grader is None:
        return None
    judgements = grader.grade([(pair.query, pair.positive) for pair in pairs])
    rows = zip(pairs, judgements, strict=True)
    return _interval({pair.id: float(judgement.grade) for pair, judgement in rows if judgement is not None})


def _interval(values: Mapping[str, float]) -> Mean | None:
    if not values:
        return None
    interval = confidence_interval(values, samples=2000)
    return {"mean": interval.mean, "low": interval.low, "high": interval.high}


def _distances(context: RunContext, setting: ProbeSetting, pairs: Sequence[Pair]) -> dict[str, float]:
    """Return each query's mean cosine distance from the other queries."""
    if len(pairs) < 2:
        return {}
    encoder = context.backbone.open()
    queries = [pair.query for pair in pairs]
    vectors = encode_queries(EmbeddingCache(context.cache), encoder, queries, prefix=setting.instruction.query_prefix)
    near = vectors @ vectors.T
    return {pair.id: float(1 - (near[row].sum() - near[row, row]) / (len(pairs) - 1)) for row, pair in enumerate(pairs)}


def distinct_share(texts: Sequence[str], length: int) -> float | None:
    """Return the share of distinct runs of ``length`` words among all (distinct-n, Li et al. 2016); None for none."""
    runs = [
        tuple(words[begin : begin + length])
        for words in (text.lower().split() for text in texts)
        for begin in range(len(words) - length + 1)
    ]
    return len(set(runs)) / len(runs) if runs else None


def gain_of(context: RunContext, setting: ProbeSetting, pairs: Sequence[Pair], kind: ProbeKind) -> Gain | None:
    """Return the gain of a probe over the untrained model on the search half; None without usable pairs."""
    try:
        with context.timed("probe", f"probing {len(pairs)} pairs ({kind})"):
            probed = probe(setting, pairs, kind)
    except DataError:
        return None
    compared = paired_bootstrap(probed.scores.per_query, setting.untrained().per_query, samples=2000)
    return {
        "delta": compared.delta,
        "low": compared.low,
        "high": compared.high,
        "p_value": compared.p_value,
        "queries": compared.queries,
    }
