"""Whether written queries that miss their passage are left out: short trainings with and without them decide."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from stm_agent.domain.data import Pair
from stm_agent.loop.context import RunContext
from stm_agent.loop.probe import DEFAULT_PROBE, STEPS, ProbeSetting, probe

LEVER = "probe of the round trip"


@dataclass(frozen=True)
class ProbedPairs:
    """Pairs, and the number of changes of them that probes compared."""

    pairs: tuple[Pair, ...]
    compared: int = 0


def filter_by_probe(context: RunContext, pairs: tuple[Pair, ...], lost: AbstractSet[str]) -> ProbedPairs:
    """Return the pairs without those whose query misses its passage, if a probe is better without them; else all.

    Both probes have the same start, seed and steps, and are scored in nDCG@10 on the search half of dev. The filter
    throws away what was paid for, so it must look better there, beyond what luck gives; nothing is spent on the accept
    half. A probe that fails, or too few pairs, leave all pairs.

    Args:
        context: The run.
        pairs: All pairs.
        lost: Names of the pairs that the filter would leave out; empty: there is nothing to decide.
    """
    found, batch = tuple(pair for pair in pairs if pair.id not in lost), context.spec.train.batch_size
    if len(found) == len(pairs):
        return ProbedPairs(pairs)
    text = f"{len(pairs) - len(found):,} of {len(pairs):,} written queries miss their passage"
    if len(found) < batch:
        context.warn(
            "data", f"{text} and are used: the others are fewer than one batch of {batch}, too few for a probe"
        )
        return ProbedPairs(pairs)
    if not context.has_time(LEVER):
        return ProbedPairs(pairs)
    with context.attempt(LEVER):
        setting, steps = ProbeSetting.of(context, context.probed), STEPS[DEFAULT_PROBE]
        with context.timed("probe", f"probing written queries with and without the round trip: {steps} steps each"):
            without, filtered = (probe(setting, part).scores for part in (pairs, found))
        verdict = context.gate.consider(filtered.per_query, without.per_query, costly=True)
        context.run.ledger.record(
            "round trip",
            pairs=len(pairs),
            found=len(found),
            steps=steps,
            filtered=filtered.ndcg_at_10,
            unfiltered=without.ndcg_at_10,
            kept=verdict.accepted,
        )
        context.note(
            "data",
            f"{text}; a probe of {steps} steps has nDCG@10 {filtered.ndcg_at_10:.4f} without them and "
            f"{without.ndcg_at_10:.4f} with them on the search half of dev: round trip {verdict.reason}",
        )
        return ProbedPairs(found if verdict.accepted else pairs, compared=1)
    return ProbedPairs(pairs)
