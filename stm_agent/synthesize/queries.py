"""Queries the generator writes for passages nobody has asked for yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from stm_agent.domain.data import Pair
from stm_agent.domain.spec import SynthesizeSpec
from stm_agent.files import read_json, sha256_text, write_json
from stm_agent.synthesize.program import Writer

if TYPE_CHECKING:
    from stm_agent.llm.client import LlmClient


def write_queries(
    pool: Mapping[str, str],
    *,
    task: str,
    program: Path,
    client: LlmClient,
    spec: SynthesizeSpec,
    seed: int,
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Pair, ...]:
    """Write one query for each of ``spec.queries`` passages, drawn by a seeded hash, into ``folder/pairs.json``.

    Raises:
        GenerationError: The generator cannot be reached, or the budget is spent.
    """
    writer = Writer(program, client)
    drawn = sorted(pool, key=lambda passage: sha256_text(f"{seed} {passage}"))[: spec.queries]
    pairs = []
    for number, passage in enumerate(drawn, 1):
        query = writer.write("query", rollout=0, unlike=(pool[passage],), task=task, passage=pool[passage])
        if query is not None:
            pairs.append(Pair(f"written:{passage}", query, pool[passage], "written", passage))
        if progress:
            progress(number, len(drawn))
    rows = [{"id": p.id, "query": p.query, "positive": p.positive, "group": p.group} for p in pairs]
    told = {"generator": client.model, "refused": dict(writer.refused), "sample": writer.sample()}
    write_json(folder / "pairs.json", {**told, "pairs": rows})
    return tuple(pairs)


def load_pairs(folder: Path) -> tuple[Pair, ...]:
    """Read what :func:`write_queries` wrote."""
    rows = read_json(folder / "pairs.json")["pairs"]
    return tuple(Pair(row["id"], row["query"], row["positive"], "written", row["group"]) for row in rows)
