"""The start lever: a race of the models that could be adapted, on the search half of dev over a part of the corpus."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.data import DomainData
from stm_agent.domain.reading import reading_of
from stm_agent.domain.spec import BackboneSpec, DomainSpec, ExpertSpec
from stm_agent.domain.starts import AUTO, AUTO_STARTS, gpu_starts
from stm_agent.errors import BackboneError
from stm_agent.evaluate.baselines import bm25_run
from stm_agent.evaluate.cache import EmbeddingCache
from stm_agent.evaluate.metrics import Run, score
from stm_agent.evaluate.scoring import ScoredTask, ScoringJob, dense_run, encoding_of, read_scores
from stm_agent.evaluate.subcorpus import subcorpus
from stm_agent.loop.context import HARD, RunContext
from stm_agent.loop.fused_teacher import FusedTeacher, compare
from stm_agent.loop.halves import ACCEPT_SHARE
from stm_agent.loop.run_plan import RACE_DOCUMENTS, Speed, StartScore
from stm_agent.merge.adapted import AdaptedModel

if TYPE_CHECKING:
    from stm_agent.backbone.encoder import TextEncoder

GENTLE = 0.25
"""Factor on the learning rates of a domain that were chosen for a raw decoder, if a ready encoder is adapted: it has
less to learn, and more to forget."""


def race_starts(context: RunContext) -> tuple[BackboneSpec, tuple[StartScore, ...]]:
    """Score every start without adaptation; return the best one and the table of the race, BM25 included.

    A start that cannot be loaded is left out.

    Raises:
        BackboneError: No start can be loaded.
    """
    with context.clock.working():
        task, ranked = _race_task(context)
        lexical = score(ranked, task.split.qrels)
    rows = [StartScore(name="BM25", ndcg_at_10=lexical.ndcg_at_10, seconds_per_1000=None)]
    best: tuple[float, BackboneSpec] | None = None
    starts = (context.spec.backbone, *context.spec.starts)
    context.expect(_race_job(context, start, task) for start in starts)
    for start in starts:
        with context.attempt(f"start {start.model}"), context.timed("race", f"scoring start {start.model}"):
            row = _score(context, start, task)
            rows.append(row)
            if best is None or row.ndcg_at_10 > best[0]:
                best = (row.ndcg_at_10, start)
    if best is None:
        raise BackboneError("no start can be scored; see the failures above, and name others with --start")
    table = ", ".join(f"{row.name} {row.ndcg_at_10:.3f}" for row in rows)
    context.decide("start", f"{best[1].model} is adapted: {table}", rows=[vars(row) for row in rows])
    return best[1], tuple(rows)


def fused_teacher(context: RunContext, start: BackboneSpec) -> FusedTeacher:
    """Compare BM25 and a start together with the start alone, on what starts race on; a few seconds.

    Raises:
        BackboneError: The start cannot be loaded.
    """
    with context.clock.working():
        task, lexical = _race_task(context)
        encoder = AdaptedModel(start).open()
        instruction = Instruction.none(encoder.model.prompts)
        near = dense_run(
            EmbeddingCache(context.cache), encoder, task.documents, task.split, instruction, len(task.documents)
        )
        return compare(near, lexical, task.split.qrels)


def _race_task(context: RunContext) -> tuple[ScoredTask, Run]:
    """Return the search half over a part of the corpus, and BM25's scores of all passages of the part."""
    split = context.firewall.dev.only(context.gate.halves.search, "dev-search")
    ranked = context.lexical.run(split.queries, HARD, split.ignored_ids)
    part = subcorpus(context.documents, split, [ranked], HARD, size=RACE_DOCUMENTS)
    return ScoredTask("race", part, split), bm25_run(part, split.queries, len(part), split.ignored_ids)


def race_seconds(data: DomainData, speeds: Iterable[Speed]) -> float:
    """Return the seconds that a race takes, about, without those to load the starts.

    Args:
        data: The domain's.
        speeds: Of the starts that race.
    """
    collection = data.collection
    dev = collection.splits["dev"].queries if "dev" in collection.splits else {}
    passages, queries = min(len(collection.documents), RACE_DOCUMENTS), len(dev) * (1 - ACCEPT_SHARE)
    return sum(passages / speed.passages + queries / speed.queries for speed in speeds)


def _race_job(context: RunContext, start: BackboneSpec, task: ScoredTask) -> ScoringJob:
    model = AdaptedModel(start)
    return context.scoring_job(model, task, Instruction.none(model.open().model.prompts))


def _score(context: RunContext, start: BackboneSpec, task: ScoredTask) -> StartScore:
    folder = context.build(_race_job(context, start, task))
    texts, seconds = encoding_of(folder)
    speed = round(1000 * seconds / texts, 2) if texts else None
    return StartScore(name=start.model, ndcg_at_10=read_scores(folder)["race"].ndcg_at_10, seconds_per_1000=speed)


def warn_if_unread(context: RunContext, encoder: TextEncoder) -> None:
    """Warn if the tokenizer of the run's start hardly reads the passages; slow tokenizers are not asked."""
    tokenizer = getattr(encoder.model.tokenizer, "backend_tokenizer", None)
    if tokenizer is None:
        return
    reading = reading_of([*context.documents.values()], tokenizer)
    if reading and (warning := reading.warning(f"start {context.spec.backbone.model}")):
        context.warn("start", warning)


def fit_to_start(spec: DomainSpec, start: BackboneSpec, own: BackboneSpec) -> DomainSpec:
    """Return the domain with another start in place of its backbone.

    Learning rates that a file chose for its own backbone are lowered for a ready encoder, which needs little, and a
    teacher that is the start itself, or the encoder that it replaces, is left out. A planned domain has learning rates
    for ready encoders and no teacher.

    Args:
        spec: The domain, perhaps :func:`with_starts`.
        start: The model that is adapted.
        own: The backbone that the domain had before a user named starts.
    """
    changes: dict[str, object] = {"backbone": start, "starts": ()}
    if not spec.planned and start != own and is_ready(start.model) and not is_ready(own.model):
        train = spec.train.model_copy(update={"learning_rate": spec.train.learning_rate * GENTLE})
        changes |= {"train": train, "experts": tuple(_gently(expert) for expert in spec.experts)}
    return spec.model_copy(update=changes)


def _gently(expert: ExpertSpec) -> ExpertSpec:
    rate = None if expert.learning_rate is None else expert.learning_rate * GENTLE
    return expert.model_copy(update={"learning_rate": rate, "teacher_weight": 0.0})


def is_ready(name: str) -> bool:
    """Return whether a model was trained as an embedding model, that is, saved by sentence-transformers."""
    from sentence_transformers.util import is_sentence_transformer_model

    from stm_agent.backbone.embedded import resolve_model

    return bool(is_sentence_transformer_model(resolve_model(name)))


def with_starts(spec: DomainSpec, names: tuple[str, ...]) -> DomainSpec:
    """Return the domain with the starts that a user names; ``auto`` stands for those within reach of this machine.

    The domain's own backbone stays in the race only with ``auto``.
    """
    if not names:
        return spec
    starts: list[BackboneSpec] = []
    for name in names:
        starts += [*AUTO_STARTS[:1], spec.backbone, *spec.starts, *gpu_starts()] if name == AUTO else [_named(name)]
    first, *others = dict.fromkeys(starts)
    return spec.model_copy(update={"backbone": first, "starts": tuple(others)})


def with_one_start(spec: DomainSpec, names: tuple[str, ...]) -> DomainSpec:
    """Return the domain with one start, the first that a user names: comparing texts takes one model and no race."""
    return with_starts(spec, names[:1]).model_copy(update={"starts": ()})


def _named(name: str) -> BackboneSpec:
    path = Path(name).expanduser()
    return BackboneSpec(model=str(path.resolve()) if path.is_dir() else name)
