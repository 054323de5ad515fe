"""How many tokens of a text are read: what the passages need, and what the minutes of a run allow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from stm_agent.domain.data import DomainData
from stm_agent.domain.profile import LENGTHS, max_length_for, profile
from stm_agent.domain.spec import BackboneSpec, DomainSpec
from stm_agent.loop.recipes import USABLE, Speed, time_table

ENCODING_SHARE = 0.35
"""Share of the usable minutes that the corpus may take to encode: the rest is for training and scores."""

SHORTEST = 96
"""Tokens below which a length is not shortened: what is lost then is rarely won back by more steps."""


@dataclass(frozen=True, kw_only=True)
class FittedStart:
    """A start at the length that the minutes allow.

    Attributes:
        spec: The start with its length.
        speed: Its encoding speed at this length.
        reason: Why the length is not the one that the passages need; None: it is.
    """

    spec: BackboneSpec
    speed: Speed
    reason: str | None = None


def with_lengths(spec: DomainSpec, data: DomainData) -> tuple[DomainSpec, tuple[str, ...]]:
    """Return a planned domain with a length for every start that has none, and the reason for it."""
    starts = (spec.backbone, *spec.starts)
    if not spec.planned or all(start.max_length for start in starts):
        return spec, ()
    length, reason = max_length_for(profile(data))
    first, *others = (
        start if start.max_length else start.model_copy(update={"max_length": length}) for start in starts
    )
    return spec.model_copy(update={"backbone": first, "starts": tuple(others)}), (reason,)


def fit_length(
    spec: DomainSpec,
    start: BackboneSpec,
    data: DomainData,
    *,
    minutes: float,
    measure: Callable[[BackboneSpec, DomainData], Speed],
    spent: float = 0.0,
) -> FittedStart:
    """Shorten the length of a start until the corpus is encoded in a fair share of the minutes.

    Args:
        spec: The planned domain.
        start: One of its starts, with the length that the passages need.
        data: The domain's.
        minutes: For the whole run.
        measure: Returns the encoding speed of a start on this machine.
        spent: Minutes that have passed.
    """
    speed = measure(start, data)
    if not start.max_length:
        return FittedStart(spec=start, speed=speed)
    wanted, first = start.max_length, _encoding_share(spec, data, minutes, speed, spent)
    share = first
    for length in sorted((length for length in LENGTHS if SHORTEST <= length < wanted), reverse=True):
        if share <= ENCODING_SHARE:
            break
        start = start.model_copy(update={"max_length": length})
        speed = measure(start, data)
        share = _encoding_share(spec, data, minutes, speed, spent)
    if start.max_length == wanted:
        return FittedStart(spec=start, speed=speed)
    reason = (
        f"max_length {start.max_length} instead of {wanted}: the corpus takes {share:.0%} of the minutes to encode, "
        f"and would take {first:.0%}; more minutes, or max_length in the domain file, keep the length"
    )
    return FittedStart(spec=start, speed=speed, reason=reason)


def _encoding_share(spec: DomainSpec, data: DomainData, minutes: float, speed: Speed, spent: float) -> float:
    table = time_table(spec, data, minutes, speed, spent)
    return (table.encoding + table.both) / max(60 * (minutes * USABLE - spent), 1.0)
