"""The part of a domain file that says how negatives are audited."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from stm_agent.domain.fields import Count, Spec, Switch
from stm_agent.domain.teacher_spec import OWN, TeacherSpec


class AuditSpec(Spec):
    """The audit of negatives: which of them may be relevant, and what becomes of these.

    Scores decide only where known positives calibrate them; they relabel only if queries have several of these and the
    interval of the estimated rate is above zero.

    Attributes:
        enabled: Audit mined and written negatives before training.
        teacher: Who scores; None: the encoder that mines.
        find: Share of the relevant passages among negatives that should not stay negatives; 0: the scores drop none.
        relabel: Wanted precision of passages that become positives of further training pairs; 0: none does.
        queue: Most doubtful passages of each kind that wait for people, and are not trained on meanwhile; others are
            dropped.
        judge: LLM that grades the most doubtful passages, by the program ``judge``; None: no LLM. Calls count against
            the run's budget.
        judged: Candidates that the LLM grades, and about as many known positives that calibrate its grades.
        own_text: Let an LLM judge what it wrote itself.
    """

    enabled: Switch = True
    teacher: TeacherSpec | None = None
    find: Annotated[float, Field(strict=True, ge=0, lt=1)] = 0.95
    relabel: Annotated[float, Field(strict=True, ge=0, lt=1)] = 0.9
    queue: Count = 50
    judge: Annotated[str, Field(min_length=1)] | None = None
    judged: Count = 64
    own_text: Switch = False

    @model_validator(mode="after")
    def _teacher_scores_all(self) -> AuditSpec:
        if self.teacher is not None and self.teacher.judge is not None:
            raise ValueError("audit: teacher: an LLM cannot score every candidate; name it as audit: judge")
        if self.teacher is not None and OWN in self.teacher.encoders:
            raise ValueError(
                "audit: teacher: encoder 'own' is for teach; without a teacher the encoder that mines scores"
            )
        return self
