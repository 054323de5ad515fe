"""The instruction lever: search the text in front of a query for the model at hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stm_agent.domain.spec import InstructSpec
from stm_agent.evaluate.encoder import Encoder
from stm_agent.instruct.instruction import Instruction
from stm_agent.instruct.search import search_instruction
from stm_agent.instruct.seeds import load_framings, load_seeds
from stm_agent.loop.bench import Bench
from stm_agent.workspace import prompt_path


def improve_instruction(
    bench: Bench, encoder: Encoder, incumbent: Instruction, round_: int, *, model: str
) -> Instruction:
    """Search instructions on dev, queries re-encoded only; return the winner or the incumbent."""
    spec = bench.spec
    seeds, framings = written_candidates(bench.workspace, spec.instruct, spec.task)
    with bench.timed(
        "instruct", f"trying {len(seeds)} seed instructions and {spec.instruct.reflections} reflections on the {model}"
    ):
        found = search_instruction(
            encoder=encoder,
            cache=bench.cache,
            collection_dev=bench.dev,
            documents=bench.documents,
            seeds=seeds,
            incumbent=incumbent,
            reflection=bench.reflection,
            spec=spec.instruct,
            alpha=spec.loop.alpha,
            trace=bench.run.traces,
            seed=bench.seed + round_,
            task=spec.task,
            framings=framings,
        )
    bench.decide(
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
