"""A finalist of an instruction search: a candidate that was scored over the whole corpus."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stm_agent.backbone.instruction import Instruction


@dataclass(frozen=True, kw_only=True)
class Finalist:
    """A candidate with both of its scores.

    Attributes:
        instruction: Query and passage instruction; two finalists may share one of them.
        inner: nDCG@10 over the sub-corpus.
        full: nDCG@10 over the whole corpus, by mteb.
    """

    instruction: Instruction
    inner: float
    full: float

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Finalist:
        """Read what ``dataclasses.asdict`` made."""
        return cls(instruction=Instruction(**row["instruction"]), inner=row["inner"], full=row["full"])
