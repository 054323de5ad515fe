"""STM's variants of an expert, with or without hard negatives and instruction, chosen by short probes on dev.

STM's own tables (arXiv 2602.04731, table 4) show why it has to be asked: written negatives help some
experts and hurt others, and the two means together are often worse than either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.data import Pair
from stm_agent.domain.spec import ExpertSpec, NegativeSpec
from stm_agent.evaluate.metrics import Scores
from stm_agent.loop.context import RunContext
from stm_agent.loop.data import TrainingData
from stm_agent.loop.gates import Verdict, gate
from stm_agent.loop.training import train_stage
from stm_agent.merge.delta import load_delta


@dataclass(frozen=True)
class Variant:
    """One way to train an expert.

    Attributes:
        label: STM's name: ``FT``, then ``+SHN`` for mined or written negatives, ``+PO`` for the instruction, ``+GP``
            for a pool of prompts of which each query has one.
        spec: The expert with the negatives of this variant.
        instruction: What stands in front of its texts.
    """

    label: str
    spec: ExpertSpec
    instruction: Instruction


def variants(spec: ExpertSpec, instruction: Instruction) -> list[Variant]:
    """Return what an expert can be trained as; the incumbent, which a probe must beat, comes first.

    An accepted instruction was tested when it was accepted: the incumbent has it. Hard negatives were not.
    """
    asked, none = spec.negatives, instruction.unsaid()
    plain = spec.model_copy(update={"negatives": NegativeSpec(structural=asked.structural)})
    negatives = [] if plain.lacks_negatives else [("", plain)]
    negatives += [("+SHN", spec)] if asked.mined or asked.synthetic else []
    said = bool(instruction.query or instruction.passage)
    prompts: list[tuple[str, Instruction, str | None]] = [("+PO", instruction, None)] if said else []
    # STM found that a pool of prompts can hurt; without it is always on offer.
    prompts = [("+GP", instruction, spec.prompts), *prompts] if spec.prompts else prompts
    return [
        Variant(f"FT{hard}{prompt}", changed.model_copy(update={"prompts": pool}), text)
        for prompt, text, pool in [*prompts, ("", none, None)]
        for hard, changed in negatives
    ]


def choose_variant(
    context: RunContext,
    spec: ExpertSpec,
    pairs: Sequence[Pair],
    training_data: TrainingData,
    start: Path | None,
    instruction: Instruction,
) -> Variant:
    """Return the incumbent variant, or the best of those whose probe beats it by a paired test on dev."""
    offered = variants(spec, instruction)
    steps = context.spec.loop.probe_steps
    if len(offered) == 1:
        return offered[0]
    if not steps:
        first = offered[0]
        asked = [
            one for one in offered if (one.instruction, one.spec.prompts) == (first.instruction, first.spec.prompts)
        ]
        return asked[-1]
    scores = [_probe(context, variant, steps, pairs, training_data, start) for variant in offered]
    best = 0
    for place in range(1, len(offered)):
        verdict = gate(scores[place], scores[0], context.spec.loop, context.seed)
        context.decide(
            "data",
            f"expert {spec.name}: {offered[place].label} instead of {offered[0].label} {verdict.reason}",
            expert=spec.name,
            kept=verdict.kept,
        )
        _judge_program(context, spec, offered[place], training_data, verdict)
        if verdict.kept and scores[place].ndcg_at_10 > scores[best].ndcg_at_10:
            best = place
    return offered[best]


def _judge_program(
    context: RunContext, spec: ExpertSpec, variant: Variant, training_data: TrainingData, verdict: Verdict
) -> None:
    """Write into the program's trace what its negatives did to an expert."""
    from stm_agent.traces import TraceStore

    if training_data.trial and variant.spec.negatives.synthetic:
        reason = f"expert {spec.name}, {variant.label}: {verdict.reason}"
        TraceStore(context.run.traces).decide(training_data.trial, accepted=verdict.kept, reason=reason)


def _probe(
    context: RunContext,
    variant: Variant,
    steps: int,
    pairs: Sequence[Pair],
    training_data: TrainingData,
    start: Path | None,
) -> Scores:
    spec = variant.spec.model_copy(update={"steps": steps})
    name = f"{spec.name}?{variant.label}"
    with context.timed("train", f"probing expert {name}: {steps} steps"):
        folder = train_stage(context, spec, pairs, training_data.for_expert(spec, pairs), start, variant.instruction)
    with context.timed("rate", f"scoring probe {name} on dev"):
        scores = context.probe(context.encoder(load_delta(folder / "adapter")), variant.instruction)
    context.run.ledger.record(
        "probe", name=name, variant=variant.label, folder=folder.name, steps=steps, dev=scores.ndcg_at_10
    )
    return scores
