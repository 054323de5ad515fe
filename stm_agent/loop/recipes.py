"""The experts that a user's own data can train in the minutes there are."""

from __future__ import annotations

from dataclasses import dataclass

from stm_agent.domain.data import DomainData
from stm_agent.domain.spec import SENTENCES, WRITTEN, DomainSpec, ExpertSpec
from stm_agent.errors import ConfigError

USABLE = 0.85
"""Share of the minutes that is planned; the rest is for loading, export and a machine that is slower later."""

STEP_COST = 2.2
"""Time of a training step as a multiple of the time to encode its texts: a forward pass, and a backward pass that needs
no gradients of the backbone's weights."""

BOTH_SIDES, QUERY_SIDE = 3.0, 8.0
"""Passes over the pairs after which more steps mostly learn them by heart."""

FEWEST_STEPS = 30
"""Steps below which an expert is not worth its scoring."""

SHOWN = 0.05
"""Minutes that have passed are named from here on."""

QUERY_EXPERTS = 4
"""Experts of queries that a merge can average."""

QUERY_SHARE = 0.4
"""Share of the training time for the experts of queries, together."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Measured encoding speed of a start on this machine.

    Attributes:
        passages: Passages a second.
        queries: Queries a second.
    """

    passages: float
    queries: float


@dataclass(frozen=True, kw_only=True)
class TimeTable:
    """How the minutes of a planned run are spent; all in seconds.

    Attributes:
        whole: One encoding of the corpus.
        part: One encoding of the searched part of it.
        training: What is left for steps if one expert of both sides is trained: the corpus is encoded by the start and
            by that expert, and the searched part by that expert, once each.
        queries_only: What is left if only experts of queries are trained.
    """

    whole: float
    part: float
    training: float
    queries_only: float


def time_table(spec: DomainSpec, data: DomainData, minutes: float, speed: Speed, spent: float = 0.0) -> TimeTable:
    """Divide the minutes of a run, of which ``spent`` have passed."""
    documents = len(data.collection.documents)
    searched = min(documents, spec.loop.search_documents or documents)
    queries = sum(len(split.queries) for split in data.collection.splits.values())
    whole, part = documents / speed.passages, searched / speed.passages
    left = (minutes * USABLE - spent) * 60 - whole - (QUERY_EXPERTS + spec.merge.verify) * queries / speed.queries
    return TimeTable(whole=whole, part=part, training=left - whole - part, queries_only=left)


def plan_experts(
    spec: DomainSpec, data: DomainData, *, minutes: float, speed: Speed, spent: float = 0.0
) -> tuple[DomainSpec, tuple[str, ...]]:
    """Return the domain with experts for its data that can be trained in the minutes, and the reasons.

    First both sides of the start are trained, as one expert, if the minutes allow enough steps. Then several experts of
    queries alone start from the result; they cost little, and a merge averages what each of them learns by chance.

    Args:
        spec: A domain without experts.
        data: What there is to train on.
        minutes: For the whole run.
        speed: Encoding speed of the start.
        spent: Minutes that have passed, for example in the start race.

    Raises:
        ConfigError: The minutes are too few.
    """
    table = time_table(spec, data, minutes, speed, spent)
    sources, pairs = _sources(spec, data)
    batch = spec.train.batch_size
    both_step = STEP_COST * batch * (1 / speed.queries + 1 / speed.passages)
    query_step = STEP_COST * batch / speed.queries
    both = _steps(BOTH_SIDES * pairs / batch, (1 - QUERY_SHARE) * table.training / both_step)
    useful = QUERY_SIDE * pairs / batch
    queries = _steps(useful, QUERY_SHARE * table.training / QUERY_EXPERTS / query_step) if both else 0
    if not queries:
        # Passages as short as queries leave time for both sides, but too little for the experts of queries after them.
        both, queries = 0, _steps(useful, table.queries_only / QUERY_EXPERTS / query_step)
    if not queries:
        least = minutes + (FEWEST_STEPS * QUERY_EXPERTS * query_step - table.queries_only) / 60 / USABLE
        raise ConfigError(
            f"{minutes:g} minutes are too few: to encode {len(data.collection.documents):,} passages takes "
            f"{table.whole / 60:.1f} on this machine{_passed(spent)}; set --budget-minutes {least + 1:.0f} or more"
        )
    trunk = [ExpertSpec(name="both-sides", sources=sources, steps=both)] if both else []
    experts = [
        ExpertSpec(name=f"queries-{number}", sources=sources, side="query", bag=number > 1, steps=queries)
        for number in range(1, QUERY_EXPERTS + 1)
    ]
    reasons = (
        f"{speed.passages:.0f} passages and {speed.queries:.0f} queries a second: one encoding of the corpus takes "
        f"{table.whole / 60:.1f} of {minutes:g} minutes{_passed(spent)}",
        f"experts learn from {', '.join(sources)}: {pairs:,} pairs",
        f"both sides are trained for {both} steps"
        if both
        else f"only the side of queries is trained: {FEWEST_STEPS} steps of both sides do not fit before it",
        f"{QUERY_EXPERTS} experts of queries are trained for {queries} steps each",
    )
    return spec.model_copy(update={"experts": (*trunk, *experts)}), reasons


def _passed(spent: float) -> str:
    return f" ({spent:.1f} min have passed)" if spent >= SHOWN else ""


def _steps(useful: float, affordable: float) -> int:
    """Return the steps of an expert: as many as are useful and affordable; 0 if those are too few."""
    steps = round(min(max(useful, FEWEST_STEPS), affordable))
    return steps if steps >= FEWEST_STEPS else 0


def _sources(spec: DomainSpec, data: DomainData) -> tuple[tuple[str, ...], int]:
    """Return the sources that experts learn from, and the number of their pairs; judged pairs if there are enough."""
    batch = spec.train.batch_size
    labelled = {name: len(pairs) for name, pairs in data.sources.items() if len(pairs) >= 2 * batch}
    if labelled:
        return tuple(labelled), sum(labelled.values())
    return (WRITTEN, SENTENCES), len(data.pool)
