"""Families of audited passages, mined and written, each with what it is calibrated on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stm_agent.mine.calibration import Calibrated, calibrate, lacking
from stm_agent.mine.evidence import WRITTEN, Evidence, Suspect

Floats = NDArray[np.float64]
MINED = "mined"
"""Name of the family of what no LLM wrote."""
By = Literal["several positives", "one positive"]
"""What a family is calibrated on: known positives beside another one of their query, or all of them, each by itself."""
SEVERAL: By = "several positives"
ONE: By = "one positive"


@dataclass(frozen=True)
class Family:
    """Mined or written candidates with the known positives beside them, and their calibration or why there is none.

    Attributes:
        name: ``mined`` or ``synthetic``.
        suspects: Candidates and known positives.
        features: ``[suspects, features]``.
        calibrated: The calibration; None: there is none.
        reason: Why there is none.
        by: What it is calibrated on.
    """

    name: str
    suspects: tuple[Suspect, ...]
    features: Floats
    calibrated: Calibrated | None
    reason: str | None
    by: By = SEVERAL

    @classmethod
    def of(cls, name: str, evidence: Evidence) -> Family:
        """Take one family out of the evidence and calibrate it.

        If too few known positives have another one of their query beside them, all are used, by what needs no other
        one: how they score, and not how near they are to a positive.
        """
        written = name == WRITTEN
        rows = [n for n, s in enumerate(evidence.suspects) if s.known or (s.kind == WRITTEN) == written]
        beside = [row for row in rows if not evidence.suspects[row].alone]
        several = cls._calibrated(name, evidence.suspects, evidence.features, beside, SEVERAL)
        if several.calibrated is not None or len(beside) == len(rows):
            return several
        one = cls._calibrated(name, evidence.suspects, evidence.plain, rows, ONE)
        return replace(several, reason=one.reason) if one.calibrated is None else one

    @classmethod
    def _calibrated(
        cls, name: str, suspects: Sequence[Suspect], features: Floats, rows: Sequence[int], by: By
    ) -> Family:
        own, values = tuple(suspects[row] for row in rows), features[rows]
        known = np.array([suspect.known for suspect in own], dtype=bool)
        queries = np.array([suspect.query for suspect in own], dtype=np.int64)
        reason = lacking(known, queries)
        calibrated = None if reason else calibrate(values, known, queries, alone=by == ONE)
        return cls(name, own, values, calibrated, reason, by)

    @property
    def candidates(self) -> NDArray[np.bool_]:
        """Which suspects are candidates."""
        return np.array([not suspect.known for suspect in self.suspects], dtype=bool)

    def order(self) -> Floats:
        """Return what orders the suspects, the most doubtful highest."""
        if self.calibrated is not None:
            return self.calibrated.scores
        # The nearest to a score of relevance: the last feature is the highest cosine to a positive, if there is one.
        return np.asarray(self.features[:, 1 if self.features.shape[1] > 1 else 0], dtype=np.float64)


def families_of(evidence: Evidence) -> list[Family]:
    """Return the families that have candidates, calibrated if they can be."""
    families = [Family.of(name, evidence) for name in (MINED, WRITTEN)]
    return [family for family in families if family.candidates.any()]
