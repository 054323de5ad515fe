"""An expert of queries is begun only if it and the merge of all of them fit in the minutes that are left."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stm_agent.loop.actions.training import MERGE_SHARE, TrainQueryExpert


def trained(folder: Path, seconds: float, *, round_: int = 1, queries: bool = True) -> Any:
    folder.mkdir()
    (folder / "expert.json").write_text(json.dumps({"seconds": seconds}))
    model = SimpleNamespace(queries="a model" if queries else None)
    return SimpleNamespace(folder=folder, round=round_, rated=SimpleNamespace(model=model))


@pytest.mark.parametrize(("minutes", "expected"), [(10.0, 80 + MERGE_SHARE * 600), (None, 0.0)])
def test_the_next_one_needs_the_time_of_the_last_one_and_of_the_merge(
    minutes: float | None, expected: float, tmp_path: Path
) -> None:
    experts = [trained(tmp_path / "one", 70.0), trained(tmp_path / "two", 80.0)]
    needed = TrainQueryExpert(expert="three").needed(
        SimpleNamespace(minutes=minutes),  # type: ignore[arg-type]
        SimpleNamespace(experts=experts),  # type: ignore[arg-type]
    )
    assert needed == pytest.approx(expected)


def test_the_first_one_of_a_round_needs_no_more_than_any_lever(tmp_path: Path) -> None:
    before = [trained(tmp_path / "both", 300.0, queries=False), trained(tmp_path / "earlier", 90.0)]
    action = TrainQueryExpert(expert="one", round=2)
    assert action.needed(SimpleNamespace(minutes=10.0), SimpleNamespace(experts=before)) == 0.0  # type: ignore[arg-type]
