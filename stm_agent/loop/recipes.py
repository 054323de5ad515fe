"""The experts that a user's own data can train in the minutes there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from stm_agent.domain.collection_spec import FrozenCollection
from stm_agent.domain.data import DomainData
from stm_agent.domain.spec import SENTENCES, WRITTEN, DomainSpec, ExpertSpec, NegativeSpec
from stm_agent.errors import ConfigError
from stm_agent.evaluate.proof import proof_encodings
from stm_agent.loop.run_plan import Speed

USABLE = 0.8
"""Share of the minutes that is planned; the rest is for loading models and for a machine that is slower later."""

STEP_COST, QUERY_STEP_COST = 2.5, 4.5
"""Time of a training step, of both sides and of queries alone, as a multiple of the time to encode its texts. A step is
a forward pass and a backward pass without gradients of the backbone's weights, together 2.3 to 2.6 times as long, in
float32 and in mixed precision. Queries are so short that the optimizer and the softmax over all passages nearly double
that."""

BOTH_SIDES, QUERY_SIDE = 3.0, 8.0
"""Passes over the pairs after which more steps mostly learn them by heart."""

FEWEST_STEPS = 30
"""Steps below which an expert is not worth its scoring."""

SHOWN = 0.05
"""Minutes below which it is not said that they have passed."""

MINED = 1
"""Mined negatives of each pair, if both sides are trained on judged pairs."""

MINING = 0.015
"""Seconds to mine the negatives of a pair and to audit them, beside the encoding."""

QUERY_EXPERTS = 4
"""Experts of queries that a merge can average."""

QUERY_SHARE = 0.4
"""Share of the training time for the experts of queries, together."""


@dataclass(frozen=True, kw_only=True)
class TimeTable:
    """How the minutes of a planned run are spent; all in seconds.

    Attributes:
        encoding: One encoding of the corpus and of the guards' passages, by the start.
        both: What it takes to train both sides beside the steps: mining, for which the train queries are encoded, and
            encodings of the corpus and, for the expert and each merge of it with the start, of its searched part and of
            the guards.
        scoring: Scores of the experts, the merge and test, and the proof of the exported folder.
        left: What is left for training steps if only the side of queries is trained.
    """

    encoding: float
    both: float
    scoring: float
    left: float


def time_table(spec: DomainSpec, data: DomainData, minutes: float, speed: Speed, spent: float = 0.0) -> TimeTable:
    """Divide the minutes of a run, of which ``spent`` have passed."""
    documents = len(data.collection.documents)
    searched = min(documents, spec.loop.search_documents or documents)
    guards = sum(guard.documents for guard in spec.general if isinstance(guard, FrozenCollection))
    queries = sum(len(split.queries) for split in data.collection.splits.values())
    pairs = sum(len(rows) for rows in data.sources.values())
    encoding = (documents + guards) / speed.passages
    scoring = (QUERY_EXPERTS + spec.merge.verify) * queries / speed.queries
    scoring += proof_encodings(documents) / speed.passages
    left = (minutes * USABLE - spent) * 60 - encoding - scoring
    return TimeTable(
        encoding=encoding,
        both=(documents + (1 + spec.merge.verify) * (searched + guards)) / speed.passages
        + pairs * (MINING + 1 / speed.queries),
        scoring=scoring,
        left=left,
    )


@dataclass(frozen=True, kw_only=True)
class UsefulTraining:
    """How much training the data can use, and what it takes.

    Attributes:
        sources: Names of the sources that experts learn from.
        pairs: Their pairs, or passages if there are no pairs.
        mined: Mined negatives of each pair.
        batch: Pairs of a step of both sides; as many texts with negatives as a batch without has.
        both: Steps of both sides beyond which the pairs are learnt by heart.
        queries: The same for one expert of queries.
        both_step: Seconds of a step of both sides.
        query_step: Seconds of a step of queries.
    """

    sources: tuple[str, ...]
    pairs: int
    mined: int
    batch: int
    both: float
    queries: float
    both_step: float
    query_step: float


def useful_training(spec: DomainSpec, data: DomainData, speed: Speed) -> UsefulTraining:
    """Return how much training the data of a domain can use at a speed."""
    sources, pairs = _sources(spec, data)
    # Negatives are mined for pairs; of passages alone, each is the positive of its own sentence.
    mined = 0 if {WRITTEN, SENTENCES} & {*sources} else MINED
    batch = spec.train.batch_size
    smaller = max(2, round(2 * batch / (2 + mined)))
    return UsefulTraining(
        sources=sources,
        pairs=pairs,
        mined=mined,
        batch=smaller,
        both=max(BOTH_SIDES * pairs / smaller, FEWEST_STEPS),
        queries=max(QUERY_SIDE * pairs / batch, FEWEST_STEPS),
        both_step=STEP_COST * smaller * (1 / speed.queries + (1 + mined) / speed.passages),
        query_step=QUERY_STEP_COST * batch / speed.queries,
    )


def queries_fit(spec: DomainSpec, data: DomainData, minutes: float, speed: Speed, spent: float = 0.0) -> bool:
    """Return whether the minutes allow all training of queries that is of use."""
    useful = useful_training(spec, data, speed)
    needed = QUERY_EXPERTS * useful.queries * useful.query_step
    return time_table(spec, data, minutes, speed, spent).left >= needed


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
    useful = useful_training(spec, data, speed)
    training, both_step, query_step = table.left - table.both, useful.both_step, useful.query_step
    both = _steps(useful.both, (1 - QUERY_SHARE) * training / both_step)
    # What both sides do not need of their share is left for the experts of queries.
    queries = _steps(useful.queries, (training - both * both_step) / QUERY_EXPERTS / query_step) if both else 0
    if not queries:
        # Passages as short as queries leave time for both sides, but too little for the experts of queries after them.
        both, queries = 0, _steps(useful.queries, table.left / QUERY_EXPERTS / query_step)
    if not queries:
        least = minutes + (FEWEST_STEPS * QUERY_EXPERTS * query_step - table.left) / 60 / USABLE
        raise ConfigError(
            f"{minutes:g} minutes are too few: to encode {len(data.collection.documents):,} passages takes "
            f"{table.encoding / 60:.1f} on this machine{_passed(spent)}; set --budget-minutes {least + 1:.0f} or more"
        )
    by_stage = {
        "encoding the corpus": table.encoding,
        "both sides": (table.both + both * both_step) if both else 0.0,
        f"{QUERY_EXPERTS} experts of queries": QUERY_EXPERTS * queries * query_step,
        "scores, merge, export and test": table.scoring,
    }
    reasons = (
        f"{speed.passages:.0f} passages and {speed.queries:.0f} queries a second on this machine{_passed(spent)}",
        f"experts learn from {', '.join(useful.sources)}: {useful.pairs:,} "
        f"{'pairs' if WRITTEN not in useful.sources else 'passages'}",
        *_steps_told(useful, both, queries),
        _minutes_told(by_stage, minutes),
    )
    return spec.model_copy(update={"experts": _experts(useful, both, queries)}), reasons


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


def _experts(useful: UsefulTraining, both: int, queries: int) -> tuple[ExpertSpec, ...]:
    sources, experts = useful.sources, []
    if both:
        negatives = NegativeSpec(mined=useful.mined)
        experts.append(
            ExpertSpec(name="both-sides", sources=sources, steps=both, batch_size=useful.batch, negatives=negatives)
        )
    for number in range(1, QUERY_EXPERTS + 1):
        # The first one sees all pairs; the others differ in what they learn by chance.
        name, bag = f"queries-{number}", number > 1
        experts.append(ExpertSpec(name=name, sources=sources, side="query", bag=bag, steps=queries))
    return tuple(experts)


def _passed(spent: float) -> str:
    return f" ({spent:.1f} min have passed)" if spent >= SHOWN else ""


def _steps(useful: float, affordable: float) -> int:
    """Return the steps of an expert: as many as are useful and affordable; 0 if those are too few."""
    steps = round(min(useful, affordable))
    return steps if steps >= FEWEST_STEPS else 0


def _sources(spec: DomainSpec, data: DomainData) -> tuple[tuple[str, ...], int]:
    """Return the sources that experts learn from, and the number of their pairs; judged pairs if there are enough."""
    batch = spec.train.batch_size
    labelled = {name: len(pairs) for name, pairs in data.sources.items() if len(pairs) >= 2 * batch}
    if labelled:
        return tuple(labelled), sum(labelled.values())
    if data.collection.synthetic:
        # A generator wrote all the queries that it was asked for; no more are paid for, and sentences teach as well.
        own = {name: len(pairs) for name, pairs in data.sources.items() if pairs}
        return (*own, SENTENCES), sum(own.values()) + len(data.pool)
    return (WRITTEN, SENTENCES), len(data.pool)
