"""All kinds of actions: reading one back from JSON, and which ones a state offers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, TypeAdapter, ValidationError

from stm_agent.domain.spec import ExpertSpec
from stm_agent.domain.teacher_spec import OWN
from stm_agent.errors import ConfigError
from stm_agent.loop.actions.action import Action, LeverAction, Prior
from stm_agent.loop.actions.data import (
    PrepareData,
    Relabel,
    WriteQueries,
    can_relabel,
    can_write,
    needs_data,
    waits_for_data,
)
from stm_agent.loop.actions.instruction import SearchInstruction
from stm_agent.loop.actions.merge import MergeExperts
from stm_agent.loop.actions.mix import ChangeMix, mixes_of
from stm_agent.loop.actions.program import OptimizeProgram, improvable
from stm_agent.loop.actions.query_map import TrainQueryMap
from stm_agent.loop.actions.slice import AddExpert, weak_slices
from stm_agent.loop.actions.start import RaceStart, TrainOnStart
from stm_agent.loop.actions.training import (
    LADDER_FROM,
    ContinueTraining,
    Distil,
    Rung,
    TrainExpert,
    TrainQueryExpert,
)
from stm_agent.loop.context import RunContext
from stm_agent.loop.costs import Cost, Workload
from stm_agent.loop.other_starts import other_starts
from stm_agent.loop.program_lever import programs_key
from stm_agent.loop.state import Expert, RatedModel, State

CONTINUED = 2
"""Best experts that a menu offers to continue."""


class Stop(LeverAction):
    """Ends the search: what is provisional is confirmed or rolled back, and the model is exported."""

    prior: ClassVar[Prior] = Prior(gain=0.0, spread=0.0)
    kind: Literal["stop"] = "stop"

    @property
    def summary(self) -> str:
        """One line for people."""
        return "stop"

    def estimate(self, work: Workload, state: State) -> Cost:
        """Return no cost."""
        return Cost(seconds=0.0)

    def run(self, context: RunContext, state: State) -> State:
        """Return the state as it is."""
        return state


AnyAction = Annotated[
    SearchInstruction
    | PrepareData
    | WriteQueries
    | Relabel
    | OptimizeProgram
    | TrainExpert
    | TrainQueryExpert
    | ChangeMix
    | AddExpert
    | ContinueTraining
    | Distil
    | MergeExperts
    | TrainQueryMap
    | RaceStart
    | TrainOnStart
    | Stop,
    Field(discriminator="kind"),
]
KINDS = (
    *("search-instruction", "prepare-data", "write-queries", "relabel", "optimize-program", "train-expert"),
    *("train-query-expert", "change-mix", "add-expert", "continue-training", "distil", "merge", "train-query-map"),
    *("race-start", "train-on-start", "stop"),
)
"""Kinds in the order in which a menu lists them."""
_READER: TypeAdapter[AnyAction] = TypeAdapter(AnyAction)


ONLY_DATA = (PrepareData().kind, WriteQueries(queries=1).kind, Relabel().kind, OptimizeProgram().kind)
"""Kinds that change training data alone, or what writes it."""
BEFORE_DATA = OptimizeProgram().kind
"""Kind that changes nothing before data are written."""

MERGE = MergeExperts().kind
RACED, ON_RACED = "race-start", "train-on-start"
"""Kinds that score another start, and that train on it."""

TRAININGS = tuple(
    str(action.model_fields["kind"].default)
    for action in (TrainExpert, TrainQueryExpert, ChangeMix, AddExpert, ContinueTraining, Distil, TrainOnStart)
)
"""Kinds that train an expert, which a merge makes use of."""


def read_action(values: Mapping[str, object]) -> Action:
    """Return the action of some JSON values.

    Raises:
        ConfigError: The kind does not exist, or a parameter is unknown, missing or wrong.
    """
    try:
        return _READER.validate_python(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or "kind"
        raise ConfigError(f"action {values.get('kind')}: {where}: {first['msg']}") from error


def offered(context: RunContext, state: State, done: Collection[str]) -> tuple[Action, ...]:
    """Return what can be done next, in a fixed order; nothing that was done with the same inputs before.

    Args:
        context: The run.
        state: Its state.
        done: Keys of the actions so far.
    """
    return tuple(action for action in _possible(context, state, done) if action.key(state) not in done)


def _possible(context: RunContext, state: State, done: Collection[str]) -> Iterator[Action]:
    round_ = max(state.round, 1)
    yield SearchInstruction(round=round_)
    yield from _data(context, state, round_)
    prepared = state.training_data is not None or PrepareData(round=1).key(State.start(state.base)) in done
    ready = prepared or not needs_data(context.spec)
    yield from _trainings(context, state, round_, ready=ready)
    yield from _mixes(context, state, round_)
    if state.experts:
        for action in weak_slices(context, state):
            # Its short training is known by the slice's name.
            rung = _rung(state, action.spec(context.spec), state.untouched)
            yield action.model_copy(update={"rung": rung, "round": round_})
    yield from _continued(state, round_)
    yield from _starts(context, state, round_, ready=ready)
    for side in ("both", "query"):
        merge = MergeExperts(side=side, strict=True, round=round_)
        if merge.experts(state):
            yield merge
    if ready and context.spec.maps_queries:
        yield TrainQueryMap(round=round_)


def _data(context: RunContext, state: State, round_: int) -> Iterator[Action]:
    spec = context.spec
    yield from (OptimizeProgram(program=role, round=round_) for role in improvable(context))
    if state.training_data is None and needs_data(spec):
        yield PrepareData(round=1)
        return
    mines = any(expert.negatives.written_and_mined for expert in spec.experts)
    if mines and (state.provisional.model != state.base.model or programs_key(state.programs, "negatives", "graded")):
        yield PrepareData(round=round_ + 1)
    if can_relabel(spec, state):
        yield Relabel(round=round_)
    if can_write(context):
        yield WriteQueries(queries=spec.synthesize.queries, where="spread", round=round_)
        yield WriteQueries(queries=spec.synthesize.queries, where="failing", round=round_)


def _trainings(context: RunContext, state: State, round_: int, *, ready: bool) -> Iterator[Action]:
    trained = state.provisional.model.documents.adapters
    for spec in context.spec.experts:
        if not ready and waits_for_data(spec):
            continue
        rung = _rung(state, spec, state.untouched)
        if spec.side == "query":
            yield TrainQueryExpert(expert=spec.name, take=True, rung=rung, round=round_)
            continue
        if _can_start(spec, state):
            yield TrainExpert(expert=spec.name, take=True, rung=rung, round=round_)
        if trained:
            yield TrainExpert(expert=spec.name, start="incumbent", take=True, rung=rung, round=round_)
        if _can_distil(context, state, spec):
            yield Distil(expert=spec.name, rung=rung, round=round_)


def _mixes(context: RunContext, state: State, round_: int) -> Iterator[Action]:
    for spec in context.spec.experts:
        if _can_start(spec, state):
            for mix in mixes_of(spec, state.training_data):
                yield ChangeMix(expert=spec.name, mix=mix, rung=_rung(state, spec, state.untouched), round=round_)


def _starts(context: RunContext, state: State, round_: int, *, ready: bool) -> Iterator[Action]:
    """Yield the starts that lost the race of the plan, and trainings on those that were raced again."""
    raced = {start.model.backbone.model: start for start in state.starts}
    for other in other_starts(context.plan):
        start = raced.get(other.model)
        if start is None:
            yield RaceStart(model=other.model, round=round_)
        elif other != state.backbone:
            for spec in context.spec.experts:
                if spec.side == "both" and spec.start is None and (ready or not waits_for_data(spec)):
                    rung = _rung(state, spec, start)
                    yield TrainOnStart(model=other.model, expert=spec.name, rung=rung, round=round_)


def _can_start(spec: ExpertSpec, state: State) -> bool:
    """Return whether the expert that another one starts from is there, on the start of the provisional model."""
    return spec.start is None or any(expert.spec_name == spec.start for expert in state.experts_here())


def _continued(state: State, round_: int) -> Iterator[Action]:
    def score(expert: Expert) -> float:
        return expert.rated.rating.domain.ndcg_at_10

    base = state.untouched.rating.domain.ndcg_at_10
    worth = [expert for expert in state.experts_here() if score(expert) > base and _is_on_top(expert, state)]
    for expert in sorted(worth, key=score, reverse=True)[:CONTINUED]:
        yield ContinueTraining(expert=expert.name, round=round_)


def _rung(state: State, spec: ExpertSpec, start: RatedModel) -> Rung:
    """Return the rung of an expert: a whole training comes only after a short one that was better than its start."""
    passed = any(
        expert.spec_name == spec.name
        and expert.rated.model.documents.backbone == start.model.backbone
        and expert.rated.rating.domain.ndcg_at_10 > start.rating.domain.ndcg_at_10
        for expert in state.experts
    )
    return "whole" if passed or spec.steps < LADDER_FROM else "short"


def _is_on_top(expert: Expert, state: State) -> bool:
    """Return whether an expert of queries was trained for the passages' vectors that are used now."""
    return expert.side == "both" or expert.rated.model.documents == state.provisional.model.documents


def _can_distil(context: RunContext, state: State, spec: ExpertSpec) -> bool:
    """Return whether there is a teacher that is not the student itself."""
    teach, train = context.spec.teach, context.spec.train
    others = set(teach.models.values()) - {state.backbone.model}
    # BM25 beside the student teaches what the student alone does not know.
    fused = OWN in teach.encoders and teach.bm25 > 0
    has_teacher = teach.file is not None or teach.judge is not None or fused or bool(others)
    return not spec.learns_from_scores and not train.matryoshka and has_teacher
