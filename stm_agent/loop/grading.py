"""A judge on the ladder: an LLM that grades what other LLMs wrote, with the cache, ledger and ceilings of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stm_agent.errors import ConfigError
from stm_agent.llm.access import LlmAccess
from stm_agent.loop.context import RunContext
from stm_agent.synthesize.judge import Judgement, judge_all
from stm_agent.workspace import program_path


@dataclass(frozen=True, kw_only=True)
class Grader:
    """Grades passages for queries.

    Attributes:
        access: The judge.
        program: File of its program.
        task: One line: what a query is and what should be found.
    """

    access: LlmAccess
    program: Path
    task: str

    def grade(self, items: Sequence[tuple[str, str]]) -> tuple[Judgement | None, ...]:
        """Return a judgement for each query and passage; None: it could not be used.

        Raises:
            BudgetExceeded: A ceiling is reached.
            GenerationError: The judge gives out.
        """
        if not items:
            return ()
        client = self.access.open()
        try:
            judged = judge_all(items, task=self.task, program=self.program, client=client)
        finally:
            client.close()
        judged.report.require_whole()
        return judged.judgements


def grader_of(context: RunContext, judge: str | None, writers: Sequence[str], *, own_text: bool) -> Grader | None:
    """Return the grader of a search or comparison; None: no judge is asked.

    Args:
        context: The run.
        judge: LiteLLM name of the judge.
        writers: LLMs whose texts it would grade.
        own_text: Let it judge what it wrote itself.

    Raises:
        ConfigError: It would judge its own texts, or cannot be used.
    """
    if judge is None:
        return None
    access = context.generator.as_judge(judge)
    if not own_text and any(access.options.is_model(writer) for writer in writers):
        raise ConfigError(
            f"--judge {judge} would judge its own texts; name another LLM, or allow it with --judge-own-text"
        )
    # A wrong name or an unknown price is found before anything is paid.
    access.open().close()
    return Grader(access=replace(access), program=program_path(context.workspace, "judge"), task=context.spec.task)
