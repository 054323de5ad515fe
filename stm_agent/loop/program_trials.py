"""Candidates of a program: written to files, run on examples, rated example by example, and recorded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from stm_agent.errors import (
    AnswerRejected,
    AnswersUnusable,
    BudgetExceeded,
    ConfigError,
    GenerationError,
    StmAgentError,
)
from stm_agent.files import content_hash
from stm_agent.llm.access import LlmAccess
from stm_agent.loop.program_kinds import ProgramKind
from stm_agent.loop.runs import RunFolder
from stm_agent.synthesize.feedback import Rating, unusable
from stm_agent.synthesize.program_text import ProgramText, store_candidate
from stm_agent.traces import Trace, TraceStore

if TYPE_CHECKING:
    from stm_agent.llm.answer import Completion

OF_CANDIDATE = (AnswerRejected, AnswersUnusable, ConfigError)
"""Errors that a candidate itself causes, unlike a refused key, an outage or a spent budget."""
TITLE = 90
"""Characters of an example that a trace holds."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a candidate comes from.

    Attributes:
        name: ``workspace``, ``reflection``, ``demonstrations`` or ``mipro``.
        parent: The candidate that it was made from; None: the first one.
        completion: The answer that it was read from; None: no LLM wrote it.
        shown: Rated examples that the LLM was shown.
    """

    name: str
    parent: ProgramText | None = None
    completion: Completion | None = None
    shown: Sequence[Mapping[str, object]] = ()


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """What a candidate wrote for one example, and its rating."""

    example: str
    texts: tuple[str, ...]
    rating: Rating


class TrialHost(Protocol):
    """What trials need of a run: a :class:`~stm_agent.loop.context.RunContext` has it."""

    run: RunFolder
    generator: LlmAccess

    def note(self, name: str, text: str) -> None:
        """Show and record a remark."""

    def warn(self, name: str, text: str) -> None:
        """Show and record a warning."""


Host_co = TypeVar("Host_co", bound=TrialHost, covariant=True)


@dataclass(kw_only=True)
class ProgramTrials(ABC, Generic[Host_co]):
    """The candidates of one search. Everything is a job or a cached answer, so a resumed search repeats for nothing.

    Attributes:
        context: The run.
        kind: What the program writes.
        program: File of the program that the candidates are made from.
        structured: Whether the generator is asked for typed outputs, for which a program may have a module of its own.
        task: The task in one line, for the reflecting LLM.
        examples: Example -> the inputs that it stands for, as text.
        rollouts: (Candidate, example) -> rollout.
        broken: Candidate -> why its program could not be run.
        ended: Why a ceiling ended the search early, in the order in which it did; empty: it did not.
    """

    context: Host_co
    kind: ProgramKind
    program: Path
    structured: bool
    task: str
    examples: Mapping[str, str]
    rollouts: dict[tuple[str, str], Rollout] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    _origins: dict[str, Origin] = field(default_factory=dict)
    _names: dict[str, str] = field(default_factory=dict)

    @abstractmethod
    def run(self, text: ProgramText, names: Sequence[str]) -> dict[str, Rollout]:
        """Let a candidate write for some examples, and rate what it wrote.

        Raises:
            BudgetExceeded: A ceiling is reached.
            GenerationError: The LLM gives out, or the program fails.
            ConfigError: The program cannot be used.
        """

    def usual(self) -> Sequence[str]:
        """Return outputs of people, which show the reflecting LLM what is usual; none by default."""
        return ()

    def demonstrations(self, parent: ProgramText, good: float) -> list[tuple[dict[str, str], tuple[str, ...]]]:
        """Return inputs and outputs that a candidate can show as finished examples: its own with a good rating."""
        return [
            (self.inputs(name), rollout.texts)
            for (key, name), rollout in self.rollouts.items()
            if key == key_of(parent) and rollout.texts and rollout.rating.score >= good
        ]

    @abstractmethod
    def inputs(self, name: str) -> dict[str, str]:
        """Return the inputs of an example, as a demonstration shows them."""

    def propose(self, text: ProgramText, origin: Origin) -> None:
        """Note where a candidate comes from; the first origin of a text counts."""
        self._origins.setdefault(key_of(text), origin)

    def file_of(self, text: ProgramText) -> Path:
        """Return the file of a candidate."""
        return store_candidate(self.program, text, self.context.run.folder / "candidates", structured=self.structured)

    def rate(self, text: ProgramText, names: Sequence[str]) -> list[Rollout]:
        """Run a candidate on examples; return a rollout for each, in order.

        Raises:
            BudgetExceeded: A ceiling is reached.
            GenerationError: The LLM or a judge gives out, which says nothing about the candidate.
        """
        key = key_of(text)
        missing = [name for name in dict.fromkeys(names) if (key, name) not in self.rollouts]
        if missing:
            for name, rollout in self._run(text, missing).items():
                self.rollouts[key, name] = rollout
            self._record(text, missing)
        return [self.rollouts[key, name] for name in names]

    def mean(self, text: ProgramText) -> float:
        """Return the mean rating of a candidate over the examples that it was run on."""
        scores = [self.rollouts[key_of(text), name].rating.score for name in self._rated(text)]
        return sum(scores) / len(scores) if scores else 0.0

    def end_early(self, reason: str) -> None:
        """Note that a ceiling ended the search, or a part of it, before its end."""
        self.context.warn("synthesize", reason)
        self.ended.append(reason)

    def end_by(self, error: StmAgentError) -> None:
        """Note what ended an optimiser: a spent budget; whatever else it was is raised."""
        if not isinstance(error, BudgetExceeded):
            raise error
        self.end_early(f"the search of texts ended early: {error}")

    def decide(self, text: ProgramText, *, accepted: bool, reason: str) -> None:
        """Record why a candidate was kept or dropped."""
        if (trial := self._names.get(key_of(text))) is not None:
            TraceStore(self.context.run.traces).decide(trial, accepted=accepted, reason=reason)

    def name_of(self, text: ProgramText) -> str:
        """Return the trial of a candidate that was run."""
        return self._names[key_of(text)]

    def _rated(self, text: ProgramText) -> list[str]:
        return [name for name in self.examples if (key_of(text), name) in self.rollouts]

    def _run(self, text: ProgramText, names: Sequence[str]) -> dict[str, Rollout]:
        try:
            return self.run(text, names)
        except OF_CANDIDATE as error:
            # A text that an LLM wrote may make a program that does not work: that costs the candidate alone.
            self.broken[key_of(text)] = str(error)
            return {name: Rollout(example=name, texts=(), rating=unusable(str(error))) for name in names}

    def _record(self, text: ProgramText, names: Sequence[str]) -> None:
        """Write the trial of a candidate when it was first run."""
        key = key_of(text)
        if key in self._names:
            return
        store = TraceStore(self.context.run.traces)
        self._names[key] = store.add(self._trace(text, names))
        titles = {name: " ".join(self.examples[name].split())[:TITLE] for name in names if name in self.examples}
        store.describe(titles, titles)

    def _trace(self, text: ProgramText, names: Sequence[str]) -> Trace:
        key = key_of(text)
        origin = self._origins.get(key, Origin(name="workspace"))
        rated = {name: self.rollouts[key, name] for name in names}
        trace = Trace(
            lever="program",
            text=text.summary,
            origin=origin.name,
            model=self.context.generator.options.model,
            parent=None if origin.parent is None else self._names.get(key_of(origin.parent)),
            mean=sum(rollout.rating.score for rollout in rated.values()) / len(rated),
            passages=len(self.examples),
            per_query={name: rollout.rating.score for name, rollout in rated.items()},
            top={name: list(rollout.texts) for name, rollout in rated.items()},
            shown=[dict(row) for row in origin.shown],
            program=str(self.file_of(text)),
        )
        answer = origin.completion
        if answer is None:
            return trace
        return replace(
            trace,
            messages=[dict(message) for message in answer.messages],
            answer=answer.text,
            tokens=answer.prompt_tokens + answer.completion_tokens,
            usd=answer.usd,
            seconds=round(answer.seconds, 4),
        )


def key_of(text: ProgramText) -> str:
    """Return what identifies a candidate."""
    return content_hash(text.parts())


def require_runnable(trials: ProgramTrials[TrialHost], first: ProgramText) -> None:
    """Rate the first candidate.

    Raises:
        BudgetExceeded: A ceiling is reached.
        GenerationError: It cannot be run.
    """
    trials.rate(first, list(trials.examples))
    if (reason := trials.broken.get(key_of(first))) is not None:
        raise GenerationError(reason)
