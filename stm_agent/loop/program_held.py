"""The upper rung of programs that no model learns from: examples that no candidate was chosen by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stm_agent.loop.paired_test import difference, sign_flip_p_value
from stm_agent.loop.program_trials import ProgramTrials, TrialHost
from stm_agent.loop.search_looks import level_of_test
from stm_agent.synthesize.program_text import ProgramText

SAMPLES = 10_000
"""Sign patterns of the test."""


@dataclass(frozen=True, kw_only=True)
class HeldOutcome:
    """What examples that were held out said.

    Attributes:
        winner: The best rated candidate; None: none was rated above the first program.
        accepted: It is better on the examples that were held out.
        reason: Why, in one line.
        gain: Difference of the mean ratings on them.
        p_value: One-sided p-value of no gain.
        held: Mean ratings on them: of the first program, and of the winner.
    """

    winner: ProgramText | None
    accepted: bool
    reason: str
    gain: float = 0.0
    p_value: float = 1.0
    held: tuple[float, float] | None = None


def judge_held(
    trials: ProgramTrials[TrialHost],
    first: ProgramText,
    others: Sequence[ProgramText],
    held: Sequence[str],
    *,
    alpha: float,
    seed: int,
) -> HeldOutcome:
    """Compare the best rated candidate with the first program on examples that were held out, by one paired test.

    Args:
        trials: Runs and rates candidates.
        first: The program as it is.
        others: The candidates.
        held: Names of the examples.
        alpha: Level of all tests of this search; of one that a ceiling ended, a half is kept for what continues it.
        seed: Seed of the sign patterns.

    Raises:
        BudgetExceeded: A ceiling is reached.
    """
    better = [text for text in others if trials.mean(text) > trials.mean(first)]
    if not better:
        return HeldOutcome(
            winner=None, accepted=False, reason="no candidate is rated above the program as it is; nothing changes"
        )
    winner = max(better, key=trials.mean)
    scores = [
        {name: rollout.rating.score for name, rollout in zip(held, trials.rate(text, held), strict=True)}
        for text in (winner, first)
    ]
    seen = difference(scores[0], scores[1], list(held), {name: number for number, name in enumerate(held)})
    p_value = sign_flip_p_value(seen.sums, samples=SAMPLES, seed=seed) if seen.sums.any() else 1.0
    level = level_of_test(trials.context.run, scores[0], scores[1], alpha, continues=bool(trials.ended))
    accepted = seen.mean > 0 and p_value <= level
    reason = (
        f"{'accepted' if accepted else 'not accepted'}: {seen.mean:+.3f} on {len(held)} examples that were held out, "
        f"p {p_value:.4f} {'<=' if p_value <= level else '>'} {level:g}"
    )
    trials.decide(winner, accepted=accepted, reason=reason)
    means = (sum(row.values()) / len(held) for row in (scores[1], scores[0]))
    before, after = means
    return HeldOutcome(
        winner=winner, accepted=accepted, reason=reason, gain=seen.mean, p_value=p_value, held=(before, after)
    )
