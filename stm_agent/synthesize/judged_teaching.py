"""An LLM as the teacher of scores: it grades sampled candidates of training pairs from 0 to 3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from stm_agent.job import Job
from stm_agent.llm.access import LlmAccess
from stm_agent.llm.text import TEXT_RULES
from stm_agent.mine.candidates import Sheet
from stm_agent.mine.score_teachers import UNSCORED, EnsembleTeacher, Passage, Question
from stm_agent.mine.teaching import TeachingJob, save_taught, teach
from stm_agent.program_files import program_hash
from stm_agent.synthesize.jobs import require_whole
from stm_agent.synthesize.judge import GRADES, judge_all

if TYPE_CHECKING:
    from stm_agent.llm.client import LlmClient

JUDGED = "judge"
"""Part of a stage's counts that says what became of the judgements."""


class JudgeTeacher:
    """Grades of an LLM as shares of the best grade.

    Attributes:
        counts: What became of the judgements, as JSON values.
    """

    def __init__(self, judge: LlmAccess, client: LlmClient, *, task: str, program: Path) -> None:
        """Take the LLM, a client for it, the line that says what is relevant, and the file of the program."""
        self._judge, self._client, self._task, self._program = judge, client, task, program
        self.counts: dict[str, object] = {}

    def score(self, questions: Sequence[Question], lists: Sequence[Sequence[Passage]]) -> list[list[float]]:
        """Return grades divided by 3; a passage without a usable grade is unscored. No two texts are asked for twice.

        Raises:
            ConfigError: The program cannot be built or fails.
            BudgetExceeded: The budget is spent; judgements so far stay cached.
            GenerationError: The judge gives out; judgements so far stay cached.
        """
        rows = [
            [(question.text, passage.text) for passage in row] for question, row in zip(questions, lists, strict=True)
        ]
        distinct = list(dict.fromkeys(item for row in rows for item in row))
        judged = judge_all(distinct, task=self._task, program=self._program, client=self._client)
        require_whole(self._judge, judged.report)
        self.counts = judged.report.to_json()
        scores = {
            item: UNSCORED if judgement is None else judgement.grade / GRADES[-1]
            for item, judgement in zip(distinct, judged.judgements, strict=True)
        }
        return [[scores[item] for item in row] for row in rows]


@dataclass(frozen=True, kw_only=True)
class JudgedTeachingJob(Job):
    """Retrieves candidates, samples them over the scores of the ensemble, and lets an LLM grade the sample.

    Attributes:
        teaching: The pairs, all of which are graded, and how candidates are found and sampled.
        task: One line for the judge: what a query is and what should be found.
        program: File of the judge's program.
        judge: The LLM.
    """

    kind: ClassVar[str] = TeachingJob.kind
    teaching: TeachingJob
    task: str
    program: Path
    judge: LlmAccess

    @property
    def asks_llm(self) -> bool:
        """Always."""
        return True

    def inputs(self) -> Mapping[str, object]:
        """Return what decides the grades."""
        judge = [self.judge.key(), self.task, program_hash(self.program), TEXT_RULES]
        return {"teaching": self.teaching.inputs(), "judge": judge}

    def build(self, folder: Path) -> None:
        """Write ``candidates/`` and ``counts.json``, as :class:`TeachingJob` does, with the counts of the judgements.

        Raises:
            BackboneError: A model cannot be loaded.
            ConfigError: The judge's program cannot be used.
            BudgetExceeded: The budget is spent; judgements so far stay cached.
            GenerationError: The judge gives out; judgements so far stay cached.
        """
        spec, (encoders, retriever) = self.teaching.spec, self.teaching.open_encoders()
        sheet = Sheet.of(self.teaching.pairs, self.teaching.pool, self.teaching.groups)
        sampler = EnsembleTeacher(sheet.texts, spec.bm25, encoders, spec.weights)
        client = self.judge.open()
        try:
            teacher = JudgeTeacher(self.judge, client, task=self.task, program=self.program)
            taught = teach(sheet, teacher, spec, retriever, sampler=sampler)
        finally:
            client.close()
        save_taught(folder, self.teaching.pairs, taught, {JUDGED: teacher.counts})
