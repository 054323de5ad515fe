"""Build a stage of the answers that were paid for, if its LLM or its budget gives out.

Such a result has a key of its own, so that a later process with a working LLM or a higher ceiling builds the whole one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from stm_agent.errors import GenerationError
from stm_agent.files import read_jsonl
from stm_agent.job import Job
from stm_agent.llm.access import LlmAccess
from stm_agent.loop.context import RunContext
from stm_agent.synthesize.jobs import WritingJob


def build_or_salvage(
    context: RunContext, lever: str, job: Callable[[LlmAccess], Job], *, without_answers: bool = False
) -> Path | None:
    """Return the folder of a job of a run; None: it failed, which is recorded and costs the lever alone.

    Args:
        context: The run.
        lever: What is lost if it fails.
        job: Makes the job of the access to the generator.
        without_answers: Build it even if no answer was paid for.
    """
    folder: Path | None = None
    with context.attempt(lever) as caught:
        return context.build(job(context.generator))
    answered = len(read_jsonl(context.run.llm_ledger))
    if isinstance(caught[0], GenerationError) and (answered or without_answers):
        with context.attempt(lever):
            folder = context.build(job(context.generator.without_asking(answered)))
    return folder


def build_as_paid(
    build: Callable[[Job], Path], job: WritingJob, *, without_answers: bool = False
) -> tuple[Path, str | None]:
    """Return the folder of what a job wrote until its LLM or budget gave out, and why it did; None: it is whole.

    Args:
        build: Builds a job.
        job: The job.
        without_answers: Build it even if no answer was paid for.

    Raises:
        GenerationError: The LLM or its budget gave out before any answer.
    """
    try:
        return build(job), None
    except GenerationError as error:
        answered = len(read_jsonl(job.generator.ledger))
        if not answered and not without_answers:
            raise
        return build(replace(job, generator=job.generator.without_asking(answered))), str(error)
