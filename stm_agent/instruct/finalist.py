"""A finalist of an instruction search: a candidate that was scored over the whole corpus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from stm_agent.backbone.instruction import Instruction


class StoredFinalist(TypedDict):
    """A finalist as JSON: what ``dataclasses.asdict`` makes of it."""

    instruction: dict[str, str]
    inner: float
    full: float


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
    def from_json(cls, row: StoredFinalist) -> Finalist:
        """Read what ``dataclasses.asdict`` made."""
        return cls(instruction=Instruction(**row["instruction"]), inner=row["inner"], full=row["full"])
