"""The exported model in the number format of whoever loads it: float32.

A run in mixed precision chooses in mixed precision, whose cosines differ by about 0.00002: enough for near ties to rank
otherwise, which moved nDCG@10 of 450 queries by 0.002. What a report says of the exported model should be what its
users measure.
"""

from __future__ import annotations

import math
from dataclasses import replace

from stm_agent.loop.context import RunContext
from stm_agent.loop.ready_rows import encoding_seconds
from stm_agent.loop.state import RatedModel

EVENT = "number format"
"""Event of the ledger: whether dev and test score the exported model in float32."""

USED = 0.8
"""Share of the minutes that are left which the encoding in float32 may take: queries and other rows follow."""


def as_loaded(context: RunContext, rated: RatedModel) -> RatedModel:
    """Return a model as it is scored on test: in float32, unless the minutes do not allow to encode the corpus again.

    Without a ceiling on minutes it is always float32. If it is not, one note says so. A resumed run keeps to float32 if
    an earlier process decided on it.
    """
    exact = replace(rated, model=rated.model.in_float32)
    if exact.model == rated.model:
        return rated
    left, needed = math.inf, 0.0
    if context.minutes is not None:
        left = USED * max(context.minutes * 60 - context.clock.seconds(), 0.0)
        needed = encoding_seconds(context, exact, [*context.documents.values()])
    scored = needed <= left or context.run.ledger.repeats(EVENT, float32=True)
    context.run.ledger.record(EVENT, float32=scored)
    if scored:
        return exact
    context.note(
        "test",
        f"rows of test are computed in mixed precision: float32 takes about {needed / 60:.1f} min more, and "
        f"{left / USED / 60:.1f} are left; near ties may rank otherwise when the exported folder is loaded",
    )
    return rated
