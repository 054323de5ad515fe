"""The teaching job: candidates for each training pair, retrieved from the pool and scored by a teacher.

List-wise distillation from a stronger teacher's scores raises encoders that plain InfoNCE would lower, and passages of
all ranks teach more than the hardest alone: so half of a list is drawn from strata of the scores.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from stm_agent.backbone.instruction import NO_INSTRUCTION, Instruction
from stm_agent.domain.data import Pair
from stm_agent.domain.spec import TeacherSpec
from stm_agent.domain.teacher_spec import CROSS_ENCODER, ENSEMBLE, OWN
from stm_agent.domain.text import draw
from stm_agent.errors import ConfigError
from stm_agent.evaluate.cache import EmbeddingCache
from stm_agent.evaluate.encoder import EncoderSource
from stm_agent.files import content_hash, sha256_file, write_json
from stm_agent.job import Job
from stm_agent.mine.candidates import Selection, Sheet, retrieve
from stm_agent.mine.lists import Candidate, ScoredList, save_lists
from stm_agent.mine.prompted import PromptedEncoder, ready_encoder
from stm_agent.mine.score_teachers import (
    BiEncoderTeacher,
    CrossEncoderTeacher,
    EnsembleTeacher,
    FileTeacher,
    Passage,
    ScoreTeacher,
)

COUNTS = "counts.json"
"""File of a stage with the number of its pairs, and of what was left out by reason."""
ELSEWHERE = {"judged", "own_text"}
"""Options that decide which pairs are taught, not how."""


@dataclass(frozen=True)
class Taught:
    """Scored lists by pair id, and the number of passages and pairs left out, by reason."""

    lists: Mapping[str, ScoredList]
    counts: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class TeachingJob(Job):
    """Retrieves candidates for the queries of pairs and lets a teacher score them.

    Attributes:
        pairs: Training pairs.
        pool: Passage id -> text that is searched.
        groups: Group -> passages that are never a candidate of its pairs.
        spec: The teacher, depth and number of candidates.
        retriever: Encoder that retrieves candidates beside BM25, and encoder ``own`` of the ensemble; None: the first
            of ``spec.encoders`` retrieves.
        instruction: What the retriever's queries and passages have in front of them.
        cache: Folder of cached vectors; decides no number.
    """

    kind: ClassVar[str] = "teach"
    pairs: tuple[Pair, ...]
    pool: Mapping[str, str]
    groups: Mapping[str, frozenset[str]]
    spec: TeacherSpec
    retriever: EncoderSource | None = None
    instruction: Instruction = NO_INSTRUCTION
    cache: Path

    def inputs(self) -> Mapping[str, object]:
        """Return what decides the scores."""
        from stm_agent.backbone.identity import source_identity

        groups = {pair.group: sorted(self.groups.get(pair.group, ())) for pair in self.pairs}
        return {
            # A file is known by its content, wherever it is.
            "spec": self.spec.model_dump(mode="json", exclude={*ELSEWHERE, *(["scores"] if self.spec.file else [])}),
            "pairs": content_hash([pair.content() for pair in self.pairs]),
            "pool": content_hash(dict(self.pool)),
            "groups": content_hash(groups),
            "models": {role: source_identity(name) for role, name in self.spec.models.items()},
            "file": sha256_file(self.spec.file) if self.spec.file else None,
            "retriever": self.retriever.source_key() if self.retriever else None,
            "prefixes": [self.instruction.query_prefix, self.instruction.passage_prefix],
        }

    def build(self, folder: Path) -> None:
        """Write ``candidates/`` (a ``datasets`` folder) and ``counts.json`` (passages left out, by reason).

        Raises:
            BackboneError: A model cannot be loaded.
            DataError: The file of scores is broken.
        """
        encoders, retriever = self.open_encoders()
        sheet = Sheet.of(self.pairs, self.pool, self.groups)
        teacher = open_teacher(self.spec, sheet.texts, encoders, EmbeddingCache(self.cache))
        save_taught(folder, self.pairs, teach(sheet, teacher, self.spec, retriever))

    def open_encoders(self) -> tuple[list[PromptedEncoder], PromptedEncoder | None]:
        """Return the encoders of the ensemble, and the one that retrieves; None: BM25 alone does.

        Raises:
            BackboneError: A model cannot be loaded.
            ConfigError: Encoder ``own`` is asked for, and no retriever was given.
        """
        cache, own = EmbeddingCache(self.cache), None
        if self.retriever is not None:
            prefixes = self.instruction.query_prefix, self.instruction.passage_prefix
            own = PromptedEncoder(self.retriever.open(), *prefixes, cache)
        encoders = []
        for name in self.spec.encoders:
            if name == OWN and own is None:
                raise ConfigError("teach: encoder 'own' is the model of a run; name another encoder")
            encoders.append(own if name == OWN and own is not None else ready_encoder(name, cache))
        return encoders, own or (encoders[0] if encoders else None)


def save_taught(folder: Path, pairs: Sequence[Pair], taught: Taught, more: Mapping[str, object] | None = None) -> None:
    """Write the lists of pairs, and ``counts.json`` with what was left out and whatever ``more`` says."""
    save_lists(folder, pairs, taught.lists)
    write_json(folder / COUNTS, {"pairs": len(pairs), **taught.counts, **(more or {})})


def open_teacher(
    spec: TeacherSpec, texts: Mapping[str, str], encoders: Sequence[PromptedEncoder], cache: EmbeddingCache | None
) -> ScoreTeacher:
    """Return the teacher that a spec names.

    Args:
        spec: Which teacher.
        texts: Passage id -> text of everything that may be scored.
        encoders: The opened encoders of the spec.
        cache: Stored vectors.
    """
    if spec.file:
        return FileTeacher(spec.file)
    if spec.scores == ENSEMBLE:
        return EnsembleTeacher(texts, spec.bm25, encoders, spec.weights)
    if spec.scores.startswith(CROSS_ENCODER):
        return CrossEncoderTeacher(spec.scores.removeprefix(CROSS_ENCODER))
    return BiEncoderTeacher(ready_encoder(spec.scores, cache))


def teach(
    sheet: Sheet,
    teacher: ScoreTeacher,
    spec: TeacherSpec,
    retriever: PromptedEncoder | None,
    *,
    sampler: ScoreTeacher | None = None,
) -> Taught:
    """Let a teacher score the positive and the candidates of every pair, and keep ``spec.candidates`` of these.

    Args:
        sheet: What is to be scored.
        teacher: Scores it. A file's passages are candidates too.
        spec: Depth, number of candidates and rescaling.
        retriever: Retrieves candidates beside BM25; None: BM25 alone.
        sampler: Chooses the candidates by its own scores before a dear teacher scores them; None: it scores all.
    """
    counts: Counter[str] = Counter()
    candidates = Selection(sheet, counts).usable(retrieve(sheet, teacher, spec.depth, retriever))
    lists = [
        [Passage(passage, sheet.texts[passage]) for passage in (positive, *row)]
        for positive, row in zip(sheet.positives, candidates, strict=True)
    ]
    if sampler is not None:
        lists = _sampled(sheet, lists, sampler, spec.candidates)
    taught: dict[str, ScoredList] = {}
    for pair, row, scores in zip(sheet.pairs, lists, teacher.score(sheet.questions, lists), strict=True):
        if math.isnan(scores[0]):
            counts["pairs whose positive has no score"] += 1
            continue
        counts["candidates without a score"] += sum(map(math.isnan, scores))
        known = [value for value in scores if not math.isnan(value)]
        if spec.rescales:
            low, span = min(known), (max(known) - min(known)) or 1.0
            scores = [(value - low) / span for value in scores]
        scored = [
            Candidate(passage.text, passage.id, value)
            for passage, value in zip(row[1:], scores[1:], strict=True)
            if not math.isnan(value)
        ]
        counts["pairs without a candidate"] += not scored
        taught[pair.id] = ScoredList(scores[0], choose(scored, spec.candidates, pair.id))
    return Taught(taught, dict(counts))


def _sampled(
    sheet: Sheet, lists: Sequence[Sequence[Passage]], sampler: ScoreTeacher, count: int
) -> list[list[Passage]]:
    """Return each list's positive and ``count`` of its candidates."""
    sampled = []
    for pair, row, scores in zip(sheet.pairs, lists, sampler.score(sheet.questions, lists), strict=True):
        scored = [Candidate(p.text, p.id, value) for p, value in zip(row[1:], scores[1:], strict=True)]
        chosen = choose(scored, count, pair.id)
        sampled.append([row[0], *(Passage(candidate.passage_id, candidate.text) for candidate in chosen)])
    return sampled


def choose(candidates: Sequence[Candidate], count: int, seed: str) -> tuple[Candidate, ...]:
    """Return ``count`` candidates: the hardest half, alternating with one of each of as many strata of the others.

    Args:
        candidates: Scored passages in any order.
        count: How many are wanted; fewer candidates are all returned.
        seed: Text whose hash decides the draws.
    """
    ordered = sorted(candidates, key=lambda candidate: (-candidate.score, candidate.passage_id))
    hardest, others = ordered[: (count + 1) // 2], ordered[(count + 1) // 2 :]
    strata = min(count // 2, len(others))
    bounds = [len(others) * number // strata for number in range(strata + 1)] if strata else []
    drawn = [
        others[bounds[number] + draw(f"{seed}:{number}", bounds[number + 1] - bounds[number])]
        for number in range(strata)
    ]
    chosen: list[Candidate] = []
    for number, hard in enumerate(hardest):
        chosen.append(hard)
        chosen += drawn[number : number + 1]
    return tuple(chosen)
