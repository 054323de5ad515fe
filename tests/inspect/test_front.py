"""Weights of a front's points belong to the experts that were merged, whatever order their names have in the ledger."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stm_agent.inspect.front import expert_order, read_front

FRONT = {"event": "front", "experts": {"a": "stage-a", "b": "stage-b", "incumbent": "stage-i"}}
MERGES = [
    {"event": "merge", "experts": ["b", "a", "incumbent"]},
    {"event": "merge", "experts": ["a", "b"]},
]


@pytest.mark.parametrize(
    ("order", "merges", "expected"),
    [
        (["incumbent", "a", "b"], MERGES, ["incumbent", "a", "b"]),
        (None, MERGES, ["b", "a", "incumbent"]),
        (None, MERGES[1:], ["a", "b", "incumbent"]),
    ],
    ids=["named", "of an earlier version", "not known"],
)
def test_the_order_of_the_weights(order, merges, expected):
    assert expert_order(FRONT["experts"], order, [merge["experts"] for merge in merges]) == expected


def test_a_front_is_read_in_the_order_of_its_weights(tmp_path: Path) -> None:
    lines = [*MERGES, {**FRONT, "points": []}]
    (tmp_path / "ledger.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert list(read_front(tmp_path)["experts"].values()) == ["stage-b", "stage-a", "stage-i"]
