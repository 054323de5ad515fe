"""How texts are encoded: tokens that are read, by what the passages need and the minutes allow, and number format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from stm_agent.backbone.precision import MIXED, mixed_pays
from stm_agent.domain.data import DomainData
from stm_agent.domain.profile import LENGTHS, max_length_for, profile
from stm_agent.domain.spec import BackboneSpec, DomainSpec
from stm_agent.loop.run_plan import Speed
from stm_agent.loop.time_table import USABLE, time_table
from stm_agent.loop.useful_training import queries_fit

ENCODING_SHARE = 0.35
"""Share of the usable minutes that the corpus may take to encode: the rest is for training and scores."""

SHORTEST = 96
"""Tokens below which a length is not shortened: what is lost then is rarely won back by more steps."""

MIXED_REASON = (
    "texts are encoded, and experts trained, with matrix products in bfloat16, for which this CPU has instructions: "
    "about 1.5 times as fast, with cosines that differ by about 0.00002; dtype: float32 in the domain file turns it off"
)


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


def with_encoding(spec: DomainSpec, data: DomainData) -> tuple[DomainSpec, tuple[str, ...]]:
    """Return a domain with a number format for every start that has none, and why.

    If the experts are planned, or if starts race, every start whose length is open gets the length of the texts, too: a
    ready encoder may read far more than they have, and the longest text of a batch decides its memory.
    """
    starts, reasons = [spec.backbone, *spec.starts], []
    if (spec.planned or spec.starts) and not all(start.max_length for start in starts):
        length, reason = max_length_for(profile(data))
        starts = [start if start.max_length else start.model_copy(update={"max_length": length}) for start in starts]
        reasons.append(reason)
    spec = spec.model_copy(update={"backbone": starts[0], "starts": tuple(starts[1:])})
    settled = with_number_formats(spec)
    if settled != spec:
        reasons.append(MIXED_REASON)
    return settled, tuple(reasons)


def with_number_formats(spec: DomainSpec) -> DomainSpec:
    """Return a domain with mixed precision for every start whose number format is open, if this CPU pays for it.

    Single stages use it too, so that they are those of a run.
    """

    def settled(start: BackboneSpec) -> BackboneSpec:
        open_and_faster = start.dtype == "auto" and mixed_pays(start.model)
        return start.model_copy(update={"dtype": MIXED}) if open_and_faster else start

    starts = tuple(map(settled, spec.starts))
    return spec.model_copy(update={"backbone": settled(spec.backbone), "starts": starts})


def fit_length(
    spec: DomainSpec,
    data: DomainData,
    *,
    minutes: float,
    measure: Callable[[BackboneSpec, DomainData], Speed],
    spent: float = 0.0,
) -> FittedStart:
    """Shorten the length of a start until the minutes allow to train the side of queries.

    A shorter text costs more than training both sides wins: untouched all-MiniLM-L6-v2 has test nDCG@10 0.645, 0.607
    and 0.572 on scifact with 256, 96 and 64 tokens.

    Args:
        spec: The planned domain; its backbone is the start, with the length that the passages need.
        data: The domain's.
        minutes: For the whole run.
        measure: Returns the encoding speed of a start on this machine.
        spent: Minutes that have passed.
    """
    start = spec.backbone
    speed = measure(start, data)
    if not start.max_length:
        return FittedStart(spec=start, speed=speed)
    wanted, first = start.max_length, _encoding_share(spec, data, minutes, speed, spent)
    share = first
    for length in sorted((length for length in LENGTHS if SHORTEST <= length < wanted), reverse=True):
        if share <= ENCODING_SHARE or queries_fit(spec, data, minutes, speed, spent):
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
    return table.encoding / max(60 * (minutes * USABLE - spent), 1.0)
