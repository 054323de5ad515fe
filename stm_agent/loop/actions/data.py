"""Prepare the training data of a round, or write more of it."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

from stm_agent.domain.fields import Positive
from stm_agent.domain.spec import WRITTEN, DomainSpec, ExpertSpec
from stm_agent.domain.synthesize_spec import PROBE
from stm_agent.loop.actions.action import LeverAction, Prior, model_key
from stm_agent.loop.auditing import auditor_key
from stm_agent.loop.context import RunContext
from stm_agent.loop.costs import Cost, Workload
from stm_agent.loop.data import audit_again, prepare_training_data
from stm_agent.loop.data_jobs import Miner, first_miner, searched_pool
from stm_agent.loop.estimate import INSTRUCTIONS, llm_calls
from stm_agent.loop.failing import passages_near_failures
from stm_agent.loop.probe import DEFAULT_PROBE, STEPS
from stm_agent.loop.program_lever import programs_key
from stm_agent.loop.state import State
from stm_agent.loop.training_data import TrainingData
from stm_agent.loop.writing import more_written_queries


class PrepareData(LeverAction):
    """Writes queries, mines and writes negatives, and scores candidates, as the experts ask; begins a round.

    The newest model mines. Texts that were written before are used again and cost nothing.
    """

    prior: ClassVar[Prior] = Prior(gain=0.005, spread=0.01)
    only_data: ClassVar[bool] = True
    pays_later: ClassVar[bool] = True
    kind: Literal["prepare-data"] = "prepare-data"

    @property
    def summary(self) -> str:
        """One line for people."""
        return "write and mine training data" if self.round == 1 else "mine again with the newest model"

    def depends(self, state: State) -> object:
        """Return the model that mines, and the programs that write since a search."""
        written = programs_key(state.programs, "negatives", "graded")
        if state.provisional.model == state.base.model:
            return written
        return [*model_key(state), *([written] if written else [])]

    def estimate(self, work: Workload, state: State) -> Cost:
        """Count the encodings of the pool, and the calls of a first round."""
        experts = work.spec.experts
        mines = any(expert.negatives.written_and_mined for expert in experts)
        again = programs_key(state.programs, "negatives", "graded") is not None
        calls = written_texts(work.spec) if state.training_data is None or again else 0
        probes = _round_trip_probes(work) if state.training_data is None else Cost(seconds=0.0)
        return Cost(seconds=mines * work.pool * work.rates.passage) + work.calls(calls) + probes

    def run(self, context: RunContext, state: State) -> State:
        """Return the state with the data, and with the texts that were written beside it."""
        written = state.training_data.written if state.training_data else ()
        data = prepare_training_data(context, miner_of(context, state), state.programs, written)
        return replace(state, training_data=data, round=self.round, considered=state.considered + data.compared)


class WriteQueries(LeverAction):
    """Writes queries for further passages: spread over the pool, or near queries that fail on the search half.

    Attributes:
        queries: How many.
        where: ``spread``, or ``failing``: see :func:`~stm_agent.loop.failing.passages_near_failures`.
    """

    prior: ClassVar[Prior] = Prior(gain=0.006, spread=0.02)
    only_data: ClassVar[bool] = True
    pays_later: ClassVar[bool] = True
    lever: ClassVar[str] = "more written queries"
    kind: Literal["write-queries"] = "write-queries"
    queries: Positive
    where: Literal["spread", "failing"] = "spread"

    @property
    def summary(self) -> str:
        """One line for people."""
        near = "near failing queries" if self.where == "failing" else "spread over the corpus"
        return f"write queries for {self.queries} more passages, {near}"

    def depends(self, state: State) -> object:
        """Return what is written already, and the scores that say what fails."""
        written = [pair.id for pair in state.training_data.written] if state.training_data else []
        program = programs_key(state.programs, "queries")
        return [
            *([program] if program else []),
            written,
            dict(state.provisional.rating.domain.per_query) if self.where == "failing" else None,
        ]

    def estimate(self, work: Workload, state: State) -> Cost:
        """Count the calls, and the probes of the round trip."""
        return work.calls(self.queries) + _round_trip_probes(work)

    def apply(self, context: RunContext, state: State) -> State:
        """Return the state with the pairs beside those there were."""
        data = state.training_data or TrainingData()
        used = {pair.positive for pair in data.written}
        searched = searched_pool(context.spec, context.data)
        pool = {name: text for name, text in searched.items() if text not in used}
        if self.where == "failing":
            chosen = passages_near_failures(context, state.provisional.rating.domain, pool, self.queries)
            pool = {name: pool[name] for name in chosen}
        more = more_written_queries(context, pool, self.queries, state.programs, data.written)
        data = replace(data, written=(*data.written, *more.pairs))
        return replace(state, training_data=data, considered=state.considered + more.compared)


class Relabel(LeverAction):
    """Audits the negatives of this round once more, with the newest model's scores as the evidence.

    Passages that are relevant by these scores are relabelled as positives, queued for people, or left out; what the
    first audit did is undone where the new one does not say so. Nothing is mined or written again.
    """

    prior: ClassVar[Prior] = Prior(gain=0.003, spread=0.01)
    only_data: ClassVar[bool] = True
    pays_later: ClassVar[bool] = True
    kind: Literal["relabel"] = "relabel"

    @property
    def summary(self) -> str:
        """One line for people."""
        return "relabel negatives by the newest model"

    def depends(self, state: State) -> object:
        """Return the model and what it audits."""
        found = state.training_data.found if state.training_data else None
        return [model_key(state), found.digest if found else None]

    def estimate(self, work: Workload, state: State) -> Cost:
        """Count the encodings of the pool."""
        return Cost(seconds=work.pool * work.rates.passage)

    def run(self, context: RunContext, state: State) -> State:
        """Return the state with the data as the new audit leaves them."""
        if state.training_data is None or not context.has_time("audit"):
            return state
        auditor = state.provisional.model, state.provisional.instruction
        return replace(state, training_data=audit_again(context, state.training_data, auditor))


def _round_trip_probes(work: Workload) -> Cost:
    """Return the cost of the trainings that decide on the round trip, if a domain asks for them."""
    if work.spec.synthesize.round_trip != PROBE:
        return Cost(seconds=0.0)
    one = work.training(ExpertSpec(name="probe", sources=(WRITTEN,), steps=STEPS[DEFAULT_PROBE]))
    return one + one


def can_relabel(spec: DomainSpec, state: State) -> bool:
    """Return whether there are audited negatives, and a trained model whose scores the audit has not seen."""
    data, newest = state.training_data, state.provisional
    if not spec.audit.enabled or data is None or data.found is None or newest.model == state.base.model:
        return False
    return data.auditor != auditor_key((newest.model, newest.instruction))


def written_texts(spec: DomainSpec) -> int:
    """Return the LLM calls that the data of a first round needs."""
    return sum(stage.number for stage in llm_calls(spec, 1) if stage.stage != INSTRUCTIONS)


def can_write(context: RunContext) -> bool:
    """Return whether further queries can be written that an expert of both sides learns from, or can learn from.

    The run's identity names the program if an expert asks for written queries, or if the experts were planned; of other
    domains nobody has checked that the generator can be reached.
    """
    spec = context.spec
    if not spec.synthesize.queries:
        return False
    if any(WRITTEN in expert.sources for expert in spec.experts):
        return True
    mixable = any(expert.side == "both" and not expert.learns_from_scores for expert in spec.experts)
    return mixable and spec.synthesize.query_program in context.run.identity.get("programs", {})


def needs_data(spec: DomainSpec) -> bool:
    """Return whether any expert waits for data that is mined, written or scored."""
    return any(waits_for_data(expert) for expert in spec.experts)


def waits_for_data(expert: ExpertSpec) -> bool:
    """Return whether an expert waits for data that is mined, written or scored."""
    asks = expert.negatives.written_and_mined or expert.related or expert.learns_from_scores
    return bool(asks) or WRITTEN in expert.sources


def miner_of(context: RunContext, state: State) -> Miner:
    """Return what mines: at first the domain's choice, later the provisional model if it was trained."""
    if state.provisional.model != state.base.model:
        return state.provisional.model, state.provisional.instruction
    return first_miner(context.spec)
