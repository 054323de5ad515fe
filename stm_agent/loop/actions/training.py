"""Train an expert, or continue one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

from stm_agent.domain.fields import Name
from stm_agent.domain.spec import DomainSpec, ExpertSpec
from stm_agent.domain.unlabelled import with_unlabelled
from stm_agent.errors import ConfigError
from stm_agent.files import read_json
from stm_agent.job import Job
from stm_agent.loop.actions.action import LeverAction, Prior
from stm_agent.loop.context import RunContext
from stm_agent.loop.costs import Cost, Workload
from stm_agent.loop.data import pairs_of
from stm_agent.loop.experts import TrainedExperts, first_jobs, listed_start, train_expert
from stm_agent.loop.merging import consider_models
from stm_agent.loop.other_starts import domain_of
from stm_agent.loop.query_side import query_expert_jobs, query_experts, summed_adapter, train_query_expert
from stm_agent.loop.state import Expert, State, start_key
from stm_agent.loop.teaching import taught_lists
from stm_agent.loop.training_data import TrainingData

Rung = Literal["short", "whole"]
"""How long an expert is trained: for a part of its steps, or for all of them."""

SHORT = 0.25
"""Share of the steps of a short training."""

MERGE_SHARE = 0.06
"""Share of the minutes that the merge of the experts of queries is given."""

LADDER_FROM = 120
"""Steps of an expert from which a short training comes first: a quarter of fewer says little."""


def expert_of(domain: DomainSpec, name: str, rung: Rung = "whole") -> ExpertSpec:
    """Return a listed or planned expert by its name, with the steps of a rung."""
    spec = next(spec for spec in domain.experts if spec.name == name)
    return spec if rung == "whole" else spec.model_copy(update={"steps": max(1, round(SHORT * spec.steps))})


def with_trained(
    context: RunContext, state: State, trained: TrainedExperts, round_: int, *, take: bool = True
) -> State:
    """Return the state with experts that were trained.

    Args:
        context: The run.
        state: The state before.
        trained: What the training gave.
        round_: Number of the round.
        take: The gate considers the experts alone at once; else a merge decides.
    """
    experts, considered = (*state.experts, *trained.experts), state.considered + trained.compared
    state = replace(state, experts=experts, considered=considered)
    if take and trained.experts:
        state = consider_models(context, state, trained.experts, None, round_, strict=True)
    return state


class TrainExpert(LeverAction):
    """Trains an expert of both sides on its sources.

    Attributes:
        expert: Its name in the domain.
        start: Where training starts: where the domain says, or from what the provisional model has learnt.
        take: The gate considers the expert alone at once; else a merge decides.
        rung: How long it is trained.
    """

    prior: ClassVar[Prior] = Prior(gain=0.02, spread=0.03)
    lever: ClassVar[str] = "expert {action.expert}"
    kind: Literal["train-expert"] = "train-expert"
    expert: Name
    start: Literal["listed", "incumbent"] = "listed"
    take: bool = False
    rung: Rung = "whole"

    @property
    def summary(self) -> str:
        """One line for people."""
        return f"{_verb(self.rung)} expert {self.expert}" + (" from the incumbent" if self.start == "incumbent" else "")

    def depends(self, state: State) -> object:
        """Return instruction and data, and the model if training starts from it."""
        start = state.provisional.model.source_key() if self.start == "incumbent" else None
        texts, data, *other = learnt_from(state)
        return [texts, data, start, *other]

    def estimate(self, work: Workload, state: State) -> Cost:
        """Count the steps and the scores."""
        return work.training(expert_of(work.spec, self.expert, self.rung))

    def jobs(self, context: RunContext, state: State) -> Iterator[Job]:
        """Yield the trainings and probes that it begins with, if no other training has to end before."""
        spec = expert_of(domain_of(context, state), self.expert, self.rung)
        if self.start == "listed" and spec.start is None:
            yield from first_jobs(context, state, spec)

    def apply(self, context: RunContext, state: State) -> State:
        """Return the state with the expert."""
        spec = expert_of(domain_of(context, state), self.expert, self.rung)
        trained = train_expert(context, state, spec, self.round, self._start(context, state, spec))
        return with_trained(context, state, trained, self.round, take=self.take)

    def _start(self, context: RunContext, state: State, spec: ExpertSpec) -> Path | None:
        if self.start == "incumbent":
            return summed_adapter(context, state.provisional.model.documents)
        return listed_start(context, state, spec, self.round)


class TrainQueryExpert(LeverAction):
    """Trains an expert of queries alone on top of the provisional model; no passage is encoded again.

    Attributes:
        expert: Its name in the domain.
        take: The gate considers the expert alone at once; else a merge decides.
        rung: How long it is trained.
    """

    prior: ClassVar[Prior] = Prior(gain=0.015, spread=0.02)
    lever: ClassVar[str] = "expert {action.expert}"
    kind: Literal["train-query-expert"] = "train-query-expert"
    expert: Name
    take: bool = False
    rung: Rung = "whole"

    @property
    def summary(self) -> str:
        """One line for people."""
        return f"{_verb(self.rung)} expert {self.expert} of queries on top of the incumbent"

    def depends(self, state: State) -> object:
        """Return the model of the passages, instruction and pairs; all passages compete, so no negatives are read."""
        documents = state.provisional.model.documents.source_key()
        pairs = state.training_data.new_pairs if state.training_data else None
        return [documents, state.provisional.instruction.texts, pairs]

    def estimate(self, work: Workload, state: State) -> Cost:
        """Count the steps and the scores."""
        return work.training(expert_of(work.spec, self.expert, self.rung))

    def jobs(self, context: RunContext, state: State) -> Iterator[Job]:
        """Yield its training, if what it starts from is written."""
        yield from query_expert_jobs(context, state, expert_of(domain_of(context, state), self.expert, self.rung))

    def needed(self, context: RunContext, state: State) -> float:
        """Return the seconds of the last one's training and of the merge that makes use of all of them."""
        before = query_experts(state)
        if not before or context.minutes is None:
            return 0.0
        return float(read_json(before[-1].folder / "expert.json")["seconds"]) + MERGE_SHARE * 60 * context.minutes

    def apply(self, context: RunContext, state: State) -> State:
        """Return the state with the expert."""
        spec = expert_of(domain_of(context, state), self.expert, self.rung)
        expert = train_query_expert(context, state, spec, self.round)
        return with_trained(context, state, TrainedExperts((expert,), 0), self.round, take=self.take)


class ContinueTraining(LeverAction):
    """Continues the training of an expert from its weights, on the newest data, for half of its steps.

    Attributes:
        expert: Name of the expert in this run.
    """

    prior: ClassVar[Prior] = Prior(gain=0.004, spread=0.01)
    lever: ClassVar[str] = "expert {action.expert}, continued"
    kind: Literal["continue-training"] = "continue-training"
    expert: str

    @property
    def summary(self) -> str:
        """One line for people."""
        return f"continue training expert {self.expert} from its weights"

    def depends(self, state: State) -> object:
        """Return the adapter, instruction and data."""
        return [_trained(state, self.expert).folder.name, state.provisional.instruction.texts, data_key(state)]

    def estimate(self, work: Workload, state: State) -> Cost:
        """Count the steps and the scores."""
        return work.training(self._spec(work.spec, state))

    def apply(self, context: RunContext, state: State) -> State:
        """Return the state with one expert more."""
        before, spec = _trained(state, self.expert), self._spec(domain_of(context, state), state)
        return with_trained(context, state, self._train(context, state, before, spec), self.round)

    def _train(self, context: RunContext, state: State, before: Expert, spec: ExpertSpec) -> TrainedExperts:
        if before.side == "both":
            return train_expert(context, state, spec, self.round, before.adapter)
        expert = train_query_expert(context, state, spec, self.round, before)
        return TrainedExperts((expert,), 0)

    def _spec(self, domain: DomainSpec, state: State) -> ExpertSpec:
        trained = _trained(state, self.expert)
        listed = next((spec for spec in domain.experts if spec.name == trained.spec_name), trained.spec)
        if listed is None:
            raise ConfigError(f"expert {self.expert} is not one of domain {domain.name}; choose another one")
        # It keeps its own mix; scores of a teacher are not at hand any more.
        own = trained.spec if trained.spec is not None and not trained.spec.learns_from_scores else listed
        return own.model_copy(update={"steps": max(1, listed.steps // 2)})


class Distil(LeverAction):
    """Trains an expert on a teacher's scores of retrieved candidates instead of labels alone.

    Attributes:
        expert: Name of the expert whose sources are learnt from.
        rung: How long it is trained.
    """

    prior: ClassVar[Prior] = Prior(gain=0.01, spread=0.02)
    lever: ClassVar[str] = "distilled expert {action.expert}"
    kind: Literal["distil"] = "distil"
    expert: Name
    rung: Rung = "whole"

    @property
    def summary(self) -> str:
        """One line for people."""
        return f"{_verb(self.rung)} expert {self.expert} on a teacher's scores"

    def depends(self, state: State) -> object:
        """Return instruction and data."""
        return learnt_from(state)

    def estimate(self, work: Workload, state: State) -> Cost:
        """Count the teacher's encodings and calls, the steps and the scores."""
        teaching = Cost(seconds=work.pool * work.rates.passage)
        if work.spec.teach.judge:
            teaching += work.calls(work.spec.teach.judged)
        return work.training(self._spec(work.spec)) + teaching

    def apply(self, context: RunContext, state: State) -> State:
        """Return the state with the expert; without candidates that can be scored, the state as it is."""
        spec = self._spec(domain_of(context, state))
        training_data = state.training_data or TrainingData()
        data = with_unlabelled(context.data, spec.sources)
        lists = taught_lists(context, data, pairs_of(context, spec, training_data))
        if not lists:
            return state
        taught = replace(state, training_data=replace(training_data, lists=lists))
        trained = train_expert(context, taught, spec, self.round, None)
        return with_trained(context, state, trained, self.round)

    def _spec(self, domain: DomainSpec) -> ExpertSpec:
        spec = expert_of(domain, self.expert, self.rung)
        return ExpertSpec(name=spec.name, sources=spec.sources, steps=spec.steps, loss="distil")


def _verb(rung: Rung) -> str:
    return "train" if rung == "whole" else "train for a quarter of its steps"


def _trained(state: State, name: str) -> Expert:
    return next(expert for expert in state.experts if expert.name == name)


def learnt_from(state: State) -> list[object]:
    """Return what decides an expert beside its own parameters: instruction, data, and another start if there is one."""
    return [state.provisional.instruction.texts, data_key(state), *start_key(state)]


def data_key(state: State) -> str | None:
    """Return the hash of what experts learn from; None: nothing was prepared."""
    return state.training_data.digest if state.training_data else None
