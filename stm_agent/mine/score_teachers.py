"""Teachers that score passages for queries: an ensemble, a bi-encoder, a cross-encoder, a file of scores."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stm_agent.backbone.memory_errors import memory_errors
from stm_agent.errors import BackboneError, ConfigError, DataError, first_line, raised_as
from stm_agent.evaluate.bm25 import Bm25Index
from stm_agent.mine.prompted import PromptedEncoder

UNSCORED = math.nan
"""Score of a passage that a teacher knows nothing about."""


@dataclass(frozen=True)
class Question:
    """A query to be scored.

    Attributes:
        text: The query.
        names: Ids under which a file may have its scores, the first one that has any counts.
    """

    text: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Passage:
    """A passage to be scored; ``id`` is its id in the corpus."""

    id: str
    text: str


class ScoreTeacher(Protocol):
    """Scores passages for queries."""

    def score(self, questions: Sequence[Question], lists: Sequence[Sequence[Passage]]) -> list[list[float]]:
        """Return one score for each passage of each question's list, higher is more relevant; NaN: unscored."""
        ...


class BiEncoderTeacher:
    """Cosines of an encoder."""

    def __init__(self, encoder: PromptedEncoder) -> None:
        """Use ``encoder``."""
        self.encoder = encoder

    def score(self, questions: Sequence[Question], lists: Sequence[Sequence[Passage]]) -> list[list[float]]:
        """Return cosines; every distinct passage is encoded once."""
        numbers: dict[str, int] = {}
        for row in lists:
            for passage in row:
                numbers.setdefault(passage.text, len(numbers))
        if not numbers:
            return [[] for _ in lists]
        passages = self.encoder.passages(list(numbers))
        queries = self.encoder.queries([question.text for question in questions])
        rows = [[numbers[passage.text] for passage in row] for row in lists]
        return [(passages[row] @ query).tolist() if row else [] for query, row in zip(queries, rows, strict=True)]


class EnsembleTeacher:
    """Weighted sum of BM25, divided by the query's best BM25 score, and of the cosines of encoders."""

    def __init__(
        self, texts: Mapping[str, str], bm25: float, encoders: Sequence[PromptedEncoder], weights: Sequence[float]
    ) -> None:
        """Index ``texts`` (passage id -> text), among which every passage to be scored must be."""
        self._columns = {passage: column for column, passage in enumerate(texts)}
        self._index = Bm25Index(texts) if bm25 else None
        self._bm25 = bm25
        self._encoders = [
            (BiEncoderTeacher(encoder), weight) for encoder, weight in zip(encoders, weights, strict=True)
        ]

    def score(self, questions: Sequence[Question], lists: Sequence[Sequence[Passage]]) -> list[list[float]]:
        """Return the weighted sums."""
        sums = [self._words(question, row) for question, row in zip(questions, lists, strict=True)]
        for teacher, weight in self._encoders:
            if weight:
                for total, cosines in zip(sums, teacher.score(questions, lists), strict=True):
                    total += weight * np.asarray(cosines, dtype=np.float64)
        return [total.tolist() for total in sums]

    def _words(self, question: Question, row: Sequence[Passage]) -> NDArray[np.float64]:
        if self._index is None or not row:
            return np.zeros(len(row))
        scores = self._index.scores(question.text)
        best = float(scores.max())
        columns = [self._columns[passage.id] for passage in row]
        return self._bm25 * scores[columns].astype(np.float64) / best if best > 0 else np.zeros(len(row))


class CrossEncoderTeacher:
    """Raw scores of a sentence-transformers ``CrossEncoder`` with one output."""

    def __init__(self, name: str, batch_size: int = 32) -> None:
        """Load a folder or a Hub name.

        Raises:
            BackboneError: It cannot be loaded.
            ConfigError: It has more than one output.
        """
        import torch
        from sentence_transformers import CrossEncoder

        from stm_agent.backbone.embedded import resolve_model

        with raised_as(lambda error: BackboneError(f"cannot load cross-encoder {name}: {first_line(error)}")):
            self._model = CrossEncoder(resolve_model(name), activation_fn=torch.nn.Identity())
        if self._model.num_labels != 1:
            raise ConfigError(f"cross-encoder {name} has {self._model.num_labels} outputs; name one that has 1")
        self._batch_size = batch_size

    def score(self, questions: Sequence[Question], lists: Sequence[Sequence[Passage]]) -> list[list[float]]:
        """Return the model's outputs before any activation; every distinct pair of texts is scored once."""
        rows = [
            [(question.text, passage.text) for passage in row] for question, row in zip(questions, lists, strict=True)
        ]
        distinct = list(dict.fromkeys(pair for row in rows for pair in row))
        if not distinct:
            return [[] for _ in lists]
        with memory_errors("scoring with a cross-encoder", fix="take a smaller one"):
            outputs = self._model.predict(distinct, batch_size=self._batch_size, show_progress_bar=False)
        scores = dict(zip(distinct, np.asarray(outputs, dtype=np.float64).tolist(), strict=True))
        return [[scores[pair] for pair in row] for row in rows]


class FileTeacher:
    """Scores of a file: a TREC run, or JSONL with ``query-id``, ``corpus-id`` and ``score``."""

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            DataError: It cannot be read, or a line is neither.
        """
        try:
            # Not splitlines(): U+2028 and its like are ordinary characters inside a JSON string.
            lines = path.read_text(encoding="utf-8-sig").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"cannot read the scores in {path}: {first_line(error)}") from error
        self._scores: dict[str, dict[str, float]] = {}
        for number, line in enumerate(lines, 1):
            if line.strip():
                query, passage, value = _score_line(line, f"{path}:{number}")
                self._scores.setdefault(query, {})[passage] = value

    def listed(self, question: Question) -> tuple[str, ...]:
        """Return the ids of the passages that the file scores for a question."""
        return tuple(self._row(question))

    def score(self, questions: Sequence[Question], lists: Sequence[Sequence[Passage]]) -> list[list[float]]:
        """Return the file's scores."""
        return [
            [self._row(question).get(passage.id, UNSCORED) for passage in row]
            for question, row in zip(questions, lists, strict=True)
        ]

    def _row(self, question: Question) -> Mapping[str, float]:
        return next((self._scores[name] for name in question.names if name in self._scores), {})


def _score_line(line: str, site: str) -> tuple[str, str, float]:
    try:
        if line.lstrip().startswith("{"):
            row = json.loads(line)
            query, passage, value = str(row["query-id"]), str(row["corpus-id"]), float(row["score"])
        else:
            query, _, passage, _, score, _ = line.split()
            value = float(score)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{site} is not a score; write JSONL with query-id, corpus-id and score, or a TREC run"
        ) from error
    if not math.isfinite(value):
        raise DataError(f"{site} has the score {value}; scores are finite numbers")
    return query, passage, value
