"""What became of an import: how much went in, and which rows were skipped and why."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from typing_extensions import TypedDict

TOLD = 20
"""Skipped rows that a report names one by one."""


class ReportView(TypedDict):
    """A report as JSON."""

    added: int
    queries: int
    judgements: int
    skipped: dict[str, int]
    examples: list[str]
    fields: dict[str, int]


@dataclass
class Report:
    """What became of an import.

    Attributes:
        added: Documents that went in.
        queries: Queries that went in.
        judgements: Judgements that went in.
        skipped: Rows that did not, by reason.
        examples: The first of them: where, and why.
        fields: How many documents have each field.
    """

    added: int = 0
    queries: int = 0
    judgements: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    fields: Counter[str] = field(default_factory=Counter)

    def skip(self, where: str, reason: str) -> None:
        """Count a row that is not taken."""
        self.skipped[reason] += 1
        if len(self.examples) < TOLD:
            self.examples.append(f"{where}: {reason}")

    def told(self) -> ReportView:
        """Return it as JSON."""
        return {
            "added": self.added,
            "queries": self.queries,
            "judgements": self.judgements,
            "skipped": dict(self.skipped),
            "examples": self.examples,
            "fields": dict(self.fields),
        }
