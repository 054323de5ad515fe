"""Candidates of a program that writes queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stm_agent.domain.data import Pair
from stm_agent.files import read_json
from stm_agent.loop.context import RunContext
from stm_agent.loop.grading import Grader
from stm_agent.loop.material import Material, nothing_usable
from stm_agent.loop.program_trials import ProgramTrials, Rollout
from stm_agent.loop.query_rating import writing_job
from stm_agent.synthesize.feedback import QueryRater, Rating, judged, unusable
from stm_agent.synthesize.program_text import ProgramText
from stm_agent.synthesize.queries import load_pairs

SHOWN_QUERIES = 5
"""Queries of people that the reflecting LLM sees."""


@dataclass(kw_only=True)
class QueryTrials(ProgramTrials[RunContext]):
    """Candidates that write queries for passages.

    Attributes:
        rater: Rates queries without training.
        held: Passages that every candidate writes for before it is trained on, id -> text.
        people: Pairs whose queries people wrote.
        grader: Judges whether a query leads to its passage; None: nobody.
    """

    rater: QueryRater
    held: Mapping[str, str]
    people: tuple[Pair, ...] = ()
    grader: Grader | None = None

    def run(self, text: ProgramText, names: Sequence[str]) -> dict[str, Rollout]:
        """Let a candidate write for some passages, and rate what it wrote."""
        passages = {name: self.examples[name] for name in names}
        job = writing_job(self.context, self.file_of(text), self.context.generator, passages, 0)
        folder = self.context.build(job)
        written: dict[str, list[Pair]] = {}
        for pair in load_pairs(folder):
            written.setdefault(pair.group, []).append(pair)
        refused = ", ".join(read_json(folder / "pairs.json")["refused"]) or "nothing was written"
        ratings = self._ratings([pair for row in written.values() for pair in row])
        return {name: _rollout(name, written.get(name, []), ratings, refused) for name in names}

    def write(self, text: ProgramText) -> Material:
        """Let a candidate write for the passages that are trained on.

        Raises:
            StmAgentError: The budget is spent, the LLM or the program fails, or no query can be used.
        """
        job = writing_job(self.context, self.file_of(text), self.context.generator, self.held, self.context.seed)
        folder = self.context.build(job)
        pairs = load_pairs(folder)
        if not pairs:
            raise nothing_usable(self.program, "query", len(self.held), read_json(folder / "pairs.json")["refused"])
        return Material(pairs=pairs)

    def usual(self) -> Sequence[str]:
        """Return queries of people."""
        return [pair.query for pair in self.people[:SHOWN_QUERIES]]

    def demonstrations(self, parent: ProgramText, good: float) -> list[tuple[dict[str, str], tuple[str, ...]]]:
        """Return pairs of people beside the candidate's own best."""
        people = [({"task": self.task, "passage": pair.positive}, (pair.query,)) for pair in self.people]
        return people + super().demonstrations(parent, good)

    def inputs(self, name: str) -> dict[str, str]:
        """Return the task and the passage."""
        return {"task": self.task, "passage": self.examples[name]}

    def _ratings(self, pairs: Sequence[Pair]) -> dict[str, Rating]:
        ratings = self.rater.rate([(pair.group, pair.query) for pair in pairs])
        if self.grader is not None:
            grades = self.grader.grade([(pair.query, pair.positive) for pair in pairs])
            ratings = [judged(rating, grade, wanted=3) for rating, grade in zip(ratings, grades, strict=True)]
        return {pair.id: rating for pair, rating in zip(pairs, ratings, strict=True)}


def _rollout(name: str, pairs: Sequence[Pair], ratings: Mapping[str, Rating], refused: str) -> Rollout:
    """Return the queries of one passage with their mean rating and the feedback on the worst."""
    if not pairs:
        return Rollout(example=name, texts=(), rating=unusable(refused))
    rows = [ratings[pair.id] for pair in pairs]
    worst = min(rows, key=lambda rating: rating.score)
    mean = sum(rating.score for rating in rows) / len(rows)
    rating = Rating(score=mean, round_trip=worst.round_trip, overlap=worst.overlap, feedback=worst.feedback)
    return Rollout(example=name, texts=tuple(pair.query for pair in pairs), rating=rating)
