"""The plan of a run, printed before anything is spent."""

from __future__ import annotations

from pathlib import Path

from stm_agent.domain.build import build_collection
from stm_agent.domain.firewall import require_judged
from stm_agent.domain.spec import WRITTEN, BeirCollection, DomainSpec


def check_collection(spec: DomainSpec, workspace: Path) -> None:
    """Check that a run can begin on a BEIR folder; other collections are first fetched or built, which costs time.

    Raises:
        DataError: The folder is broken, or has no dev or no test split.
    """
    if isinstance(spec.collection, BeirCollection):
        require_judged(build_collection(spec.collection, workspace))


def plan(spec: DomainSpec, *, rounds: int | None, generator: str) -> list[dict[str, str]]:
    """Return the stages of a run, in order, with a description of each."""
    steps = [
        {"stage": "collection", "what": f"{spec.collection.kind}, guarded by {len(spec.general)} general task(s)"},
        {"stage": "backbone", "what": spec.backbone.summary},
    ]
    for number in range(1, (rounds or spec.loop.rounds) + 1):
        asks = any(expert.negatives.synthetic for expert in spec.experts)
        writes = any(WRITTEN in expert.sources for expert in spec.experts)
        calls = spec.synthesize.pairs * asks + spec.synthesize.queries * writes + spec.instruct.reflections
        steps.append({"stage": f"round {number}", "what": f"up to {calls} LLM calls by {generator}"})
        steps += [
            {"stage": "  train", "what": f"expert {expert.name}: {expert.steps} steps on {', '.join(expert.sources)}"}
            for expert in spec.experts
        ]
        steps.append(
            {"stage": "  merge", "what": f"{spec.merge.method}, forgetting budget {spec.merge.forgetting_budget}"}
        )
    return [*steps, {"stage": "test", "what": "opened once, at the end"}]
