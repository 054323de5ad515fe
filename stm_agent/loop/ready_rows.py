"""Rows of ready-made encoders on test: the domain's baseline, and the start as it comes if a plan reads less of a text.

If a plan chose the baseline as the start, the vectors of the untouched start are used: no corpus is encoded twice.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stm_agent.backbone.instruction import Instruction
from stm_agent.evaluate.baselines import ReadyModel
from stm_agent.evaluate.encoder import EncoderSource
from stm_agent.files import sha256_text
from stm_agent.loop.context import RunContext
from stm_agent.loop.own_length import OwnLength, comparison_of, own_length, plain_start, share_vectors
from stm_agent.loop.state import RatedModel, State

BASE, UNTOUCHED = "base", "untouched start"
"""Rows of the start as the run reads it, and of a start at its own length that is not the domain's baseline."""
ROW_NAMES = {"embedded:all-minilm-l6-v2": "all-MiniLM-L6-v2"}

EVENT = "untouched row"
"""Event of the ledger: whether test scores the start at its own length."""

TIMED = 64
"""Texts that are encoded to estimate the time of the others."""


@dataclass(frozen=True, kw_only=True)
class PlainRow:
    """The row of the start as it comes.

    Attributes:
        name: Its name; ``base`` if the run reads the start at its own length.
        scored: Whether test scores it; False: the minutes that are left do not allow it.
    """

    name: str
    scored: bool


def plan_row(context: RunContext, state: State) -> PlainRow:
    """Decide whether the start at its own length gets a row on test; if not, one note says why.

    It gets one if its encoding of the whole corpus fits the minutes that are left, by the measured speed; without a
    ceiling always. A resumed run keeps a row that an earlier process decided on.

    Args:
        context: The run; its ledger gets the decision.
        state: With the confirmed model.
    """
    name, own = _name(context), own_length(context)
    if own is None:
        return PlainRow(name=name, scored=True)
    if own.asked and name == UNTOUCHED:
        # Neither the row of the baseline nor of what is exported.
        return PlainRow(name=BASE, scored=True)
    plain, left = plain_start(state.base, own), context.seconds_left()
    needed = math.inf
    with context.attempt("row of the untouched start"):
        needed = _seconds(context, plain)
    in_time = not needed or (math.isfinite(needed) and needed <= left)
    scored = in_time or context.run.ledger.repeats(EVENT, row=name, scored=True)
    context.run.ledger.record(EVENT, row=name, scored=scored)
    if not scored:
        context.note("test", _missing(context, state, own, minutes=needed / 60, left=left / 60))
    return PlainRow(name=name, scored=scored)


def ready_rows(
    context: RunContext, state: State, plain_row: PlainRow
) -> Iterator[tuple[str, EncoderSource, Instruction]]:
    """Yield name, model and instruction of each ready-made encoder that test scores, loading it only then."""
    baseline, own = context.spec.baseline, own_length(context)
    is_start = context.plan is not None and context.spec.backbone.model == baseline
    if own is not None and plain_row.scored and plain_row.name != BASE:
        untouched = plain_start(state.base, own)
        yield plain_row.name, untouched.model, untouched.instruction
    if baseline is None or (is_start and own is not None):
        return
    name = ROW_NAMES.get(baseline, baseline)
    if is_start:
        yield name, state.base.model, state.base.instruction
        return
    ready, plain = ReadyModel(baseline), None
    with context.attempt("baseline"):
        plain = Instruction.none(ready.open().model.prompts)
    if plain is not None:
        yield name, ready, plain


def _name(context: RunContext) -> str:
    """Return the name of the row of the start as it comes."""
    start, baseline = context.spec.backbone.model, context.spec.baseline
    if baseline is not None and start == baseline:
        return ROW_NAMES.get(baseline, baseline)
    return UNTOUCHED if own_length(context) else BASE


def _seconds(context: RunContext, plain: RatedModel) -> float:
    """Return what the start at its own length takes to encode the texts of the corpus that have no vector yet."""
    return encoding_seconds(context, plain, share_vectors(context, plain, [*context.documents.values()]))


def encoding_seconds(context: RunContext, rated: RatedModel, texts: Sequence[str]) -> float:
    """Return what a model takes to encode passages, in seconds, by those of a sample of them."""
    missing = sorted(texts, key=sha256_text)
    if not missing:
        return 0.0
    with context.clock.working():
        encoder, prefix = rated.model.open(), rated.instruction.passage_prefix
        # The first forward allocates memory; it is not measured.
        encoder.encode(missing[:4], prefix=prefix)
        began, timed = time.monotonic(), missing[:TIMED]
        encoder.encode(timed, prefix=prefix)
        return len(missing) * (time.monotonic() - began) / len(timed)


def _missing(context: RunContext, state: State, own: OwnLength, *, minutes: float, left: float) -> str:
    """Return why the row is missing, and what else is known of the start at its own length."""
    why = f"takes about {minutes:.1f} min, and {max(left, 0.0):.1f} are left" if math.isfinite(minutes) else "failed"
    text = (
        f"no row of the untouched start, which reads {own.shown} tokens of each text by itself (the run {own.read}): "
        f"to encode the corpus so {why}"
    )
    if compared := comparison_of(context, state.confirmed.label):
        text += (
            f"; on the accept half over {compared['passages']:,} passages it has nDCG@10 {compared['untouched']:.4f}, "
            f"the model {compared['confirmed']:.4f}"
        )
    if state.confirmed.model == state.base.model and not own.asked:
        text += f"; it is the exported model, and row merged is that of the start with {own.read} tokens"
    return text
