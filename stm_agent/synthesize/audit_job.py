"""The audit of negatives as a job: between mining or writing, and training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from stm_agent.backbone.instruction import NO_INSTRUCTION, Instruction
from stm_agent.domain.data import Pair
from stm_agent.domain.spec import AuditSpec
from stm_agent.domain.text import share
from stm_agent.evaluate.cache import EmbeddingCache
from stm_agent.evaluate.encoder import EncoderSource
from stm_agent.files import content_hash, sha256_file, write_json
from stm_agent.job import Job
from stm_agent.llm.access import LlmAccess
from stm_agent.llm.options import LlmOptions
from stm_agent.llm.text import TEXT_RULES
from stm_agent.mine.evidence import WRITTEN, Evidence, Found, Suspect, list_suspects, weigh
from stm_agent.mine.families import Family, families_of
from stm_agent.mine.negatives import Negative
from stm_agent.mine.prompted import PromptedEncoder, ready_encoder
from stm_agent.mine.score_teachers import BiEncoderTeacher, ScoreTeacher
from stm_agent.mine.teaching import ELSEWHERE, open_teacher
from stm_agent.mine.verdicts import NEGATIVE, audit, key_of
from stm_agent.program_files import program_hash
from stm_agent.synthesize.jobs import require_whole
from stm_agent.synthesize.judge import Judgement, judge_all, weights_of_grades
from stm_agent.synthesize.verdict_rows import save_verdicts

REPORT = "audit.json"
RULES = 2
"""Raised when the same evidence leads to other verdicts."""
JUDGED_RULES = 2
"""The same, of audits with a judge; 1: those of a judge that gave out were stored as whole ones."""
SHOWN = 1000
"""Most doubtful candidates of each kind that are stored even if they stay negatives: people may review them."""
OWN_TEXT = "not judged: written by the judge itself"


@dataclass(frozen=True, kw_only=True)
class AuditJob(Job):
    """Decides which negatives are relevant, and estimates how many were.

    Attributes:
        pairs: Training pairs.
        pool: Passage id -> text that was searched.
        found: What mining found and an LLM wrote.
        spec: Teacher, judge and thresholds.
        miner: The encoder that mined; None: BM25 alone.
        instruction: What the miner's queries and passages have in front of them.
        answers: People's answers: normalised query, normalised passage, answer.
        task: One line for the judge: what a query is and what should be found.
        program: File of the judge's program; None: no judge.
        judge: The LLM that judges; None: none.
        cache: Folder of cached vectors; decides no number.
    """

    kind: ClassVar[str] = "audit"
    pairs: tuple[Pair, ...]
    pool: Mapping[str, str]
    found: Found
    spec: AuditSpec
    miner: EncoderSource | None
    instruction: Instruction = NO_INSTRUCTION
    answers: tuple[tuple[str, str, str], ...] = ()
    task: str = ""
    program: Path | None = None
    judge: LlmAccess | None = None
    cache: Path

    @property
    def asks_llm(self) -> bool:
        """Whether it has a judge."""
        return self.judge is not None

    def inputs(self) -> Mapping[str, object]:
        """Return what decides the verdicts."""
        from stm_agent.backbone.identity import source_identity

        teacher = self.spec.teacher
        exclude = {"teacher": {*ELSEWHERE, *(["scores"] if teacher.file else [])}} if teacher else None
        return {
            "rules": RULES,
            "spec": self.spec.model_dump(mode="json", exclude=exclude),
            "pairs": content_hash([pair.content() for pair in self.pairs]),
            "pool": content_hash(dict(self.pool)),
            "found": [
                content_hash(_content(part))
                for part in (self.found.negatives, self.found.doubtful, self.found.relevant, self.found.written)
            ],
            "models": {role: source_identity(name) for role, name in teacher.models.items()} if teacher else {},
            "file": sha256_file(teacher.file) if teacher and teacher.file else None,
            "miner": self.miner.source_key() if self.miner else None,
            "prefixes": [self.instruction.query_prefix, self.instruction.passage_prefix],
            "answers": list(self.answers),
            "judge": [self.judge.key(), self.task, program_hash(self.program), TEXT_RULES, JUDGED_RULES]
            if self.judge and self.program
            else None,
        }

    def build(self, folder: Path) -> None:
        """Write ``audit.json`` (rates, decisions, counts) and ``verdicts.jsonl``.

        Verdicts are those of all candidates that do not stay negatives, and of the most doubtful others of each kind.

        Raises:
            BackboneError: A model cannot be loaded.
            DataError: The file of scores is broken.
            ConfigError: The judge's program cannot be used.
            BudgetExceeded: The budget is spent; judgements so far stay cached.
            GenerationError: The judge gives out; judgements so far stay cached.
        """
        suspects = list_suspects(self.pairs, self.found)
        evidence = self._weigh(suspects)
        families = families_of(evidence)
        grades, weights, judged = self._judge(families)
        answers = {(query, passage): answer for query, passage, answer in self.answers}
        audited = audit(families, self.spec, answers, weights)
        known = sum(suspect.known for suspect in evidence.suspects)
        write_json(folder / REPORT, {**audited.report, "known": known, **evidence.counts, "judge": judged})
        shown = (verdict for verdict in audited.verdicts if verdict.decision != NEGATIVE or verdict.doubt >= 1 / SHOWN)
        save_verdicts(folder, shown, grades)

    def _weigh(self, suspects: Sequence[Suspect]) -> Evidence:
        cache, encoder = EmbeddingCache(self.cache), None
        if self.miner is not None:
            prefixes = self.instruction.query_prefix, self.instruction.passage_prefix
            encoder = PromptedEncoder(self.miner.open(), *prefixes, cache)
        teacher: ScoreTeacher | None = BiEncoderTeacher(encoder) if encoder else None
        if self.spec.teacher is not None:
            texts = {**self.pool, **{suspect.passage.id: suspect.passage.text for suspect in suspects}}
            # The positives of pairs are scored by their texts.
            texts |= {pair.positive: pair.positive for pair in self.pairs}
            encoders = [ready_encoder(name, cache) for name in self.spec.teacher.encoders]
            teacher = open_teacher(self.spec.teacher, texts, encoders, cache)
        return weigh(self.pairs, suspects, self.pool, teacher=teacher, encoder=encoder)

    def _judge(
        self, families: Sequence[Family]
    ) -> tuple[dict[tuple[str, str], Judgement], dict[tuple[str, str], float], dict[str, object]]:
        """Return judgements and their weights by query and passage, and the counts of the stage."""
        # Without known positives no grade decides anything, so that none is worth a call.
        able = [(family, family.calibrated.chances.tolist()) for family in families if family.calibrated is not None]
        if self.judge is None or self.program is None or not self.spec.judged or not able:
            return {}, {}, {}
        client = self.judge.open()
        judgements: dict[tuple[str, str], Judgement] = {}
        weights: dict[tuple[str, str], float] = {}
        counts: dict[str, object] = {"model": client.model}
        try:
            for family, chances in able:
                asked, refused = self._asked(family, chances, self.judge.options)
                items = [(suspect.pair.query, suspect.passage.text) for suspect, _ in asked]
                judged = judge_all(items, task=self.task, program=self.program, client=client)
                require_whole(self.judge, judged.report)
                graded = [(s, c, j) for (s, c), j in zip(asked, judged.judgements, strict=True) if j is not None]
                judgements |= {key_of(suspect): judgement for suspect, _, judgement in graded}
                weights |= _weights(graded)
                counts[family.name] = {**judged.report.to_json(), OWN_TEXT: refused}
        finally:
            client.close()
        return judgements, weights, counts

    def _asked(
        self, family: Family, chances: Sequence[float], judge: LlmOptions
    ) -> tuple[list[tuple[Suspect, float]], int]:
        """Return the known positives and the least certain candidates, with the chance of each, and the number refused.

        An LLM does not judge what it wrote, unless the domain says so.
        """
        rows = list(zip(family.suspects, chances, strict=True))
        known = sorted((row for row in rows if row[0].known), key=lambda row: share(row[0].passage.text))
        candidates = sorted((row for row in rows if not row[0].known), key=lambda row: abs(row[1] - 0.5))
        asked = candidates[: self.spec.judged]
        own = [row for row in asked if not self.spec.own_text and self._is_own(row[0], judge)]
        kept = [row for row in asked if row not in own]
        return ([*known[: self.spec.judged], *kept] if kept else []), len(own)

    def _is_own(self, suspect: Suspect, judge: LlmOptions) -> bool:
        written = self.found.written.get(suspect.pair.id, ()) if suspect.kind == WRITTEN else ()
        origins = [dict(n.provenance) for n in written if n.text == suspect.passage.text]
        # A file of weights has many names, and texts of earlier versions have the name alone.
        return any(
            origin.get("weights") == judge.weights or judge.is_model(origin.get("generator", "")) for origin in origins
        )


def _weights(graded: Sequence[tuple[Suspect, float, Judgement]]) -> dict[tuple[str, str], float]:
    """Return the log likelihood ratio of each candidate's grade; none without known positives to learn it from."""
    known = [judgement.grade for suspect, _, judgement in graded if suspect.known]
    candidates = [(s, chance, j.grade) for s, chance, j in graded if not s.known]
    if not known or not candidates:
        return {}
    table = weights_of_grades(
        known, [grade for *_, grade in candidates], np.array([chance for _, chance, _ in candidates])
    )
    return {key_of(suspect): table[grade] for suspect, _, grade in candidates}


def _content(part: Mapping[str, tuple[Negative, ...]]) -> dict[str, list[list[str]]]:
    return {pair: [[n.text, n.source, n.passage_id] for n in row] for pair, row in part.items() if row}
