"""An expert of queries is begun only if it and the merge of all of them fit in the minutes that are left."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stm_agent.loop.actions.training import MERGE_SHARE, TrainQueryExpert
from stm_agent.loop.query_side import query_experts

DOCUMENTS = "the model of the passages"


def trained(folder: Path, seconds: float, *, side: str = "query", documents: str = DOCUMENTS) -> Any:
    folder.mkdir()
    (folder / "expert.json").write_text(json.dumps({"seconds": seconds}))
    model = SimpleNamespace(documents=documents, merged=SimpleNamespace(backbone="a"))
    return SimpleNamespace(folder=folder, side=side, rated=SimpleNamespace(model=model))


def needed(experts: list[Any], *, minutes: float | None = 10.0) -> float:
    state: Any = SimpleNamespace(
        experts=experts, provisional=SimpleNamespace(model=SimpleNamespace(documents=DOCUMENTS))
    )
    context: Any = SimpleNamespace(minutes=minutes)
    return TrainQueryExpert(expert="next").needed(context, state)


def test_the_next_one_needs_the_time_of_the_last_one_and_of_the_merge(tmp_path: Path) -> None:
    experts = [trained(tmp_path / "one", 70.0), trained(tmp_path / "two", 80.0)]
    assert needed(experts) == pytest.approx(80 + MERGE_SHARE * 600)
    assert needed(experts, minutes=None) == 0.0


def test_the_first_one_on_a_model_needs_no_more_than_any_lever(tmp_path: Path) -> None:
    before = [trained(tmp_path / "both", 300.0, side="both"), trained(tmp_path / "other", 90.0, documents="another")]
    assert needed(before) == 0.0


def test_experts_of_all_rounds_on_one_model_are_merged_each_once(tmp_path: Path) -> None:
    first, second = trained(tmp_path / "one", 70.0), trained(tmp_path / "two", 80.0)
    state: Any = SimpleNamespace(
        experts=(first, second, first), provisional=SimpleNamespace(model=SimpleNamespace(documents=DOCUMENTS))
    )
    assert sorted(expert.folder.name for expert in query_experts(state)) == ["one", "two"]
