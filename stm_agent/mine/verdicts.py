"""What becomes of each negative that may be relevant: it stays, is left out, waits for people, or is a new positive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stm_agent.domain.audit_spec import AuditSpec
from stm_agent.domain.text import normalise
from stm_agent.mine.calibration import Calibrated, Rate
from stm_agent.mine.evidence import REFUSED, Suspect
from stm_agent.mine.families import ONE, By, Family

Floats = NDArray[np.float64]
Decision = Literal["negative", "dropped", "queued", "relabelled"]
NEGATIVE: Decision = "negative"
DROPPED: Decision = "dropped"
QUEUED: Decision = "queued"
RELABELLED: Decision = "relabelled"
PEOPLE: Mapping[str, Decision] = {"negative": "negative", "false_negative": "relabelled", "broken": "dropped"}
"""What a person's answer on the review page makes of a passage."""
SHARP = 0.5
"""Least lower end of the rate's interval as a share of the rate, for a passage to be relabelled. The odds of relevance
grow with the rate: if the true one is half of the estimate, precision 0.9 is really 0.82, and at a quarter 0.69."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What becomes of a suspect.

    Attributes:
        suspect: The suspect.
        decision: What becomes of it.
        chance: Calibrated probability that it is relevant; None: nothing could be calibrated.
        doubt: 1 / its rank among the most doubtful of its kind, so that kinds can be compared.
        by: ``scores``, ``judge`` or ``people``.
    """

    suspect: Suspect
    decision: Decision
    chance: float | None
    doubt: float
    by: str = "scores"


@dataclass(frozen=True)
class Audited:
    """Verdicts of all candidates, and the report: see :func:`audit`."""

    verdicts: tuple[Verdict, ...]
    report: Mapping[str, object]


def interleaved(kinds: Sequence[str], scores: Sequence[float]) -> list[float]:
    """Return a doubt for each row, 1 / its rank within its kind by score: scores of retrievers have no common scale.

    Args:
        kinds: Kind of each row.
        scores: Score of each row, comparable within its kind only; higher is more doubtful.
    """
    ranks: dict[str, int] = {}
    doubts = [0.0] * len(kinds)
    for row in sorted(range(len(kinds)), key=lambda row: -scores[row]):
        ranks[kinds[row]] = ranks.get(kinds[row], 0) + 1
        doubts[row] = 1 / ranks[kinds[row]]
    return doubts


def audit(
    families: Sequence[Family],
    spec: AuditSpec,
    answers: Mapping[tuple[str, str], str],
    grades: Mapping[tuple[str, str], float] | None = None,
) -> Audited:
    """Decide on every candidate, and estimate the false-negative rate before and after.

    Where nothing can be calibrated, or less than one relevant passage is expected, scores decide nothing: all stays
    as it is, and people's answers alone count. Nothing is relabelled unless the lower end of the rate's interval is
    at least half of the rate. By known positives that are alone nothing is relabelled at all, and only what is more
    probably relevant than not is left out: they say less of how relevant passages look.

    Args:
        families: The candidates and known positives.
        spec: The thresholds.
        answers: People's answers by normalised query and passage.
        grades: A judge's evidence by normalised query and passage: log likelihood ratios that are added to the
            log-odds of the chances; None: no judge.

    Returns:
        Verdicts, and a report: ``rates`` (kind -> rate before and after, with intervals), ``decisions`` (kind ->
        decision -> count), ``reasons`` (why a family has no rate), ``by`` (family -> what it was calibrated on).
    """
    verdicts: list[Verdict] = []
    rates: dict[str, object] = {}
    reasons: dict[str, str] = {}
    for family in families:
        chances = None if family.calibrated is None else _judged(family, family.calibrated.chances, grades or {})
        if family.reason:
            reasons[family.name] = family.reason
        decisions = _decide(family, chances, spec, grades or {})
        verdicts += _verdicts(family, decisions, chances, answers, grades or {})
        if family.calibrated is not None:
            rates |= _rates(family, family.calibrated, verdicts[-int(family.candidates.sum()) :])
    counts: dict[str, dict[str, int]] = {}
    for verdict in verdicts:
        row = counts.setdefault(verdict.suspect.kind, dict.fromkeys((NEGATIVE, DROPPED, QUEUED, RELABELLED), 0))
        row[verdict.decision] += 1
    by = {family.name: family.by for family in families if family.calibrated is not None}
    return Audited(tuple(verdicts), {"rates": rates, "decisions": counts, "reasons": reasons, "by": by})


def key_of(suspect: Suspect) -> tuple[str, str]:
    """Return the normalised query and passage of a suspect."""
    return normalise(suspect.pair.query), normalise(suspect.passage.text)


def _judged(family: Family, chances: Floats, grades: Mapping[tuple[str, str], float]) -> Floats:
    if not grades:
        return chances
    evidence = np.array([grades.get(key_of(suspect), 0.0) for suspect in family.suspects])
    bounded = np.clip(chances, 1e-9, 1 - 1e-9)
    odds: Floats = np.log(bounded / (1 - bounded)) + evidence
    return np.asarray(1 / (1 + np.exp(-odds)), dtype=np.float64)


def _decide(
    family: Family, chances: Floats | None, spec: AuditSpec, grades: Mapping[tuple[str, str], float]
) -> list[Decision]:
    decisions: list[Decision] = [NEGATIVE] * len(family.suspects)
    fitted, candidates = family.calibrated, family.candidates
    if fitted is None or chances is None:
        return decisions
    allowed = _allowed(spec, family.by, fitted.rate(candidates))
    if allowed is None:
        return decisions
    ordered = [int(row) for row in np.argsort(-chances, kind="stable") if candidates[row]]
    sure = _surest(_judged(family, fitted.cautious, grades)[ordered], allowed.relabel)
    for row in ordered[:sure]:
        decisions[row] = RELABELLED
    doubtful = _doubtful(ordered[sure:], fitted.scores, candidates, chances, allowed.find)
    queued = _first_of_each_kind(family, doubtful, allowed.queue)
    for row in doubtful:
        decisions[row] = QUEUED if row in queued else DROPPED
    return decisions


def _allowed(spec: AuditSpec, by: By, rate: Rate) -> AuditSpec | None:
    """Return the thresholds that a rate and what it was estimated from allow; None: scores decide nothing."""
    certain = rate.low * rate.count >= 1
    if by == ONE:
        return spec.model_copy(update={"find": 0.0, "relabel": 0.0}) if spec.find and certain else None
    if rate.share * rate.count < 1:
        return None
    sharp = certain and rate.low >= SHARP * rate.share
    return spec if sharp else spec.model_copy(update={"relabel": 0.0})


def _doubtful(
    rows: Sequence[int], scores: Floats, candidates: NDArray[np.bool_], chances: Floats, find: float
) -> list[int]:
    """Return the rows that score like a share ``find`` of the known positives, or are more probably relevant than not.

    The share of known positives above the limit is the sensitivity.
    """
    limit = float(np.quantile(scores[~candidates], 1 - find)) if find else np.inf
    return [row for row in rows if scores[row] >= limit or chances[row] >= 0.5]


def _first_of_each_kind(family: Family, rows: Sequence[int], count: int) -> set[int]:
    """Return the first rows of each kind of suspect, at most so many of a kind."""
    by_kind: dict[str, list[int]] = {}
    for row in rows:
        by_kind.setdefault(family.suspects[row].kind, []).append(row)
    return {row for own in by_kind.values() for row in own[:count]}


def _surest(chances: Floats, precision: float) -> int:
    """Return how many of the first chances have at least this mean, none of them below one half."""
    if not precision or not len(chances):
        return 0
    means = np.cumsum(chances) / np.arange(1, len(chances) + 1)
    enough = (means >= precision) & (chances >= 0.5)
    return len(chances) if enough.all() else int(np.argmin(enough))


def _verdicts(
    family: Family,
    decisions: Sequence[Decision],
    chances: Floats | None,
    answers: Mapping[tuple[str, str], str],
    grades: Mapping[tuple[str, str], float],
) -> list[Verdict]:
    rows = [row for row, suspect in enumerate(family.suspects) if not suspect.known]
    order = chances if chances is not None and grades else family.order()
    doubts = interleaved([family.suspects[row].kind for row in rows], [float(order[row]) for row in rows])
    verdicts = []
    for row, doubt in zip(rows, doubts, strict=True):
        suspect, key = family.suspects[row], key_of(family.suspects[row])
        decision, by = decisions[row], "judge" if key in grades else "scores"
        if key in answers:
            decision, by = PEOPLE[answers[key]], "people"
        chance = None if chances is None else float(chances[row])
        verdicts.append(Verdict(suspect=suspect, decision=decision, chance=chance, doubt=doubt, by=by))
    return verdicts


def _rates(family: Family, fitted: Calibrated, verdicts: Sequence[Verdict]) -> dict[str, dict[str, object]]:
    """Return kind -> rates before and after; of what mining refused nothing is trained on, so it has no after."""
    candidates = family.candidates
    kinds = np.array([suspect.kind for suspect in family.suspects])
    stays = np.zeros(len(kinds), dtype=bool)
    stays[candidates] = [verdict.decision == NEGATIVE for verdict in verdicts]
    parts = {}
    for kind in sorted(set(kinds[candidates].tolist())):
        parts[f"{kind} before"] = candidates & (kinds == kind)
        if kind != REFUSED:
            parts[f"{kind} after"] = parts[f"{kind} before"] & stays
    used = candidates & (kinds != REFUSED)
    parts |= {f"{family.name} before": used, f"{family.name} after": used & stays}
    table: dict[str, dict[str, object]] = {}
    for name, part in parts.items():
        kind, _, time = name.rpartition(" ")
        table.setdefault(kind, {})[time] = asdict(fitted.rate(part))
    return table
