"""What a report says of the exported model is measured in the number format of whoever loads it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.spec import BackboneSpec
from stm_agent.evaluate.metrics import Scores
from stm_agent.loop import as_loaded as module
from stm_agent.loop.as_loaded import as_loaded
from stm_agent.loop.final import _base
from stm_agent.loop.ledger import Ledger
from stm_agent.loop.state import RatedModel, State
from stm_agent.merge.adapted import AdaptedModel
from stm_agent.merge.job import Rating

MIXED = AdaptedModel(BackboneSpec(model="somewhere", dtype="mixed"))


def rated(model: AdaptedModel, instruction: str = "") -> RatedModel:
    rating = Rating(Scores(0.5, 0.0, 0.0, {"q": 0.5}), 0.5)
    return RatedModel(label="a model", model=model, instruction=Instruction(query=instruction), rating=rating)


def process(folder: Path, minutes: float | None, spent: float = 0.0) -> Any:
    """Return what a process of a run knows of its minutes."""
    notes: list[str] = []
    return SimpleNamespace(
        minutes=minutes,
        clock=SimpleNamespace(seconds=lambda: spent * 60),
        documents={"d": "a passage"},
        run=SimpleNamespace(ledger=Ledger(folder / "ledger.jsonl")),
        note=lambda name, text: notes.append(text),
        notes=notes,
    )


@pytest.mark.parametrize(
    ("minutes", "spent", "float32"), [(None, 99.0, True), (10.0, 1.0, True), (10.0, 8.0, False), (10.0, 11.0, False)]
)
def test_test_is_scored_in_float32_if_the_minutes_allow_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minutes: float | None, spent: float, float32: bool
) -> None:
    monkeypatch.setattr(module, "encoding_seconds", lambda context, model, texts: 120.0)
    context = process(tmp_path, minutes, spent)
    measured = as_loaded(context, rated(MIXED, "look for"))
    assert measured.model == (MIXED.in_float32 if float32 else MIXED)
    assert measured.instruction.query == "look for"
    assert bool(context.notes) is not float32
    if not float32:
        assert "float32 takes about 2.0 min more" in context.notes[0]


def test_a_resumed_run_keeps_to_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "encoding_seconds", lambda context, model, texts: 120.0)
    assert as_loaded(process(tmp_path, 10.0), rated(MIXED)).model == MIXED.in_float32
    assert as_loaded(process(tmp_path, 10.0, spent=9.9), rated(MIXED)).model == MIXED.in_float32


def test_a_model_without_mixed_precision_is_taken_as_it_is(tmp_path: Path) -> None:
    plain = rated(MIXED.in_float32)
    assert as_loaded(process(tmp_path, 1.0, spent=2.0), plain) is plain


def test_the_start_that_is_exported_has_one_score_in_both_rows() -> None:
    base, adapter = rated(MIXED), AdaptedModel(MIXED.backbone, (Path("adapter"),), (1.0,))
    state = State.start(base)
    with_instruction = rated(MIXED.in_float32, "look for")
    assert _base(state, with_instruction) == rated(MIXED.in_float32), "the row of the start has no instruction"
    assert _base(state, rated(adapter.in_float32)) is state.base
