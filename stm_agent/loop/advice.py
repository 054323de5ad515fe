"""What would help a run that confirmed nothing."""

from __future__ import annotations

from stm_agent.domain.spec import WRITTEN
from stm_agent.loop.context import RunContext
from stm_agent.loop.failures import BUDGET, MINUTES
from stm_agent.loop.identity import Identity

FEW_PAIRS = 1000
"""Training pairs below which more of them are likely to help."""


def minutes_decide(identity: Identity) -> bool:
    """Return whether the minutes of a run decide its steps, so that more of them make another run."""
    return bool(identity.get("flags", {}).get("minutes"))


def advice(context: RunContext) -> str:
    """Return in one line what would help, the surest first."""
    queries, smallest = len(context.gate.halves.accept), context.gate.smallest_gain()
    ways = [f"more dev queries (the {queries} that gains are accepted on show none below about {smallest:.3f} nDCG@10)"]
    pairs = sum(map(len, context.data.sources.values()))
    if pairs < FEW_PAIRS:
        ways.append(f"more judged pairs to train on (there are {pairs:,})")
    if any(WRITTEN in expert.sources for expert in context.spec.experts):
        writer = context.generator.options.model
        ways.append(f"a stronger --generator (experts learn from queries that {writer} writes)")
    if any(failure.kind in (BUDGET, MINUTES) for failure in context.failures):
        ways.append("a higher budget (levers were lost to it)")
    elif context.minutes is not None and minutes_decide(context.run.identity):
        ways.append("more minutes (another run with more steps; what is finished and the same is used again)")
    if any(failure.kind not in (BUDGET, MINUTES) for failure in context.failures):
        ways.append("what the lost levers name")
    return f"what would help: {'; '.join(ways)}"
