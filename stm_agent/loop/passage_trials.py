"""Candidates of programs that write passages: hard negatives, and passages of graded relevance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from stm_agent.domain.data import Pair
from stm_agent.domain.spec import NegativeSpec
from stm_agent.files import read_json
from stm_agent.loop.context import RunContext
from stm_agent.loop.grading import Grader
from stm_agent.loop.material import Material, nothing_usable
from stm_agent.loop.program_trials import ProgramTrials, Rollout
from stm_agent.mine.negatives import Negative
from stm_agent.mine.store import load_negatives
from stm_agent.synthesize.feedback import Rating, unusable
from stm_agent.synthesize.graded import GradedPassages, load_graded
from stm_agent.synthesize.jobs import GradedJob, HardNegativesJob
from stm_agent.synthesize.judge import Judgement
from stm_agent.synthesize.passage_feedback import PassageRater
from stm_agent.synthesize.program_text import ProgramText
from stm_agent.synthesize.rows import ACCEPTED, Row, load_rows
from stm_agent.train.job import Negatives


@dataclass(kw_only=True)
class PairTrials(ProgramTrials[RunContext]):
    """What candidates that write passages for pairs share.

    Attributes:
        pairs: Example -> pair.
        held: Pairs that every candidate writes for before it is trained on.
        mined: Pair id -> mined negatives.
        rater: Rates passages without training.
        grader: Judges what was written; None: nobody.
    """

    pairs: Mapping[str, Pair]
    held: tuple[Pair, ...]
    mined: Negatives
    rater: PassageRater
    grader: Grader | None = None

    def inputs(self, name: str) -> dict[str, str]:
        """Return task, query and positive."""
        pair = self.pairs[name]
        return {"task": self.task, "query": pair.query, "passage": pair.positive}

    def grades(self, items: Sequence[tuple[str, str]]) -> Sequence[Judgement | None]:
        """Return the judge's grades of queries and passages; None for each without a judge."""
        return self.grader.grade(items) if self.grader is not None else (None,) * len(items)


class NegativeTrials(PairTrials):
    """Candidates that write hard negatives."""

    def run(self, text: ProgramText, names: Sequence[str]) -> dict[str, Rollout]:
        """Let a candidate write a negative for each of some pairs, and rate it."""
        folder = self.context.build(self._job(text, [self.pairs[name] for name in names]))
        rows = {row.id.rpartition("#")[0]: row for row in load_rows(folder)}
        usable = [name for name in names if name in rows and rows[name].verdict == ACCEPTED]
        items = [(rows[name].query, rows[name].negatives[0].text) for name in usable]
        grades = dict(zip(usable, self.grades(items), strict=True))
        return {name: self._rollout(name, rows.get(name), grades.get(name)) for name in names}

    def write(self, text: ProgramText) -> Material:
        """Let a candidate write a negative for each pair that is trained on.

        Raises:
            StmAgentError: The budget is spent, the LLM or the program fails, or no negative can be used.
        """
        folder = self.context.build(self._job(text, self.held))
        negatives = load_negatives(folder)
        if not any(negatives.values()):
            counts = read_json(folder / "written.json")["refused"]
            raise nothing_usable(self.program, "negative", len(self.held), counts)
        return Material(pairs=self.held, negatives=negatives, options={"negatives": NegativeSpec(synthetic=1)})

    def inputs(self, name: str) -> dict[str, str]:
        """Return task, query, positive and the mined negative."""
        return {**super().inputs(name), "mined": self._mined(name)}

    def _mined(self, name: str) -> str:
        return "".join(negative.text for negative in self.mined.get(name, ())[:1])

    def _rollout(self, name: str, row: Row | None, grade: Judgement | None) -> Rollout:
        if row is None or row.verdict != ACCEPTED:
            reason = row.reason if row else "nothing was written"
            return Rollout(example=name, texts=(), rating=unusable(reason))
        text = row.negatives[0].text
        rating: Rating = self.rater.negative(self.pairs[name], self._mined(name), text, grade)
        return Rollout(example=name, texts=(text,), rating=rating)

    def _job(self, text: ProgramText, pairs: Sequence[Pair]) -> HardNegativesJob:
        return HardNegativesJob(
            pairs=tuple(pairs),
            mined={pair.id: self.mined.get(pair.id, ()) for pair in pairs},
            task=self.task,
            program=self.file_of(text),
            generator=self.context.generator,
            spec=self.context.spec.synthesize,
        )


class GradedTrials(PairTrials):
    """Candidates that write passages of graded relevance."""

    def run(self, text: ProgramText, names: Sequence[str]) -> dict[str, Rollout]:
        """Let a candidate write a passage of each level for some pairs, and rate them."""
        folder = self.context.build(self._job(text, [self.pairs[name] for name in names]))
        written, refused = _levels(load_rows(folder), names)
        items = [(name, level) for name in names for level in written[name]]
        grades = self.grades([(self.pairs[name].query, written[name][level]) for name, level in items])
        judged: dict[str, dict[int, Judgement | None]] = {name: {} for name in names}
        for (name, level), grade in zip(items, grades, strict=True):
            judged[name][level] = grade
        return {name: self._rollout(name, written[name], refused[name], judged[name]) for name in names}

    def write(self, text: ProgramText) -> Material:
        """Let a candidate write passages for each pair that is trained on.

        Raises:
            StmAgentError: The budget is spent, the LLM or the program fails, or no passage can be used.
        """
        folder = self.context.build(self._job(text, self.held))
        graded = load_graded(folder)
        if not graded:
            counts = read_json(folder / "written.json")["refused"]
            raise nothing_usable(self.program, "graded passage", len(self.held), counts)
        none = GradedPassages()
        pairs = tuple(replace(pair, related=graded.get(pair.id, none).related) for pair in self.held)
        negatives = {
            name: tuple(Negative(text, "synthetic") for text in passages.negatives)
            for name, passages in graded.items()
            if passages.negatives
        }
        options = {"loss": "listwise", "related": 2, "negatives": NegativeSpec(synthetic=1)}
        return Material(pairs=pairs, negatives=negatives, options=options)

    def _rollout(
        self, name: str, texts: Mapping[int, str], refused: Sequence[str], grades: Mapping[int, Judgement | None]
    ) -> Rollout:
        if not texts:
            return Rollout(
                example=name, texts=(), rating=unusable(", ".join(dict.fromkeys(refused)) or "nothing was written")
            )
        rating = self.rater.graded(self.pairs[name], texts, grades)
        if refused:
            missing = ", ".join(dict.fromkeys(refused))
            rating = replace(rating, feedback=f"{rating.feedback}; {len(refused)} passages cannot be used: {missing}")
        return Rollout(example=name, texts=tuple(texts[level] for level in sorted(texts, reverse=True)), rating=rating)

    def _job(self, text: ProgramText, pairs: Sequence[Pair]) -> GradedJob:
        return GradedJob(
            pairs=tuple(pairs),
            task=self.task,
            program=self.file_of(text),
            generator=self.context.generator,
            spec=self.context.spec.synthesize,
        )


def _levels(rows: Sequence[Row], names: Sequence[str]) -> tuple[dict[str, dict[int, str]], dict[str, list[str]]]:
    """Return example -> level -> usable passage, and example -> why others cannot be used."""
    written: dict[str, dict[int, str]] = {name: {} for name in names}
    refused: dict[str, list[str]] = {name: [] for name in names}
    for row in rows:
        name, _, level = row.id.rpartition("#grade ")
        if row.verdict == ACCEPTED:
            written[name][int(level)] = (row.negatives or row.positives)[-1].text
        else:
            refused[name].append(row.reason)
    return written, refused
