"""Other starts than the one that a run adapts: a start that lost the race of the plan can be tried after all.

The plan races untouched starts over a small part of the corpus. A start that loses there by a little may win once
experts are trained on it. What is trained stands on the start of the provisional model, so that a model that is rolled
back takes its start with it, and everything is again as it was.
"""

from __future__ import annotations

from dataclasses import replace

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.spec import BackboneSpec, DomainSpec
from stm_agent.errors import ConfigError
from stm_agent.loop.context import RunContext
from stm_agent.loop.forgetting import general_floor
from stm_agent.loop.merging import consider
from stm_agent.loop.run_plan import RunPlan
from stm_agent.loop.starting import fit_to_start
from stm_agent.loop.state import RatedModel, State
from stm_agent.merge.adapted import AdaptedModel


def other_starts(plan: RunPlan | None) -> tuple[BackboneSpec, ...]:
    """Return the starts of the plan's race that were scored and lost, in the order of the domain; BM25 is none."""
    if plan is None or plan.raced is None:
        return ()
    scored = {row.name for row in plan.race} - {plan.spec.backbone.model}
    starts = (plan.raced.backbone, *plan.raced.starts)
    return tuple(_as_short(start, plan) for start in starts if start.model in scored)


def _as_short(start: BackboneSpec, plan: RunPlan) -> BackboneSpec:
    """Return a start with no more tokens of each text than a plan gave its own, whose minutes are the same."""
    own = plan.spec.backbone.max_length
    is_planned = plan.raced is not None and plan.raced.planned
    if not (is_planned and own and start.max_length):
        return start
    return start.model_copy(update={"max_length": min(own, start.max_length)})


def ahead(model: str, context: RunContext, state: State) -> float:
    """Return by how much a start that is not adapted is ahead of the best of the run, in nDCG@10; mostly below 0.

    Before it is raced, what it was behind the run's own start in the race of the plan stands for its score.
    """
    own = state.base.rating.domain.ndcg_at_10
    raced = [start.rating.domain.ndcg_at_10 for start in state.starts if start.model.backbone.model == model]
    if not raced and context.plan is not None:
        table = {row.name: row.ndcg_at_10 for row in context.plan.race}
        raced = [own + table[model] - table[context.spec.backbone.model]]
    best = max([state.provisional, *(expert.rated for expert in state.experts)], key=_score)
    return (raced[0] if raced else own) - _score(best)


def _score(rated: RatedModel) -> float:
    return rated.rating.domain.ndcg_at_10


def domain_on(context: RunContext, start: BackboneSpec) -> DomainSpec:
    """Return the domain as experts are trained on a start: of the run's own, as it is; else fitted to the other."""
    plan = context.plan
    if start == context.spec.backbone or plan is None or plan.raced is None:
        return context.spec
    # Learning rates of listed experts follow from the start; planned experts have them for any.
    listed = context.spec if plan.raced.planned else plan.raced
    return fit_to_start(listed, start, context.own_backbone)


def domain_of(context: RunContext, state: State) -> DomainSpec:
    """Return the domain as experts are trained on the start of the provisional model."""
    return domain_on(context, state.backbone)


def race_start(context: RunContext, state: State, model: str, round_: int) -> State:
    """Score another start without adaptation; its experts can be trained then, and the gate considers it as it is.

    Args:
        context: The run.
        state: The state before.
        model: Name of the start.
        round_: Number of the round.

    Raises:
        ConfigError: The race of the plan has no such start.
    """
    start = next((start for start in other_starts(context.plan) if start.model == model), None)
    if start is None:
        raise ConfigError(f"start {model} did not race in this run; name it with --start in a new run")
    adapted = AdaptedModel(start)
    with context.timed("race", f"scoring start {model} on dev"):
        with context.clock.working():
            none = Instruction.none(adapted.open().model.prompts)
        rating = context.rate(adapted, none)
    rated = RatedModel(label=f"start {model}", model=adapted, instruction=none, rating=rating)
    context.run.ledger.record("start", model=model, search=rating.domain.ndcg_at_10, general=rating.general)
    floor = general_floor(context, state)
    if rating.general < floor:
        text = f"{rated.label} is worse on the general tasks by more than the budget: {rating.general:.4f}"
        context.decide("start", text, kept=False)
        return state
    state = replace(state, starts=(*state.starts, rated))
    return consider(context, state, rated, round_, tried=1, strict=True, lever="start")


def on_start(state: State, model: str) -> State:
    """Return the state in which a raced start is provisional, with the accepted instruction, for a training on it.

    Raises:
        ConfigError: The start was not raced.
    """
    start = next((start for start in state.starts if start.model.backbone.model == model), None)
    if start is None:
        raise ConfigError(f"start {model} was not raced; race it before an expert is trained on it")
    if state.accepted is None:
        return state.taking(start)
    return state.taking(replace(start, instruction=start.instruction.with_texts_of(state.accepted)))
