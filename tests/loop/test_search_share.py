"""The share of a part of a search: it ends where it ended before, unless the limits were raised since."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from stm_agent.clock import RunClock
from stm_agent.files import append_jsonl
from stm_agent.llm.budget import Spending
from stm_agent.loop.options import Options
from stm_agent.loop.runs import RunFolder
from stm_agent.loop.search_share import SearchShare
from stm_agent.loop.spending_limits import SpendingLimits

Asks = Callable[..., tuple[list[bool], list[str]]]


@pytest.fixture
def asks(tmp_path: Path) -> Asks:
    """Return what asks a share of 0.5, each time after as many paid calls as named, in a process of its own."""

    def ask(ceiling: int, calls: list[int]) -> tuple[list[bool], list[str]]:
        run, reasons = RunFolder(tmp_path, "search", {"kind": "test"}), list[str]()
        limits = SpendingLimits.of(Options(budget_calls=ceiling)).part(0.5)
        share = SearchShare(SimpleNamespace(run=run, clock=RunClock(run.clock)), limits, reasons.append)
        spent = []
        for number in calls:
            append_jsonl(run.llm_ledger, *[{"request": "r", "usd": 0.01, "tries": 1}] * number)
            spent.append(share.is_spent())
        run.close()
        return spent, reasons

    return ask


def test_a_part_ends_where_it_ended_before_and_continues_if_the_ceiling_is_raised(asks: Asks) -> None:
    ended, reasons = asks(20, [4, 4, 4, 4])
    assert ended == [False, False, True, True]
    assert reasons == ["proposing ended early: 12 calls are spent, its share of --budget-calls"]
    assert asks(20, [0, 0, 0]) == ([False, False, True], reasons), "the same ceiling"
    assert asks(10, [0, 0, 0]) == ([False, False, True], reasons), "a lower one"
    more, again = asks(60, [0, 0, 0, 4, 10, 4])
    assert more == [False] * 4 + [True] * 2
    assert again == ["proposing ended early: 30 calls are spent, its share of --budget-calls"]
    assert asks(60, [0] * 6)[0] == [False] * 4 + [True] * 2


def test_a_share_is_of_what_was_left() -> None:
    ceilings = SpendingLimits(usd=1.0, calls=100, minutes=None)
    part = ceilings.part(0.3, Spending(usd=0.5, calls=40))
    assert (part.usd, part.calls, part.minutes) == (pytest.approx(0.65), pytest.approx(58), None)
    assert ceilings.part(0.3, Spending(usd=2.0)).usd == 2.0, "nothing is left"


def test_limits_are_raised_if_one_of_them_is() -> None:
    earlier = SpendingLimits(usd=1.0, calls=None, minutes=5.0)
    assert not earlier.are_raised(earlier.to_json())
    assert not SpendingLimits(usd=0.5, calls=10, minutes=5.0).are_raised(earlier.to_json())
    assert SpendingLimits(usd=1.0, calls=None, minutes=6.0).are_raised(earlier.to_json())
    assert SpendingLimits(usd=None, calls=None, minutes=5.0).are_raised(earlier.to_json())
