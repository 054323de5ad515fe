"""The experts that a user's own data can train in the minutes there are."""

from __future__ import annotations

from collections.abc import Mapping

from stm_agent.domain.data import DomainData
from stm_agent.domain.spec import WRITTEN, DomainSpec, ExpertSpec, NegativeSpec
from stm_agent.errors import ConfigError
from stm_agent.loop.fused_teacher import FusedTeacher, distilled
from stm_agent.loop.run_plan import Speed
from stm_agent.loop.source_experts import SourceExperts, of_source, source_experts
from stm_agent.loop.time_table import QUERY_EXPERTS, USABLE, TimeTable, learnt_from, time_table
from stm_agent.loop.useful_training import FEWEST_STEPS, UsefulTraining, useful_training

SHOWN = 0.05
"""Minutes below which it is not said that they have passed."""

NO_TIME_TO_WRITE = "no queries are written: the calls of the generator do not fit the minutes beside the training"

NOTHING_WRITTEN = (
    "the generator writes no text for them: judged pairs teach more than what a small one writes; "
    "--policy gain-per-cost also tries written queries, and keeps them if they pay"
)

QUERY_SHARE = 0.4
"""Share of the training time for the experts of queries, together."""


def plan_experts(
    spec: DomainSpec,
    data: DomainData,
    *,
    minutes: float,
    speed: Speed,
    spent: float = 0.0,
    race: float = 0.0,
    teacher: FusedTeacher | None = None,
) -> tuple[DomainSpec, tuple[str, ...]]:
    """Return the domain with experts for its data that can be trained in the minutes, and the reasons.

    First both sides of the start are trained, as one expert, if the minutes allow enough steps. Then several experts of
    queries alone start from the result; they cost little, and a merge averages what each of them learns by chance. Of
    several sources, those with enough pairs have experts of their own beside those of all. If the minutes allow no
    expert beside the generator's calls, no queries are written. If BM25 and the start together rank better than the
    start alone, one more expert of queries is distilled from both, in minutes that the others leave.

    Args:
        spec: A domain without experts.
        data: What there is to train on.
        minutes: For the whole run.
        speed: Encoding speed of the start.
        spent: Minutes that have passed, for example in the start race.
        race: Seconds of the start race, if it is still to come.
        teacher: What BM25 and the start are worth together; None: no expert is distilled from them.

    Raises:
        ConfigError: The minutes are too few.
    """
    try:
        return _planned(spec, data, minutes, speed, spent, race, teacher)
    except ConfigError:
        if WRITTEN not in learnt_from(spec, data)[0]:
            raise
    silent = spec.model_copy(update={"synthesize": spec.synthesize.model_copy(update={"queries": 0})})
    planned, reasons = _planned(silent, data, minutes, speed, spent, race, teacher)
    return planned, (NO_TIME_TO_WRITE, *reasons)


def _planned(
    spec: DomainSpec,
    data: DomainData,
    minutes: float,
    speed: Speed,
    spent: float,
    race: float,
    teacher: FusedTeacher | None,
) -> tuple[DomainSpec, tuple[str, ...]]:
    table = time_table(spec, data, minutes, speed, spent, race)
    useful = useful_training(spec, data, speed)
    # No run is refused for the map: it is tried if minutes are left over.
    mapping = table.mapping
    both, queries = _affordable(table, useful, table.left - mapping)
    if not queries:
        mapping = 0.0
        both, queries = _affordable(table, useful, table.left)
    before = {"start race": table.race, "writing queries": table.writing}
    if not queries:
        raise _too_few(data, table, useful, minutes, spent, before)
    left = table.left - mapping - both * useful.both_step - (table.both if both else 0.0)
    left -= QUERY_EXPERTS * queries * useful.query_step
    taught = distilled(spec, useful, queries, left, teacher)
    alone = source_experts(data, table, useful, both, queries, left - taught.seconds)
    by_stage = {
        "passed already": 60 * spent if spent >= SHOWN else 0.0,
        **before,
        "encoding the corpus": table.encoding,
        "both sides": (table.both + both * useful.both_step) if both else 0.0,
        "both sides of one source each": sum(of_source(table, useful, steps) for steps in alone.both.values()),
        f"{QUERY_EXPERTS} experts of queries": QUERY_EXPERTS * queries * useful.query_step,
        "one distilled expert of queries": taught.seconds,
        "a map on query vectors": mapping,
        "scores, merge, export and test": table.scoring,
    }
    reasons = (
        f"{speed.passages:.0f} passages and {speed.queries:.0f} queries a second on this machine{_passed(spent)}",
        f"experts learn from {', '.join(useful.sources)}: {useful.pairs:,} "
        f"{'pairs' if useful.mined else 'pairs and passages'}",
        *([NOTHING_WRITTEN] if useful.mined else []),
        *_steps_told(useful, both, queries),
        *alone.reasons,
        *taught.reasons,
        _minutes_told(by_stage, minutes),
    )
    experts = _experts(useful, both, queries, alone)
    if taught.expert is None or teacher is None:
        return spec.model_copy(update={"experts": experts}), reasons
    return spec.model_copy(update={"experts": (*experts, taught.expert), "teach": teacher.spec}), reasons


def _too_few(
    data: DomainData,
    table: TimeTable,
    useful: UsefulTraining,
    minutes: float,
    spent: float,
    before: Mapping[str, float],
) -> ConfigError:
    """Return the error that says what takes the minutes, and how many are enough."""
    others = "".join(f", {name} {seconds / 60:.1f}" for name, seconds in before.items() if seconds)
    least = minutes + (FEWEST_STEPS * QUERY_EXPERTS * useful.query_step - table.left) / 60 / USABLE
    return ConfigError(
        f"{minutes:g} minutes are too few: to encode {len(data.collection.documents):,} passages takes "
        f"{table.encoding / 60:.1f} on this machine{others}{_passed(spent)}; set --budget-minutes "
        f"{least + 1:.0f} or more"
    )


def _affordable(table: TimeTable, useful: UsefulTraining, left: float) -> tuple[int, int]:
    """Return the steps of both sides and of an expert of queries that fit what is left; 0: too few do."""
    training, query_step = left - table.both, useful.query_step
    both = _steps(useful.both, (1 - QUERY_SHARE) * training / useful.both_step)
    # What both sides do not need of their share is left for the experts of queries.
    queries = _steps(useful.queries, (training - both * useful.both_step) / QUERY_EXPERTS / query_step) if both else 0
    if queries:
        return both, queries
    # Passages as short as queries leave time for both sides, but too little for the experts of queries after them.
    return 0, _steps(useful.queries, left / QUERY_EXPERTS / query_step)


def _steps_told(useful: UsefulTraining, both: int, queries: int) -> tuple[str, str]:
    negatives = ", each with a mined negative" if useful.mined else ""
    return (
        f"both sides are trained for {both} steps of {useful.batch} pairs{negatives}"
        if both
        else f"only the side of queries is trained: {FEWEST_STEPS} steps of both sides do not fit before it",
        f"{QUERY_EXPERTS} experts of queries are trained for {queries} steps each",
    )


def _minutes_told(by_stage: Mapping[str, float], minutes: float) -> str:
    stages = ", ".join(f"{name} {seconds / 60:.1f}" for name, seconds in by_stage.items() if seconds)
    return f"minutes, about: {stages}; {sum(by_stage.values()) / 60:.1f} of {minutes:g}"


def _experts(useful: UsefulTraining, both: int, queries: int, alone: SourceExperts) -> tuple[ExpertSpec, ...]:
    of_both = [("both-sides", useful.sources, both)] if both else []
    of_both += [(f"both-sides-of-{name}", (name,), steps) for name, steps in alone.both.items()]
    negatives = NegativeSpec(mined=useful.mined)
    experts = [
        ExpertSpec(name=name, sources=sources, steps=steps, batch_size=useful.batch, negatives=negatives)
        for name, sources, steps in of_both
    ]
    for number in range(1, QUERY_EXPERTS + 1 - len(alone.queries)):
        # The first one sees all pairs; the others differ in what they learn by chance.
        name, bag = f"queries-{number}", number > 1
        experts.append(ExpertSpec(name=name, sources=useful.sources, side="query", bag=bag, steps=queries))
    for source, steps in alone.queries.items():
        experts.append(ExpertSpec(name=f"queries-of-{source}", sources=(source,), side="query", steps=steps))
    return tuple(experts)


def _passed(spent: float) -> str:
    return f" ({spent:.1f} min have passed)" if spent >= SHOWN else ""


def _steps(useful: float, affordable: float) -> int:
    """Return the steps of an expert: as many as are useful and affordable; 0 if those are too few."""
    steps = round(min(useful, affordable))
    return steps if steps >= FEWEST_STEPS else 0
