"""Looks at the accept half, counted over all processes and endings of a run.

The ledger holds every look. The same comparison is the same test: its outcome is repeated and costs nothing, so that a
resumed run repeats its looks. A new one starts from what all looks in the ledger have spent together, so that a run
that continues with a raised budget, or on another path, spends no part of alpha twice.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.spec import BackboneSpec
from stm_agent.execute.manifest import folder_fault
from stm_agent.files import content_hash
from stm_agent.loop.context import RunContext
from stm_agent.loop.failures import BUDGET
from stm_agent.loop.gate import GateState
from stm_agent.loop.state import RatedModel, State
from stm_agent.merge.adapted import AdaptedModel
from stm_agent.merge.recipe import MethodOptions

MODEL, INSTRUCTION = "model", "instruction"
"""What a look tests."""


@dataclass(frozen=True)
class Look:
    """Outcome of one look.

    Attributes:
        confirmed: The gain is claimed.
        reason: One line for ledger and screen.
    """

    confirmed: bool
    reason: str


class ModelRow(TypedDict):
    """A model as JSON: adapters relative to the run, weights and method, and the same of a side of queries.

    Attributes:
        start: The start, if it is not that of the run: another one, or a merge that experts of queries stand on.
        adapters: Folders of adapters.
        weights: One weight for each.
        method: How they are merged; looks of earlier versions hold sums.
        queries: The side of queries; None: it has none of its own.
        query_map: Folder of a map on query vectors, relative to the run.
    """

    start: NotRequired[dict[str, Any]]
    adapters: list[str]
    weights: list[float]
    method: NotRequired[dict[str, Any]]
    queries: NotRequired[ModelRow | None]
    query_map: NotRequired[str]


class ChallengerRow(ModelRow):
    """A model with label, experts and instruction as JSON."""

    label: str
    experts: list[str]
    instruction: dict[str, str]


def take_look(
    context: RunContext, state: State, challenger: RatedModel, incumbent: RatedModel, *, what: str
) -> tuple[Look, State]:
    """Test a challenger on the accept half, or repeat the outcome if the ledger holds this very comparison.

    Args:
        context: The run.
        state: The state before the look.
        challenger: The model, or the model with another instruction.
        incumbent: What it is compared with.
        what: ``model``, the last look of an ending, or ``instruction``.

    Returns:
        The outcome and the state after it.
    """
    looks = context.run.ledger.entries("look")
    comparison = [_scores_key(challenger), _scores_key(incumbent)]
    for look in looks:
        if look.get("comparison") == comparison:
            # A comparison that this process repeats itself takes nothing back.
            gate = max(state.gate, GateState(**look["gate"]), key=lambda spending: (spending.spent, spending.looks))
            return Look(look["confirmed"], look["reason"]), replace(state, gate=gate)
    before = _state_before(looks, state.gate)
    outcome, after = context.gate.confirm(
        context.accept_scores(challenger),
        context.accept_scores(incumbent),
        before,
        tried=max(state.considered, 1),
        last=what == MODEL,
        # The same command with a higher budget continues such a run, and must be able to confirm something then.
        continues=any(failure.kind == BUDGET for failure in context.failures),
    )
    if after != before:
        context.run.ledger.record(
            "look",
            what=what,
            confirmed=outcome.confirmed,
            reason=outcome.reason,
            gain=outcome.gain,
            gate=after.to_json(),
            comparison=comparison,
            challenger=_to_json(challenger, context.run.folder, context.spec.backbone),
        )
    return Look(outcome.confirmed, outcome.reason), replace(state, gate=after)


def alpha_spent(context: RunContext) -> float:
    """Return the part of alpha that all looks in the ledger spent together."""
    return max((float(look["gate"]["spent"]) for look in context.run.ledger.entries("look")), default=0.0)


def confirmed_before(context: RunContext, besides: RatedModel) -> RatedModel | None:
    """Return the newest model, other than ``besides``, that a look of this run confirmed; None: there is none.

    A model whose adapters are gone or damaged is left out with a note.
    """
    for look in reversed(context.run.ledger.entries("look")):
        is_model = look["what"] == MODEL and look["confirmed"] and "challenger" in look
        if is_model and look["comparison"][0] != _scores_key(besides):
            return _restored(context, look["challenger"])
    return None


def _state_before(looks: Sequence[dict[str, Any]], state: GateState) -> GateState:
    """Return the state that a new look starts from."""
    stored = GateState(**looks[-1]["gate"]) if looks else GateState()
    # On another path than the processes before it, the run divides what they left over all its planned looks.
    return state if state == stored else stored.renewed()


def _scores_key(rated: RatedModel) -> str:
    """Return the hash of a model's scores on the search half, by which a look recognises it."""
    return content_hash(dict(rated.rating.domain.per_query))[:16]


def _to_json(rated: RatedModel, run: Path, own: BackboneSpec) -> ChallengerRow:
    return {
        "label": rated.label,
        "experts": list(rated.experts),
        **_model_to_json(rated.model, run, own),
        "instruction": asdict(rated.instruction),
    }


def _model_to_json(model: AdaptedModel, run: Path, own: BackboneSpec) -> ModelRow:
    """Return a model of a run whose start is ``own``."""
    row: ModelRow = {
        "adapters": [_relative(adapter, run) for adapter in model.adapters],
        "weights": list(model.weights),
        "method": model.method.model_dump(mode="json"),
        "queries": _model_to_json(model.queries, run, own) if model.queries else None,
    }
    if model.query_map is not None:
        row["query_map"] = _relative(model.query_map, run)
    if model.backbone != own:
        row["start"] = _start_to_json(model.backbone, run)
    return row


def _relative(path: Path, run: Path) -> str:
    return Path(os.path.relpath(path, run)).as_posix()


def _start_to_json(start: BackboneSpec, run: Path) -> dict[str, Any]:
    """Return a start; the path of a stage is relative to the run, as those of adapters are."""
    path = Path(start.model)
    if path.is_relative_to(run.parent):
        start = start.model_copy(update={"model": _relative(path, run)})
    return start.model_dump(mode="json")


def _start_of(row: dict[str, Any], run: Path) -> BackboneSpec:
    start = BackboneSpec.model_validate(row)
    path = Path(os.path.normpath(run / start.model))
    is_stage = start.model.startswith("..") and path.is_relative_to(run.parent)
    return start.model_copy(update={"model": str(path)}) if is_stage else start


def _restored(context: RunContext, row: ChallengerRow) -> RatedModel | None:
    model = _model_of(context, row)
    adapters = (*model.adapters, *(model.queries.adapters if model.queries else ()))
    stages = [part.parent for part in (*adapters, *([model.query_map] if model.query_map else ()))]
    starts = [Path(side.backbone.model) for side in (model, model.merged)]
    stages += [start.parent for start in starts if start.is_relative_to(context.run.folder.parent)]
    for stage in stages:
        if fault := folder_fault(stage):
            context.warn("gate", f"{row['label']} was confirmed before and cannot be used again: {fault}")
            return None
    instruction = Instruction(**row["instruction"])
    return RatedModel(
        label=row["label"],
        model=model,
        experts=tuple(row["experts"]),
        instruction=instruction,
        rating=context.rate(model, instruction),
    )


def _model_of(context: RunContext, row: ModelRow) -> AdaptedModel:
    """Return the model of a look; looks of earlier versions have one side only."""
    queries, query_map = row.get("queries"), row.get("query_map")
    start = row.get("start")
    return AdaptedModel(
        _start_of(start, context.run.folder) if start else context.spec.backbone,
        tuple(Path(os.path.normpath(context.run.folder / adapter)) for adapter in row["adapters"]),
        tuple(row["weights"]),
        MethodOptions(**row.get("method", {})),
        _model_of(context, queries) if queries else None,
        Path(os.path.normpath(context.run.folder / query_map)) if query_map else None,
    )
