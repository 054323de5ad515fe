"""The start at its own length, of which a plan may read fewer tokens to save minutes.

Such a run measures its gains against the shortened start, while a user could have had the start as it comes. So two
things hold at the end: what is exported without a confirmed model is the start at its own length, and a confirmed model
that scores below that start is refused. The second is a veto, not a test: it can take a claim back and never makes one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypedDict, cast

from stm_agent.domain.spec import BackboneSpec
from stm_agent.evaluate.cache import EmbeddingCache
from stm_agent.evaluate.corpus import stored_as
from stm_agent.evaluate.scoring import ScoredTask
from stm_agent.evaluate.subcorpus import subcorpus
from stm_agent.loop.context import HARD, RunContext
from stm_agent.loop.starting import is_ready
from stm_agent.loop.state import RatedModel
from stm_agent.merge.adapted import AdaptedModel

EVENT = "own length"
"""Event of the ledger: a confirmed model beside the untouched start, both scored on the same part of the corpus."""

TASK = "own-length"
"""Name of what both are scored on."""


@dataclass(frozen=True, kw_only=True)
class OwnLength:
    """A start whose own length is not the one that a run reads it with.

    Attributes:
        start: The start at its own length.
        tokens: Tokens of each text that it reads then; None: all.
        read: Tokens of each text that the run reads.
        asked: Whether the user asked for the run's length; the export keeps it then, without a veto.
    """

    start: BackboneSpec
    tokens: int | None
    read: int
    asked: bool

    @property
    def is_longer(self) -> bool:
        """Return whether the run reads fewer tokens than the start does by itself."""
        return self.tokens is None or self.tokens > self.read

    @property
    def shown(self) -> str:
        """Return the number of its own tokens for people."""
        return "all" if self.tokens is None else f"{self.tokens:,}"


class Comparison(TypedDict):
    """An entry of the ledger, :data:`EVENT`: nDCG@10 of both on the accept half's queries over a part of the corpus."""

    model: str
    own: int | None
    read: int
    passages: int
    queries: int
    untouched: float
    confirmed: float
    refused: bool


def own_length(context: RunContext) -> OwnLength | None:
    """Return the start of a run at its own length; None: the run reads it so, or it is a network without one.

    Raises:
        BackboneError: The start cannot be loaded.
    """
    start, plan = context.spec.backbone, context.plan
    if plan is None or start.max_length is None:
        return None
    whole = start.model_copy(update={"max_length": None})
    with context.clock.working():
        has_length, tokens = _own_tokens(whole)
    if not has_length or tokens == start.max_length:
        return None
    asked = plan.asked.get(start.model) is not None
    return OwnLength(start=whole, tokens=tokens, read=start.max_length, asked=asked)


@lru_cache(maxsize=8)
def _own_tokens(start: BackboneSpec) -> tuple[bool, int | None]:
    """Return whether a start has a length of its own, as ready encoders have, and how many tokens it is; None: all."""
    if not is_ready(start.model):
        return False, None
    longest = AdaptedModel(start).open().model.max_seq_length
    return True, int(longest) if longest else None


def at_own_length(context: RunContext, rated: RatedModel) -> RatedModel:
    """Return what is exported for a model: the untouched start of a plan at its own length, any other as it is."""
    if rated.model != context.backbone or (own := own_length(context)) is None or own.asked:
        return rated
    return plain_start(rated, own)


def plain_start(base: RatedModel, own: OwnLength) -> RatedModel:
    """Return the untouched start at its own length; the rating stays that of the length which the run reads."""
    return replace(base, model=AdaptedModel(own.start))


def refusal(context: RunContext, base: RatedModel, confirmed: RatedModel) -> str:
    """Return why a confirmed model is not taken although its gain is; empty: it is taken.

    If the run reads fewer tokens than the start does by itself, both are scored once on the accept half's queries over
    a part of the corpus. The model is refused if its mean nDCG@10 is below that of the untouched start, with a warning.
    If the start cannot be scored so, the failure is recorded and the model is taken.

    Args:
        context: The run; its ledger gets a :class:`Comparison`.
        base: The untouched start without instruction, as the run reads it.
        confirmed: The model, or the start with an instruction.
    """
    own = own_length(context)
    if own is None or own.asked or not own.is_longer:
        return ""
    plain, exported = at_own_length(context, base), at_own_length(context, confirmed)
    if (plain.model, plain.instruction.texts) == (exported.model, exported.instruction.texts):
        return ""
    text = f"scoring the untouched start with {own.shown} instead of {own.read} tokens of each text"
    with context.attempt("untouched start at its own length"), context.timed(TASK, text):
        compared = _compare(context, own, plain, exported)
        context.run.ledger.record(EVENT, **compared)
        if compared["refused"]:
            context.warn("confirmation", _warning(own, confirmed.label, compared))
            return f"refused, since the untouched start is above it with its own {own.shown} tokens of each text"
    return ""


def comparison_of(context: RunContext, label: str) -> Comparison | None:
    """Return the newest comparison of a model with the untouched start; None: there was none."""
    entries = [entry for entry in context.run.ledger.entries(EVENT) if entry["model"] == label]
    return cast("Comparison", entries[-1]) if entries else None


def share_vectors(context: RunContext, plain: RatedModel, texts: Sequence[str]) -> list[str]:
    """Use the vectors of texts that fit the run's length for the start at its own length, which computes the same.

    Args:
        context: The run.
        plain: The start at its own length.
        texts: Passages.

    Returns:
        The distinct texts that are still to be encoded; all of a corpus whose vectors are stored in shards.
    """
    with context.clock.working():
        cache, prefix = EmbeddingCache(context.cache), plain.instruction.passage_prefix
        read, whole = context.backbone.open(), plain.model.open()
        if stored_as(len(texts), whole.dimension, whole.vector_format) is None:
            shorter = min((read, whole), key=lambda encoder: encoder.model.max_seq_length or math.inf)
            cache.share(read, whole, shorter.whole(texts, prefix=prefix), prefix=prefix)
        return cache.missing(whole, texts, prefix=prefix)


def _compare(context: RunContext, own: OwnLength, plain: RatedModel, exported: RatedModel) -> Comparison:
    task = _part(context)
    share_vectors(context, plain, [*task.documents.values()])
    untouched, confirmed = (
        context.score(rated.model, task, rated.instruction).ndcg_at_10 for rated in (plain, exported)
    )
    return {
        "model": exported.label,
        "own": own.tokens,
        "read": own.read,
        "passages": len(task.documents),
        "queries": len(task.split.queries),
        "untouched": untouched,
        "confirmed": confirmed,
        "refused": confirmed < untouched,
    }


def _part(context: RunContext) -> ScoredTask:
    """Return the accept half over a part of the corpus: judged passages, hard ones of BM25 and the start, others."""
    split, size = context.accept.split, context.spec.loop.search_documents
    with context.clock.working():
        runs = context.rankings(split, dense=True)
        return ScoredTask(TASK, subcorpus(context.documents, split, runs, HARD, size=size), split)


def _warning(own: OwnLength, label: str, compared: Comparison) -> str:
    return (
        f"{label} is refused and the start kept: the run reads {own.read} tokens of each text, and it has nDCG@10 "
        f"{compared['confirmed']:.4f} on {compared['queries']:,} accept queries over {compared['passages']:,} "
        f"passages, the untouched start with its own {own.shown} tokens {compared['untouched']:.4f}; more minutes, or "
        "max_length in the domain file, train it with more tokens"
    )
