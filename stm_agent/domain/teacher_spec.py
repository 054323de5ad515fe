"""The part of a domain file that says whose scores of candidates experts learn from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from stm_agent.domain.fields import Positive, Real, Spec, Switch

FILE, CROSS_ENCODER, JUDGE, ENSEMBLE = "file:", "cross-encoder:", "judge:", "ensemble"
OWN = "own"
"""An encoder of a teacher: the model that is trained, whose vectors the run has."""


class TeacherSpec(Spec):
    """Scores of retrieved candidates, which experts with loss ``distil`` learn from.

    Attributes:
        scores: The teacher: ``ensemble`` of BM25 and ``encoders``; the name of a bi-encoder; ``cross-encoder:NAME``;
            ``judge:NAME``, an LLM that grades by the program ``judge``; or ``file:PATH``, a TREC run or JSONL with
            query-id, corpus-id and score, relative to the domain file.
        encoders: Encoders of the ensemble; the first one also retrieves candidates. ``own``: the run's start, for
            experts of queries the model that they stand on. Empty: BM25 alone.
        bm25: Weight of BM25 in the ensemble, of the score divided by the query's best one; 0: encoders alone.
        encoder_weights: Weight of each encoder's cosine in the ensemble; empty: 0.5, shared equally.
        rescale: Map the scores of each query to 0..1: ``range`` does so by their minimum and maximum, ``none`` leaves
            them, ``auto`` rescales cross-encoders and files, whose scales are unknown.
        depth: Candidates that BM25 and the first encoder retrieve for each query, each.
        candidates: Candidates kept for each pair: half the highest scores, half drawn from strata of the others.
            An LLM grades only these, chosen by the scores of the ensemble.
        judged: Passages that an LLM grades, at most, positives included: whole lists of drawn pairs. Calls count
            against the run's budget.
        own_text: Let an LLM grade passages for queries that it wrote itself.
    """

    scores: Annotated[str, Field(min_length=1)] = ENSEMBLE
    encoders: tuple[str, ...] = ("embedded:all-minilm-l6-v2",)
    bm25: Real = 0.5
    encoder_weights: tuple[Real, ...] = ()
    rescale: Literal["auto", "range", "none"] = "auto"
    depth: Positive = 100
    candidates: Positive = 14
    judged: Positive = 1000
    own_text: Switch = False

    @property
    def file(self) -> Path | None:
        """The file of scores; None: another teacher."""
        return Path(self.scores.removeprefix(FILE)) if self.scores.startswith(FILE) else None

    @property
    def judge(self) -> str | None:
        """The LLM that grades; None: another teacher."""
        return self.scores.removeprefix(JUDGE) if self.scores.startswith(JUDGE) else None

    @property
    def judged_pairs(self) -> int:
        """Pairs whose lists an LLM can grade."""
        return self.judged // (1 + self.candidates)

    @property
    def models(self) -> dict[str, str]:
        """Role -> name of every encoder that is asked."""
        models = {f"encoder {number}": name for number, name in enumerate(self.encoders) if name != OWN}
        if self.scores != ENSEMBLE and self.file is None and self.judge is None:
            models["scores"] = self.scores.removeprefix(CROSS_ENCODER)
        return models

    @property
    def weights(self) -> tuple[float, ...]:
        """Weight of each encoder of the ensemble."""
        return self.encoder_weights or (0.5 / max(1, len(self.encoders)),) * len(self.encoders)

    @property
    def rescales(self) -> bool:
        """Whether the scores of each query are mapped to 0..1."""
        unknown_scale = self.scores.startswith((FILE, CROSS_ENCODER))
        return self.rescale == "range" or (self.rescale == "auto" and unknown_scale)

    @field_validator("scores")
    @classmethod
    def _relative_to_the_file(cls, scores: str, info: ValidationInfo) -> str:
        if not scores.startswith(FILE):
            return scores
        folder: Path = (info.context or {}).get("folder", Path())
        return f"{FILE}{folder / scores.removeprefix(FILE)}"

    @model_validator(mode="after")
    def _ensemble_fits(self) -> TeacherSpec:
        if self.encoder_weights and len(self.encoder_weights) != len(self.encoders):
            raise ValueError(
                f"teach: {len(self.encoder_weights)} encoder_weights for {len(self.encoders)} encoders; give one each"
            )
        if self.judge == "":
            raise ValueError("teach: scores: judge: names no LLM; write 'judge:' and its name, as for --generator")
        if self.judge and not self.judged_pairs:
            raise ValueError(
                f"teach: judged: {self.judged} is less than one list of {1 + self.candidates} passages; raise it, or "
                "lower candidates"
            )
        weighs = self.scores == ENSEMBLE or self.judge is not None
        if weighs and not self.bm25 and not any(self.weights):
            raise ValueError("teach: all weights of the ensemble are 0; raise bm25 or encoder_weights")
        return self
