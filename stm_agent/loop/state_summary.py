"""The state of a run in short: what it has reached, where it fails, what was tried, and what is left."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NotRequired, TypedDict

from stm_agent.errors import RunError
from stm_agent.evaluate.significance import confidence_interval
from stm_agent.files import read_json, write_json
from stm_agent.loop.context import RunContext
from stm_agent.loop.history import Step, StepRow
from stm_agent.loop.policies.policy import Left
from stm_agent.loop.slices import slices_of
from stm_agent.loop.state import RatedModel, State

STATE = "state.json"
"""File of a run's folder with the newest summary."""
SCHEMA = 1


class ModelSummary(TypedDict):
    """A model with its scores.

    Attributes:
        label: The model.
        search: nDCG@10 on the search half.
        low: Lower end of its interval.
        high: Upper end.
        general: Mean nDCG@10 on the guards; None: there are none.
        instruction: Text in front of queries.
    """

    label: str
    search: float
    low: float
    high: float
    general: float | None
    instruction: str


class SliceSummary(TypedDict):
    """A slice of the search half with the incumbent's nDCG@10."""

    by: str
    name: str
    queries: int
    ndcg_at_10: float


class Summary(TypedDict):
    """A state in short.

    Attributes:
        schema: Version of the layout.
        run: The run.
        models: ``base``, ``confirmed`` and ``incumbent``.
        slices: Slices of the search half.
        starts: Other starts that were raced -> nDCG@10; missing: none was.
        experts: Expert -> nDCG@10 on the search half.
        looks: Looks taken at the accept half.
        considered: Changes that were compared.
        tried: The actions.
        left: Seconds, dollars and calls that are left; None: no ceiling.
    """

    schema: int
    run: str
    models: dict[str, ModelSummary]
    slices: list[SliceSummary]
    starts: NotRequired[dict[str, float]]
    experts: dict[str, float]
    looks: int
    considered: int
    tried: list[StepRow]
    left: dict[str, float | None]


def summary(context: RunContext, state: State, steps: Sequence[Step], left: Left) -> Summary:
    """Return the compact description of a state as JSON values."""
    scores = state.provisional.rating.domain
    content: Summary = {
        "schema": SCHEMA,
        "run": context.run.id,
        "models": {
            name: _model(context, rated)
            for name, rated in (("base", state.base), ("confirmed", state.confirmed), ("incumbent", state.provisional))
        },
        "slices": [
            {"by": part.by, "name": part.name, "queries": len(part.queries), "ndcg_at_10": part.ndcg_at_10}
            for part in slices_of(context, scores)
        ],
        "experts": {expert.name: expert.rated.rating.domain.ndcg_at_10 for expert in state.experts},
        "looks": state.gate.looks,
        "considered": state.considered,
        "tried": [step.to_json() for step in steps],
        "left": {name: None if math.isinf(value) else round(value, 4) for name, value in vars(left).items()},
    }
    if state.starts:
        content["starts"] = {start.model.backbone.model: start.rating.domain.ndcg_at_10 for start in state.starts}
    return content


def write_summary(context: RunContext, state: State, steps: Sequence[Step], left: Left) -> None:
    """Write the summary into the run's folder."""
    with context.clock.working():
        write_json(context.run.folder / STATE, summary(context, state, steps, left))


def read_summary(run: Path) -> Summary:
    """Return the newest summary of a run.

    Raises:
        RunError: The run has none yet, or a newer version wrote it.
    """
    path = run / STATE
    if not path.is_file():
        raise RunError(f"run {run.name} has no state yet: its first action is not done; see stm-agent runs list")
    content: Summary = read_json(path)
    if content.get("schema") != SCHEMA:
        raise RunError(f"{path} has schema {content.get('schema')}, this version reads {SCHEMA}; upgrade stm-agent")
    return content


def summary_text(content: Summary) -> str:
    """Return a summary as text for people and for a planner."""
    lines = [f"{name}: {_model_text(model)}" for name, model in content["models"].items()]
    if starts := content.get("starts"):
        lines += ["other starts, not adapted: " + ", ".join(f"{name} {score:.4f}" for name, score in starts.items())]
    lines += ["slices of the search half, by the incumbent:"]
    lines += [
        f"  {part['by']} {part['name']}: {part['ndcg_at_10']:.3f} on {part['queries']} queries"
        for part in content["slices"]
    ]
    lines += [f"staircase: {stairs}"] if (stairs := staircase(content)) else []
    lines += ["tried:"] + [f"  {_step_text(step)}" for step in content["tried"]]
    left = {"seconds": "{:.0f} s", "dollars": "{:.4f} USD", "calls": "{:.0f} LLM calls"}
    amounts = [left[name].format(value) for name, value in content["left"].items() if value is not None]
    return "\n".join([*lines, f"left: {', '.join(amounts) or 'no ceiling'}"])


def staircase(content: Summary) -> str:
    """Return how the best model so far rose on the search half, with the seconds of the actions until then."""
    score, seconds = content["models"]["base"]["search"], 0.0
    steps = [f"{score:.4f}"]
    for step in content["tried"]:
        seconds += step["seconds"]
        if step["gain"] > 0:
            score += step["gain"]
            steps.append(f"{score:.4f} after {step['number']} ({seconds:.0f} s)")
    return ", ".join(steps) if len(steps) > 1 else ""


def _model(context: RunContext, rated: RatedModel) -> ModelSummary:
    loop, scores = context.spec.loop, rated.rating.domain
    interval = confidence_interval(scores.per_query, samples=loop.bootstrap, seed=context.seed, alpha=loop.alpha)
    return {
        "label": rated.label,
        "search": scores.ndcg_at_10,
        "low": interval.low,
        "high": interval.high,
        "general": rated.rating.general,
        "instruction": rated.instruction.query,
    }


def _model_text(model: ModelSummary) -> str:
    general = "" if model["general"] is None else f", general {model['general']:.4f}"
    score = f"{model['search']:.4f} [{model['low']:.4f}, {model['high']:.4f}]"
    return f"{model['label']}, {score}{general}"


def _step_text(step: StepRow) -> str:
    result = "failed" if step["failed"] else f"{step['gain']:+.4f}"
    return f"{step['number']}. {step['summary']}: {result} in {step['seconds']:.0f} s ({step['by']}: {step['reason']})"
