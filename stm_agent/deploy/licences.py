"""What the licences of a model's sources say about publishing it."""

from __future__ import annotations

import re
from dataclasses import dataclass

FORBIDDING = re.compile(
    r"no[ -]?deriv|\bBY(-NC)?-ND\b|all rights reserved|not (to be )?redistribut|no redistribution|proprietary|"
    r"research (use )?only|confidential",
    re.I,
)
"""Words with which a licence forbids to publish what was made of a source."""
LIMITING = re.compile(r"non[ -]?commercial|\b(BY-)?NC\b|-NC(-|\b)|share[ -]?alike|\bSA\b|-SA(-|\b)|unaltered", re.I)
"""Words with which a licence allows it under conditions."""
UNSTATED = re.compile(r"^\s*$|not stated|unknown|see its own card", re.I)


@dataclass(frozen=True)
class SourceLicence:
    """A source of a model, its licence, and what that says: ``forbids``, ``limits``, ``unstated`` or ``allows``."""

    source: str
    licence: str
    verdict: str


def judge_licence(source: str, licence: str) -> SourceLicence:
    """Return what a licence's text says about publishing a model that was made of the source."""
    for verdict, words in (("forbids", FORBIDDING), ("unstated", UNSTATED), ("limits", LIMITING)):
        if words.search(licence):
            return SourceLicence(source, licence, verdict)
    return SourceLicence(source, licence, "allows")


def licences_of_card(card: str) -> list[SourceLicence]:
    """Return the sources that a model's card lists under ``Data and licences``, those that forbid it first."""
    _, _, rest = card.partition("Data and licences:")
    found = []
    for line in rest.split("\n"):
        if match := re.fullmatch(r"- (.*?) \((.*)\)", line.strip()):
            found.append(judge_licence(match[1], match[2].removeprefix("licence: ")))
        elif found and line.strip():
            break
    order = ("forbids", "unstated", "limits", "allows")
    return sorted(found, key=lambda source: order.index(source.verdict))
