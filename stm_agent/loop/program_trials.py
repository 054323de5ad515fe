"""Candidates of a program: written to files, run on passages, rated passage by passage, and recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stm_agent.domain.data import Pair
from stm_agent.errors import BudgetExceeded, ConfigError, GenerationError
from stm_agent.files import content_hash, read_json
from stm_agent.loop.context import RunContext
from stm_agent.loop.query_rating import writing_job
from stm_agent.synthesize.feedback import QueryRater, Rating, unusable
from stm_agent.synthesize.jobs import QueriesJob
from stm_agent.synthesize.program_text import ProgramText, store_candidate
from stm_agent.synthesize.queries import load_pairs
from stm_agent.traces import Trace, TraceStore

if TYPE_CHECKING:
    from stm_agent.llm.answer import Completion

TITLE = 90
"""Characters of a passage that a trace holds."""


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """How an optimiser searches.

    Attributes:
        proposals: Most candidates that are proposed.
        seed: Seed of its choices.
        stops: Whether it must stop: a budget is used up as far as it may be.
    """

    proposals: int
    seed: int
    stops: Callable[[], bool] = lambda: False


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a candidate comes from.

    Attributes:
        name: ``workspace``, ``reflection``, ``demonstrations`` or ``mipro``.
        parent: The candidate that it was made from; None: the first one.
        completion: The answer that it was read from; None: no LLM wrote it.
        shown: Rated passages that the LLM was shown.
    """

    name: str
    parent: ProgramText | None = None
    completion: Completion | None = None
    shown: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """What a candidate wrote for one passage, and its rating."""

    passage: str
    queries: tuple[str, ...]
    rating: Rating


@dataclass
class ProgramTrials:
    """The candidates of one search. Everything is a job or a cached answer, so a resumed search repeats for nothing.

    Attributes:
        context: The run.
        program: File of the program that the candidates are made from.
        structured: Whether the generator is asked for typed outputs, for which a program may have a module of its own.
        rater: Rates queries without training.
        passages: Example passages, id -> text.
        rollouts: (Candidate, passage id) -> rollout.
        broken: Candidate -> why its program could not be run.
    """

    context: RunContext
    program: Path
    structured: bool
    rater: QueryRater
    passages: Mapping[str, str]
    rollouts: dict[tuple[str, str], Rollout] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    _origins: dict[str, Origin] = field(default_factory=dict)
    _names: dict[str, str] = field(default_factory=dict)

    def propose(self, text: ProgramText, origin: Origin) -> None:
        """Note where a candidate comes from; the first origin of a text counts."""
        self._origins.setdefault(key_of(text), origin)

    def file_of(self, text: ProgramText) -> Path:
        """Return the file of a candidate."""
        return store_candidate(self.program, text, self.context.run.folder / "candidates", structured=self.structured)

    def job(self, text: ProgramText, passages: Mapping[str, str], seed: int) -> QueriesJob:
        """Return the job in which a candidate writes for some passages."""
        return writing_job(self.context, self.file_of(text), self.context.generator, passages, seed)

    def rate(self, text: ProgramText, names: Sequence[str]) -> list[Rollout]:
        """Run a candidate on example passages; return a rollout for each, in order.

        Raises:
            BudgetExceeded: A ceiling is reached.
        """
        key = key_of(text)
        missing = [name for name in dict.fromkeys(names) if (key, name) not in self.rollouts]
        if missing:
            for name, rollout in self._run(text, missing).items():
                self.rollouts[key, name] = rollout
            self._record(text, missing)
        return [self.rollouts[key, name] for name in names]

    def mean(self, text: ProgramText) -> float:
        """Return the mean rating of a candidate over the passages that it was run on."""
        scores = [rollout.rating.score for (key, _), rollout in self.rollouts.items() if key == key_of(text)]
        return sum(scores) / len(scores) if scores else 0.0

    def decide(self, text: ProgramText, *, accepted: bool, reason: str) -> None:
        """Record why a candidate was kept or dropped."""
        if (trial := self._names.get(key_of(text))) is not None:
            TraceStore(self.context.run.traces).decide(trial, accepted=accepted, reason=reason)

    def name_of(self, text: ProgramText) -> str:
        """Return the trial of a candidate that was run."""
        return self._names[key_of(text)]

    def _run(self, text: ProgramText, names: Sequence[str]) -> dict[str, Rollout]:
        key = key_of(text)
        try:
            folder = self.context.build(self.job(text, {name: self.passages[name] for name in names}, seed=0))
        except BudgetExceeded:
            raise
        except (GenerationError, ConfigError) as error:
            # A text that an LLM wrote may make a program that does not work: that costs the candidate alone.
            self.broken[key] = str(error)
            return {name: Rollout(passage=name, queries=(), rating=unusable(str(error))) for name in names}
        written: dict[str, list[Pair]] = {}
        for pair in load_pairs(folder):
            written.setdefault(pair.group, []).append(pair)
        refused = ", ".join(read_json(folder / "pairs.json")["refused"]) or "nothing was written"
        return {name: self._rated(name, written.get(name, []), refused) for name in names}

    def _rated(self, name: str, pairs: Sequence[Pair], refused: str) -> Rollout:
        if not pairs:
            return Rollout(passage=name, queries=(), rating=unusable(refused))
        queries = tuple(pair.query for pair in pairs)
        ratings = self.rater.rate([(name, query) for query in queries])
        worst = min(ratings, key=lambda rating: rating.score)
        mean = sum(rating.score for rating in ratings) / len(ratings)
        rating = Rating(score=mean, round_trip=worst.round_trip, overlap=worst.overlap, feedback=worst.feedback)
        return Rollout(passage=name, queries=queries, rating=rating)

    def _record(self, text: ProgramText, names: Sequence[str]) -> None:
        """Write the trial of a candidate when it was first run."""
        key = key_of(text)
        if key in self._names:
            return
        origin, store = self._origins.get(key, Origin(name="workspace")), TraceStore(self.context.run.traces)
        answer = origin.completion
        rated = {name: self.rollouts[key, name] for name in names}
        parent = None if origin.parent is None else self._names.get(key_of(origin.parent))
        self._names[key] = store.add(
            Trace(
                lever="program",
                text=text.summary,
                origin=origin.name,
                model=self.context.generator.options.model,
                parent=parent,
                mean=sum(rollout.rating.score for rollout in rated.values()) / len(rated),
                passages=len(self.rater.pool),
                per_query={name: rollout.rating.score for name, rollout in rated.items()},
                top={name: list(rollout.queries) for name, rollout in rated.items()},
                messages=[dict(message) for message in answer.messages] if answer else [],
                answer=answer.text if answer else "",
                shown=[dict(row) for row in origin.shown],
                tokens=answer.prompt_tokens + answer.completion_tokens if answer else 0,
                usd=answer.usd if answer else 0.0,
                seconds=round(answer.seconds, 4) if answer else 0.0,
                program=str(self.file_of(text)),
            )
        )
        store.describe({name: " ".join(self.passages[name].split())[:TITLE] for name in names}, {})


def key_of(text: ProgramText) -> str:
    """Return what identifies a candidate."""
    return content_hash(text.parts())


def require_runnable(trials: ProgramTrials, first: ProgramText) -> None:
    """Rate the first candidate.

    Raises:
        BudgetExceeded: A ceiling is reached.
        GenerationError: It cannot be run.
    """
    trials.rate(first, list(trials.passages))
    if (reason := trials.broken.get(key_of(first))) is not None:
        raise GenerationError(reason)
