"""What the licences of a model's sources say about publishing it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from pydantic import ValidationError

from stm_agent.errors import StmAgentError
from stm_agent.files import read_json

if TYPE_CHECKING:
    from stm_agent.loop.report_rows import Report

FORBIDDING = re.compile(
    r"no[ -]?deriv|\bBY([ -]NC)?[ -]ND\b|all rights reserved|not (to be )?redistribut|no redistribution|proprietary|"
    r"research (use )?only|confidential",
    re.I,
)
"""Words with which a licence forbids to publish what was made of a source."""
UNSTATED = re.compile(r"^\s*$|not (stated|recorded)|unknown|see its own card", re.I)
LIMITING = re.compile(r"non[ -]?commercial|\b(BY-)?NC\b|-NC(-|\b)|share[ -]?alike|\bSA\b|-SA(-|\b)|unaltered", re.I)
"""Words with which a licence allows it under conditions."""
PERMISSIVE = re.compile(
    r"(the )?(apache( software)?( licen[cs]e)?[ ,-]*((version |v)?2(\.0)?)?|mit(-0)?|x11|expat|isc|zlib|ncsa|0bsd|"
    r"(new |modified |simplified )?bsd([ -][0234][ -]clause)?(-clear)?|unlicense|wtfpl|postgresql|bsl-1\.0|"
    r"boost software|psf(-2\.0)?|python(-2\.0)?|python software foundation|artistic-2\.0|afl-3\.0|ms-pl|ecl-2\.0|"
    r"cc[ -]?0([ -]1\.0)?( universal)?|cc[ -]by([ -](1|2|2\.5|3|4)(\.0)?)?|"
    r"creative commons attribution( (1|2|2\.5|3|4)(\.0)?)?( international)?|public domain|pddl(-1\.0)?|"
    r"odc-by(-1\.0)?|cdla-permissive-[12]\.0|wordnet( [23]\.[01])?)( licen[cs]e)?",
    re.I,
)
"""Licences that allow to publish what was made of a source; also by the names that the Hub has for them."""
SEVERAL = re.compile(r"\s+(?:and|or)\s+|\s*[;/+]\s*", re.I)
NOTHING_RECORDED = "data and models"


@dataclass(frozen=True)
class SourceLicence:
    """A source of a model, its licence, and what that says: ``forbids``, ``limits``, ``unstated`` or ``allows``."""

    source: str
    licence: str
    verdict: str


def judge_licence(source: str, licence: str) -> SourceLicence:
    """Return what a licence's text says about publishing a model that was made of the source.

    Only known licences allow it: a name that says nothing, such as "other", and terms that have to be read first, count
    as unstated.
    """
    for verdict, words in (("forbids", FORBIDDING), ("unstated", UNSTATED), ("limits", LIMITING)):
        if words.search(licence):
            return SourceLicence(source, licence, verdict)
    known = all(PERMISSIVE.fullmatch(part) for part in SEVERAL.split(licence.strip()))
    return SourceLicence(source, licence, "allows" if known else "unstated")


def licences_of_run(run: Path, report: Report, card: str) -> list[SourceLicence]:
    """Return the sources of a run's model, those that forbid to publish it first.

    The run's own record decides; what its card lists beside that, which its owner may edit, is added. A run without
    any record has one source whose licence is not stated.
    """
    found = {source.source: source for line in _recorded(run, report) for source in _judged(line)}
    for source in licences_of_card(card):
        found.setdefault(source.source, source)
    return _ordered(found.values()) or [judge_licence(NOTHING_RECORDED, "not recorded")]


def licences_of_card(card: str) -> list[SourceLicence]:
    """Return the sources that a model's card lists under ``Data and licences``, those that forbid it first."""
    _, _, rest = card.partition("Data and licences:")
    found: list[SourceLicence] = []
    for line in rest.split("\n"):
        if judged := _judged(line.strip().removeprefix("- ")) if line.strip().startswith("- ") else []:
            found += judged
        elif found and line.strip():
            break
    return _ordered(found)


def _judged(line: str) -> list[SourceLicence]:
    match = re.fullmatch(r"(.*?) \((.*)\)", line)
    return [judge_licence(match[1], match[2].removeprefix("licence: "))] if match else []


def _ordered(sources: Iterable[SourceLicence]) -> list[SourceLicence]:
    order = ("forbids", "unstated", "limits", "allows")
    return sorted(sources, key=lambda source: order.index(source.verdict))


def _recorded(run: Path, report: Report) -> list[str]:
    """Return data and models with their licences, one line each, as the run recorded them."""
    from stm_agent.domain.spec import DomainSpec
    from stm_agent.merge.card import sources_of

    about = report.get("collection")
    if about is None or "source" not in about:
        return []
    data = SimpleNamespace(source=about["source"], licence=about.get("licence", "not recorded"))
    plan = run / "plan.json"
    spec = read_json(plan)["spec"] if plan.is_file() else read_json(run / "run.json").get("identity", {}).get("domain")
    try:
        return sources_of(DomainSpec.model_validate(spec), data)  # type: ignore[arg-type]
    except (ValidationError, StmAgentError, KeyError):
        # The domain of another version: its models are named in the card alone.
        return [f"{data.source} ({data.licence})"]
