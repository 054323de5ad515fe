"""Synthetic hard negatives: written by a DSPy program, stored with their provenance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stm_agent.domain.data import Pair
from stm_agent.domain.spec import SynthesizeSpec
from stm_agent.files import sha256_file, write_json
from stm_agent.mine.negatives import Negative
from stm_agent.mine.store import save_negatives
from stm_agent.synthesize.program import Writer

if TYPE_CHECKING:
    from stm_agent.llm.client import LlmClient

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Synthesized:
    """Written negatives by pair id, refusals by reason, and what it cost."""

    negatives: Mapping[str, tuple[Negative, ...]]
    refused: Mapping[str, int]
    usd: float
    calls: int


def synthesize_negatives(
    pairs: Sequence[Pair],
    mined: Mapping[str, tuple[Negative, ...]],
    *,
    task: str,
    program: Path,
    client: LlmClient,
    spec: SynthesizeSpec,
    folder: Path,
    progress: Progress | None = None,
) -> Synthesized:
    """Write one hard negative for each pair into ``folder`` (a ``datasets`` folder and ``written.json``).

    An answer that repeats the query, the positive or the mined negative is refused and counted. Calls are kept
    by the client, so an interrupted stage pays nothing again.

    Raises:
        GenerationError: The generator cannot be reached, or the budget is spent.
        ConfigError: The program cannot be built.
    """
    writer = Writer(program, client)
    before = client.budget.spent
    made_by = (
        ("generator", client.model),
        ("program", sha256_file(program)[:16]),
        ("temperature", str(spec.temperature)),
    )
    negatives: dict[str, tuple[Negative, ...]] = {}
    for number, pair in enumerate(pairs, 1):
        near = tuple(negative.text for negative in mined.get(pair.id, ())[:1])
        text = writer.write(
            "hard_negative",
            rollout=0,
            unlike=(pair.query, pair.positive, *near),
            task=task,
            query=pair.query,
            passage=pair.positive,
        )
        if text is not None:
            negatives[pair.id] = (Negative(text, "synthetic", provenance=made_by),)
        if progress:
            progress(number, len(pairs))
    save_negatives(folder, pairs, negatives)
    spent = client.budget.spent
    done = Synthesized(negatives, dict(writer.refused), spent.usd - before.usd, spent.calls - before.calls)
    counts = {"pairs": len(pairs), "written": len(negatives), "refused": done.refused}
    write_json(folder / "written.json", {**counts, "sample": writer.sample()})
    return done
