"""What a candidate wrote, as material for a training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stm_agent.domain.data import Pair
from stm_agent.errors import DataError
from stm_agent.train.job import NO_NEGATIVES, Negatives


@dataclass(frozen=True, kw_only=True)
class Material:
    """Training pairs, with what else was written for them.

    Attributes:
        pairs: The pairs.
        negatives: Pair id -> written negatives.
        options: Options of the expert that learns from them, by name, beside those of every probe.
    """

    pairs: tuple[Pair, ...]
    negatives: Negatives = field(default_factory=lambda: NO_NEGATIVES)
    options: Mapping[str, object] = field(default_factory=dict)


def nothing_usable(program: Path, what: str, asked: int, counts: Mapping[str, int]) -> DataError:
    """Return the error of a program that wrote nothing that can be trained on."""
    refused = ", ".join(f"{number} {reason}" for reason, number in counts.items()) or "nothing came back"
    things = "passages" if what == "query" else "pairs"
    return DataError(f"{program.name} wrote no usable {what} for {asked} {things} ({refused}); try another --generator")
