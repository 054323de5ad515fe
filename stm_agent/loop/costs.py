"""What an action will cost, about: units of work that follow from its parameters, times what a unit took so far."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

from stm_agent.domain.collection_spec import FrozenCollection
from stm_agent.domain.data import DomainData
from stm_agent.domain.spec import DomainSpec, ExpertSpec
from stm_agent.errors import ConfigError
from stm_agent.evaluate.proof import proof_encodings
from stm_agent.llm.budget import read_spending
from stm_agent.llm.facts import model_facts
from stm_agent.llm.options import LlmOptions
from stm_agent.loop.context import FOR_LEVERS, RunContext
from stm_agent.loop.estimate import CALL_SECONDS
from stm_agent.loop.halves import ACCEPT_SHARE
from stm_agent.loop.instructing import written_candidates
from stm_agent.loop.options import Options
from stm_agent.loop.planning import measured_speed
from stm_agent.loop.run_plan import Speed, StartScore
from stm_agent.loop.useful_training import QUERY_STEP_COST, STEP_COST

CALL_DOLLARS = 0.0005
"""US dollars of a call to an LLM whose price is unknown."""

ENCODED_AT_END = 2
"""Models that the end of a run encodes the whole corpus with, at most: the best expert and the merged one."""

FRESH_PROCESS = 10.0
"""Seconds in which the process that proves an exported folder is ready."""

CALL_TOKENS = 400
"""Tokens of a prompt, about, before the run has made a call."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What an action costs.

    Attributes:
        seconds: Wall time.
        dollars: US dollars for LLM calls.
        calls: LLM calls.
    """

    seconds: float
    dollars: float = 0.0
    calls: int = 0

    def __add__(self, other: Cost) -> Cost:
        """Return both together."""
        return Cost(
            seconds=self.seconds + other.seconds,
            dollars=self.dollars + other.dollars,
            calls=self.calls + other.calls,
        )


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What a unit of work takes.

    Attributes:
        passage: Seconds to encode a passage.
        query: Seconds to encode a query.
        call: Seconds of an LLM call.
        dollars: US dollars of an LLM call.
    """

    passage: float
    query: float
    call: float
    dollars: float


@dataclass(frozen=True, kw_only=True)
class Workload:
    """How much there is to encode, train and write, and what a unit takes.

    Attributes:
        spec: The domain.
        rates: What a unit takes.
        documents: Passages of the corpus.
        searched: Passages of the part that levers are scored on.
        queries: Queries of the search half.
        guard_passages: Passages of all guards.
        guard_queries: Queries of all guards.
        pool: Passages that negatives and candidates are looked for in.
        instructions: Written instructions for queries.
        framings: Written instructions for passages.
        pairs: Training pairs with judged queries.
        race: Table of the plan's race.
    """

    spec: DomainSpec
    rates: Rates
    documents: int
    searched: int
    queries: int
    guard_passages: int
    guard_queries: int
    pool: int
    instructions: int
    framings: int
    pairs: int = 0
    race: tuple[StartScore, ...] = ()

    def on(self, start: str) -> Workload:
        """Return the workload on another start of the race; the rates as they are if its speed is not known."""
        seconds = {row.name: row.seconds_per_1000 for row in self.race}
        other, own = seconds.get(start), seconds.get(self.spec.backbone.model)
        if not other or not own:
            return self
        slower = other / own
        rates = replace(self.rates, passage=slower * self.rates.passage, query=slower * self.rates.query)
        return replace(self, rates=rates)

    @property
    def scoring(self) -> Cost:
        """Cost of scoring a model whose passages must be encoded."""
        passages = (self.searched + self.guard_passages) * self.rates.passage
        return Cost(seconds=passages + (self.queries + self.guard_queries) * self.rates.query)

    @property
    def ending(self) -> Cost:
        """Cost of the end of a run: the proof, and the whole corpus for the best expert and for the merged model.

        A corpus that is searched whole was encoded before.
        """
        passages = ENCODED_AT_END * self.unsearched + proof_encodings(self.documents)
        return Cost(seconds=passages * self.rates.passage + FRESH_PROCESS)

    @property
    def unsearched(self) -> int:
        """Passages to encode if a model that was searched on is scored on the whole corpus: all, or none."""
        return self.documents if self.searched < self.documents else 0

    def training(self, expert: ExpertSpec) -> Cost:
        """Return the cost of an expert: its steps, the probes of its variants, and its scores.

        If all variants are trained whole, each of them costs as much.
        """
        batch = expert.batch_size or self.spec.train.batch_size
        if expert.side == "query":
            texts = QUERY_STEP_COST * batch * expert.steps + self.queries
            return Cost(seconds=texts * self.rates.query)
        passages = 1 + expert.hard_negatives + (expert.candidates if expert.learns_from_scores else 0)
        batch *= self.spec.train.accumulate
        step = STEP_COST * batch * (self.rates.query + passages * self.rates.passage)
        # Without and with negatives, without and with the instruction.
        probes = 0 if self.spec.merge.variants else self.spec.loop.probe_steps * (4 if expert.hard_negatives else 2)
        whole = Cost(seconds=step * expert.steps) + self.scoring
        return Cost(seconds=step * probes + self.spec.trainings_of(expert) * whole.seconds)

    def calls(self, number: int) -> Cost:
        """Return the cost of LLM calls."""
        return Cost(seconds=number * self.rates.call, dollars=number * self.rates.dollars, calls=number)


def workload_of(context: RunContext) -> Workload:
    """Return the workload of a run, with the rates that it has measured so far."""
    work = _workload(
        context.spec,
        context.data,
        context.workspace,
        rates=rates_of(context),
        searched=len(context.search.documents),
        queries=len(context.search.split.queries),
        guard_passages=sum(len(guard.documents) for guard in context.guards),
        guard_queries=sum(len(guard.split.queries) for guard in context.guards),
    )
    return replace(work, race=context.plan.race) if context.plan else work


def workload_before(spec: DomainSpec, data: DomainData, workspace: Path, speed: Speed, options: LlmOptions) -> Workload:
    """Return the workload of a run that has not begun, with rates measured on this machine."""
    documents = len(data.collection.documents)
    dev = data.collection.splits["dev"].queries if "dev" in data.collection.splits else {}
    return _workload(
        spec,
        data,
        workspace,
        rates=Rates(
            passage=1 / speed.passages, query=1 / speed.queries, call=CALL_SECONDS, dollars=_assumed_dollars(options)
        ),
        searched=min(documents, spec.loop.search_documents or documents),
        queries=round(len(dev) * (1 - ACCEPT_SHARE)),
        guard_passages=sum(guard.documents for guard in spec.general if isinstance(guard, FrozenCollection)),
        guard_queries=0,
    )


def _workload(
    spec: DomainSpec,
    data: DomainData,
    workspace: Path,
    *,
    rates: Rates,
    searched: int,
    queries: int,
    guard_passages: int,
    guard_queries: int,
) -> Workload:
    seeds, framings = written_candidates(workspace, spec.instruct, spec.task)
    return Workload(
        spec=spec,
        rates=rates,
        documents=len(data.collection.documents),
        searched=searched,
        queries=queries,
        guard_passages=guard_passages,
        guard_queries=guard_queries,
        pool=min(len(data.pool), spec.mine.documents or len(data.pool)),
        instructions=len(seeds),
        framings=len(framings),
        pairs=sum(len(rows) for rows in data.sources.values()),
    )


def rates_of(context: RunContext) -> Rates:
    """Return the rates of a run: encoding as it was measured on this machine, calls as they were so far, or assumed."""
    if context.speed is None:
        planned = context.plan.speed if context.plan else None
        with context.clock.working():
            context.speed = planned or measured_speed(context.spec.backbone, context.data)
    spent = read_spending(context.run.llm_ledger)
    return Rates(
        passage=1 / context.speed.passages,
        query=1 / context.speed.queries,
        call=spent.seconds / spent.calls if spent.calls else CALL_SECONDS,
        dollars=spent.usd / spent.calls if spent.calls else _assumed_dollars(context.generator.options),
    )


def _assumed_dollars(options: LlmOptions) -> float:
    facts = model_facts(options)
    if not facts.priced:
        return CALL_DOLLARS
    return facts.cost(CALL_TOKENS, options.max_tokens + facts.headroom) or 0.0


def require_minutes(context: RunContext, options: Options) -> None:
    """Refuse minutes that end before anything could be tried, by the speed of this machine.

    The published order is not refused: it exports what it has, and a higher budget continues it.

    Raises:
        ConfigError: To score the start and to open test takes longer.
    """
    begun = context.run.ledger.entries("base")
    if options.policy == "stm" or context.minutes is None or begun:
        return
    spec = context.spec
    with context.clock.working():
        speed = measured_speed(spec.backbone, context.data)
    work = workload_before(spec, context.data, context.workspace, speed, context.generator.options)
    needed = (work.scoring + work.ending).seconds / 60 / FOR_LEVERS
    if needed > context.minutes:
        raise ConfigError(
            f"{context.minutes:g} minutes are too few: to score the start and to open test takes about {needed:.1f} on "
            f"this machine; set --budget-minutes {math.ceil(2 * needed)} or more"
        )
