"""The instruction lever: search the text in front of a query for the model at hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.spec import InstructSpec
from stm_agent.evaluate.encoder import Encoder
from stm_agent.instruct.search import search_instruction
from stm_agent.instruct.seeds import load_framings, load_seeds
from stm_agent.loop.context import RunContext
from stm_agent.workspace import prompt_path


def improve_instruction(
    context: RunContext, encoder: Encoder, incumbent: Instruction, round_: int, *, model: str
) -> Instruction:
    """Search instructions on dev, queries re-encoded only; return the winner or the incumbent."""
    spec = context.spec
    seeds, framings = written_candidates(context.workspace, spec.instruct, spec.task)
    with context.timed(
        "instruct", f"trying {len(seeds)} seed instructions and {spec.instruct.reflections} reflections on the {model}"
    ):
        found = search_instruction(
            encoder=encoder,
            cache=context.cache,
            collection_dev=context.dev,
            documents=context.documents,
            seeds=seeds,
            incumbent=incumbent,
            reflection=context.reflection,
            spec=spec.instruct,
            alpha=spec.loop.alpha,
            trace=context.run.traces,
            seed=context.seed + round_,
            task=spec.task,
            framings=framings,
        )
    context.decide(
        "instruction", f"round {round_}, {model}: {found.tried} instructions tried; {found.reason}", kept=found.accepted
    )
    return found.instruction


def written_candidates(
    workspace: Path, spec: InstructSpec, task: str
) -> tuple[Sequence[Instruction], Sequence[Instruction]]:
    """Return the query and the passage instructions that people wrote.

    Raises:
        ConfigError: A file of ``prompts/`` is missing or cannot be used.
    """
    seeds = load_seeds(prompt_path(workspace, spec.seeds), task=task)
    return seeds, load_framings(prompt_path(workspace, spec.passages)) if spec.passages else ()
