"""The plan of a run, printed before anything is spent."""

from __future__ import annotations

from stm_agent.domain.spec import WRITTEN, DomainSpec


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
        methods = ", ".join(spec.merge.methods)
        steps.append({"stage": "  merge", "what": f"{methods}; forgetting budget {spec.merge.forgetting_budget}"})
    return [*steps, {"stage": "test", "what": "opened once, at the end"}]
