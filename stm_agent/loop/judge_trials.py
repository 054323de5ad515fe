"""Candidates of a program that judges: rated by passages whose relevance people have decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stm_agent.llm.access import LlmAccess
from stm_agent.loop.context import RunContext
from stm_agent.loop.program_trials import ProgramTrials, Rollout
from stm_agent.synthesize.feedback import BEST_GRADE, Rating, unusable
from stm_agent.synthesize.judge import Judgement, judge_all
from stm_agent.synthesize.program_text import ProgramText


@dataclass(frozen=True)
class Contrast:
    """A query with a passage that people judged relevant, and one that retrieval found and nobody did."""

    query: str
    relevant: str
    other: str


@dataclass(kw_only=True)
class JudgeTrials(ProgramTrials[RunContext]):
    """Candidates that judge.

    A pair of judgements is as good as its grades are apart: a judge that calls everything relevant is worth 0.5, as
    one that calls nothing so. A passage that was mined may be relevant in truth; that lowers all candidates alike.

    Attributes:
        contrasts: Example -> contrast, those of ``held`` included.
        held: Names of contrasts that no candidate was chosen by.
        access: The LLM that judges, at temperature 0.
    """

    contrasts: Mapping[str, Contrast]
    held: tuple[str, ...]
    access: LlmAccess

    def run(self, text: ProgramText, names: Sequence[str]) -> dict[str, Rollout]:
        """Let a candidate judge both passages of some contrasts."""
        rows = [self.contrasts[name] for name in names]
        items = [(row.query, passage) for row in rows for passage in (row.relevant, row.other)]
        client = self.access.open()
        try:
            with self.context.clock.working():
                judged = judge_all(items, task=self.task, program=self.file_of(text), client=client)
        finally:
            client.close()
        judged.report.require_whole()
        grades = judged.judgements
        return {name: _rollout(name, grades[2 * n], grades[2 * n + 1]) for n, name in enumerate(names)}

    def inputs(self, name: str) -> dict[str, str]:
        """Return task, query and the relevant passage."""
        row = self.contrasts[name]
        return {"task": self.task, "query": row.query, "passage": row.relevant}


def _rollout(name: str, relevant: Judgement | None, other: Judgement | None) -> Rollout:
    if relevant is None or other is None:
        return Rollout(example=name, texts=(), rating=unusable("a judgement has no grade from 0 to 3"))
    apart = relevant.grade - other.grade
    score = 0.5 + apart / (2 * BEST_GRADE)
    line = f"the relevant passage got grade {relevant.grade}, the other one {other.grade}"
    line += "; they should be far apart" if apart < BEST_GRADE - 1 else ""
    texts = tuple(f"grade {row.grade}: {row.reason}".rstrip(": ") for row in (relevant, other))
    return Rollout(example=name, texts=texts, rating=Rating(score=score, round_trip=False, overlap=0.0, feedback=line))
