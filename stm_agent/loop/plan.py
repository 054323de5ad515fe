"""The plan of a run, printed before anything is spent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.build import build_collection, build_domain_data
from stm_agent.domain.collection import Split
from stm_agent.domain.firewall import require_judged
from stm_agent.domain.spec import BackboneSpec, BeirCollection, DomainSpec
from stm_agent.evaluate.corpus import storage_line
from stm_agent.evaluate.metrics import Scores
from stm_agent.loop.actions.action import Action
from stm_agent.loop.actions.merge import MergeExperts
from stm_agent.loop.actions.training import TrainExpert, TrainQueryExpert, expert_of
from stm_agent.loop.costs import Cost, Workload, workload_before
from stm_agent.loop.dev_power import dev_power
from stm_agent.loop.estimate import calls_line, disk, dollars, memory, model_size, passage_tokens
from stm_agent.loop.options import Options
from stm_agent.loop.planning import dry_plan, measured_speed
from stm_agent.loop.policies.stm import published_order
from stm_agent.loop.state import START, RatedModel, State
from stm_agent.merge.adapted import AdaptedModel
from stm_agent.merge.job import Rating

UNTRIED = State.start(
    RatedModel(
        label=START,
        model=AdaptedModel(BackboneSpec(model="not loaded")),
        instruction=Instruction(),
        rating=Rating(Scores(0.0, 0.0, 0.0, {}), 0.0),
    )
)
"""A state before anything was scored, for estimates of a first round."""

TOKENS = 128
"""Tokens of a passage of a corpus that is not read."""


def check_collection(spec: DomainSpec, workspace: Path) -> Split | None:
    """Check that a run can begin on a BEIR folder; other collections are first fetched or built, which costs time.

    A folder whose experts are planned is read, and checked, by :func:`plan`.

    Returns:
        The dev split of the folder; None: nothing was read.

    Raises:
        DataError: The folder is broken, or has no dev or no test split.
    """
    if not isinstance(spec.collection, BeirCollection) or spec.planned:
        return None
    collection = build_collection(spec.collection, workspace)
    require_judged(collection)
    return collection.splits["dev"]


def plan(
    spec: DomainSpec,
    workspace: Path,
    options: Options,
    *,
    work: Workload | None = None,
    tokens: int = TOKENS,
    dev: Split | None = None,
) -> list[dict[str, str]]:
    """Return the stages of a run, in order, with a description of each, and what the run takes.

    The experts of a folder are planned as the run plans them, on its first start, from its data and a few seconds of
    encoding with each start; minutes, dollars, disk and memory are listed by stage, and seconds by action. Of a domain
    that lists its experts nothing is loaded, so only dollars are, unless its sizes are given.

    Args:
        spec: The domain.
        workspace: Folder with ``programs/`` and ``prompts/``.
        options: The user's flags.
        work: Sizes of a domain that lists its experts, and what a unit of work takes; None: not known.
        tokens: Tokens of a passage of a domain that lists its experts.
        dev: Dev split of a domain that lists its experts; None: not known.

    Raises:
        DataError: The collection cannot be used.
        ConfigError: The minutes are too few to train anything.
    """
    starts = [spec.backbone, *spec.starts]
    measured = _measure(spec, workspace, options) if spec.planned else _Measured(spec, work, tokens, dev)
    spec, work, tokens, dev = measured.spec, measured.work, measured.tokens, measured.dev
    needs = [{"stage": "dollars", "what": dollars(spec, options, tokens)}, *measured.needs]
    steps = [{"stage": "collection", "what": f"{spec.collection.kind}, guarded by {len(spec.general)} general task(s)"}]
    if dev:
        steps.append({"stage": "dev", "what": dev_power(dev, spec, options, workspace).line})
    steps += [{"stage": "start", "what": start.summary} for start in starts]
    steps += [{"stage": "plan", "what": reason} for reason in measured.reasons]
    if options.policy != "stm":
        what = f"{options.policy} chooses among these actions and others, as often as it pays"
        steps.append({"stage": "policy", "what": what})
    for number in range(1, options.rounds_of(spec) + 1):
        steps.append({"stage": f"round {number}", "what": calls_line(spec, options, tokens)})
        steps += [_action_row(action, spec, work) for action in published_order(spec, 1)]
    end = "opened once, at the end" + (_about(work.ending) if work else "")
    return [*steps, {"stage": "test", "what": end}, *needs]


@dataclass(frozen=True)
class _Measured:
    """A domain with its experts, what a unit of work takes on it, and what it needs."""

    spec: DomainSpec
    work: Workload | None
    tokens: int
    dev: Split | None
    reasons: tuple[str, ...] = ()
    needs: tuple[dict[str, str], ...] = ()


def _measure(spec: DomainSpec, workspace: Path, options: Options) -> _Measured:
    """Plan the experts of a folder from its data and a few seconds of encoding."""
    data = build_domain_data(spec.collection, workspace)
    require_judged(data.collection)
    planned = dry_plan(spec, data, minutes=options.with_ceiling(planned=True).budget_minutes)
    spec = planned.spec
    size = model_size(spec.backbone, spec.train)
    line, enough = memory(data, size, spec.backbone.vectors)
    stored = storage_line(len(data.collection.documents), size.dimension, spec.backbone.vectors)
    needs = (
        *([{"stage": "vectors", "what": stored}] if stored else []),
        {"stage": "disk", "what": disk(spec, data, size)},
        {"stage": "memory", "what": line if enough else f"{line}: too little, close other programs"},
    )
    speed = planned.speed or measured_speed(spec.backbone, data)
    work = workload_before(spec, data, workspace, speed, options.llm(spec, options.generator))
    return _Measured(spec, work, passage_tokens(data), data.collection.splits["dev"], planned.reasons, needs)


def _action_row(action: Action, spec: DomainSpec, work: Workload | None) -> dict[str, str]:
    """Return one action of the published order with its estimate, if the collection was measured."""
    what = action.summary
    if isinstance(action, TrainExpert | TrainQueryExpert):
        expert = expert_of(spec, action.expert)
        times = spec.trainings_of(expert)
        each = f", in each of {times} variants" if times > 1 else ""
        what = f"expert {expert.name}: {expert.steps} steps on {', '.join(expert.sources)}{each}"
    if isinstance(action, MergeExperts):
        what += f" by {', '.join(spec.merge.methods)}; forgetting budget {spec.merge.forgetting_budget}"
    return {"stage": f"  {action.kind}", "what": what + (_about(action.estimate(work, UNTRIED)) if work else "")}


def _about(cost: Cost) -> str:
    usd = f" and {cost.dollars:.3f} USD" if cost.dollars else ""
    return f", about {cost.seconds:.0f} s{usd}"
