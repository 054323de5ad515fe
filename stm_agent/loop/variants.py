"""STM's variants of an expert, with or without hard negatives and instruction, chosen by short probes on dev.

STM's own tables (arXiv 2602.04731, table 4) show why probes are needed: written negatives help some experts and hurt
others, and negatives and instruction together are often worse than one of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.spec import ExpertSpec, NegativeSpec
from stm_agent.evaluate.metrics import Scores
from stm_agent.loop.context import RunContext
from stm_agent.loop.gate import Verdict
from stm_agent.loop.training import TrainingPlan, build_training, training_job
from stm_agent.merge.adapted import AdaptedModel
from stm_agent.traces import TraceStore


@dataclass(frozen=True)
class Variant:
    """One way to train an expert.

    Attributes:
        label: STM's name: ``FT``, then ``+SHN`` for mined or written negatives, ``+PO`` for the instruction, ``+GP``
            for a pool of prompts of which each query has one.
        spec: The expert with the negatives of this variant.
        instruction: Text in front of its queries and passages.
    """

    label: str
    spec: ExpertSpec
    instruction: Instruction


@dataclass(frozen=True)
class Choice:
    """Variants of an expert in the order of preference.

    Attributes:
        order: The next one is trained only if the training of those before failed; empty: nothing can be trained.
        compared: Variants that probes compared with the incumbent.
    """

    order: tuple[Variant, ...]
    compared: int = 0


def variants(spec: ExpertSpec, instruction: Instruction) -> list[Variant]:
    """Return the variants of an expert; the incumbent, which a probe must beat, comes first.

    The incumbent has the accepted instruction, which passed a test of its own, and no hard negatives, which did not.
    """
    wanted, none = spec.negatives, instruction.unsaid()
    plain = spec.model_copy(update={"negatives": NegativeSpec(structural=wanted.structural)})
    negatives = [] if plain.lacks_negatives else [("", plain)]
    negatives += [("+SHN", spec)] if wanted.mined or wanted.synthetic else []
    has_instruction = bool(instruction.query or instruction.passage)
    prompts: list[tuple[str, Instruction, str | None]] = [("+PO", instruction, None)] if has_instruction else []
    # STM found that a pool of prompts can hurt, so the variants without it are always offered.
    prompts = [("+GP", instruction, spec.prompts), *prompts] if spec.prompts else prompts
    return [
        Variant(f"FT{hard}{prompt}", changed.model_copy(update={"prompts": pool}), text)
        for prompt, text, pool in [*prompts, ("", none, None)]
        for hard, changed in negatives
    ]


def choose_variant(context: RunContext, plan: TrainingPlan, instruction: Instruction) -> Choice:
    """Order the variants: first the best that the gate prefers to the incumbent after short probes, or the incumbent.

    A probe that fails costs its variant. If it was the incumbent's, the next variant takes its place.
    """
    offered = variants(plan.spec, instruction)
    steps = context.spec.loop.probe_steps
    if len(offered) == 1:
        return Choice(tuple(offered))
    if not steps:
        # Without probes: the variant with all negatives asked for and the incumbent's instruction.
        wanted = (offered[0].instruction, offered[0].spec.prompts)
        best = [variant for variant in offered if (variant.instruction, variant.spec.prompts) == wanted][-1]
        return Choice(_first(best, offered))
    if not context.has_time(f"probes of expert {plan.spec.name}"):
        return Choice(tuple(offered))
    scores: dict[str, Scores] = {}
    for variant in offered:
        with context.attempt(f"probe {variant.label} of expert {plan.spec.name}"):
            scores[variant.label] = _probe(context, variant, steps, plan)
    probed = [variant for variant in offered if variant.label in scores]
    if not probed:
        context.warn("train", f"expert {plan.spec.name} skipped: every probe of it failed")
        return Choice(())
    best = _best_probe(context, plan, probed, scores)
    ranked = sorted(probed, key=lambda variant: -scores[variant.label].ndcg_at_10)
    return Choice(_first(best, ranked), compared=len(probed) - 1)


def _first(best: Variant, others: Sequence[Variant]) -> tuple[Variant, ...]:
    return (best, *(variant for variant in others if variant != best))


def _best_probe(
    context: RunContext, plan: TrainingPlan, probed: Sequence[Variant], scores: Mapping[str, Scores]
) -> Variant:
    """Return the best of the variants that the gate prefers to the first one, or the first one."""
    incumbent, *challengers = probed
    best = incumbent
    for challenger in challengers:
        verdict = context.gate.consider(
            scores[challenger.label].per_query, scores[incumbent.label].per_query, tried=len(challengers)
        )
        context.decide(
            "data",
            f"expert {plan.spec.name}: {challenger.label} instead of {incumbent.label} {verdict.reason}",
            expert=plan.spec.name,
            kept=verdict.accepted,
        )
        _judge_program(context, plan, challenger, verdict)
        ahead = scores[challenger.label].ndcg_at_10 > scores[best.label].ndcg_at_10
        if verdict.accepted and ahead:
            best = challenger
    return best


def _judge_program(context: RunContext, plan: TrainingPlan, variant: Variant, verdict: Verdict) -> None:
    """Record in the program's trace what its negatives did to an expert."""
    trial = plan.training_data.trial
    if trial and variant.spec.negatives.synthetic:
        reason = f"expert {plan.spec.name}, {variant.label}: {verdict.reason}"
        TraceStore(context.run.traces).decide(trial, accepted=verdict.accepted, reason=reason)


def _probe(context: RunContext, variant: Variant, steps: int, plan: TrainingPlan) -> Scores:
    spec = variant.spec.model_copy(update={"steps": steps})
    name = f"{spec.name}?{variant.label}"
    negatives = plan.training_data.for_expert(spec, plan.pairs)
    with context.timed("train", f"probing expert {name}: {steps} steps"):
        folder = build_training(context, training_job(context, spec, plan, negatives, variant.instruction))
    with context.timed("rate", f"scoring probe {name} on dev"):
        model = AdaptedModel(plan.domain_in(context).backbone, (folder / "adapter",), (1.0,))
        scores = context.score(model, context.probed, variant.instruction)
    context.run.ledger.record(
        "probe",
        name=name,
        variant=variant.label,
        folder=folder.name,
        steps=steps,
        search=scores.ndcg_at_10,
    )
    return scores
