"""Keep or roll back: a change stays only when a paired test on dev says so."""

from __future__ import annotations

from dataclasses import dataclass

from stm_agent.domain.spec import LoopSpec
from stm_agent.evaluate.metrics import Scores
from stm_agent.evaluate.significance import Comparison, paired_bootstrap


@dataclass(frozen=True)
class Verdict:
    """The outcome of one gate.

    Attributes:
        kept: Whether the challenger replaces the incumbent.
        comparison: The paired bootstrap on per-query nDCG@10.
        reason: One line for the ledger and the screen.
    """

    kept: bool
    comparison: Comparison
    reason: str


def gate(challenger: Scores, incumbent: Scores, spec: LoopSpec, seed: int) -> Verdict:
    """Compare two score tables of the same dev queries.

    The challenger is kept when the lower end of the paired interval is above 0 and the difference
    reaches ``spec.min_effect``.
    """
    comparison = paired_bootstrap(
        challenger.per_query, incumbent.per_query, samples=spec.bootstrap, seed=seed, alpha=spec.alpha
    )
    kept = comparison.low > 0 and comparison.delta >= spec.min_effect
    interval = f"{comparison.delta:+.4f} [{comparison.low:+.4f}, {comparison.high:+.4f}]"
    if kept:
        reason = f"kept: {interval}"
    elif comparison.low > 0:
        reason = f"rolled back: {interval} is below the minimum effect {spec.min_effect}"
    else:
        reason = f"rolled back: {interval} does not exclude 0"
    return Verdict(kept, comparison, reason)
