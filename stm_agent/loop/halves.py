"""Cut dev into a "half" to search on (two fifths) and a "half" to accept on (three fifths), by group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from stm_agent.domain.collection import NO_COPIES, SameText, Split
from stm_agent.domain.groups import query_groups
from stm_agent.errors import DataError
from stm_agent.files import sha256_text

SMALL = 60
"""Dev queries below which a run announces that its dev set is small: only large gains can be confirmed."""

FEWEST_GROUPS = 20
"""Groups that dev needs to be cut. With fewer, the accept half has so few that hardly any gain can be confirmed, and a
test on all of dev, corrected for the number of candidates tried, has more power. With more, the halves are preferred
even where that test is a little stronger: they hold whatever levers looked at, counted or not."""

ACCEPT_SHARE = 0.6
"""Share of the queries in the accept half. The one test on it is what fails first for want of queries; choosing is
forgiving (``benchmarks/gate.py`` compares 0.5)."""


@dataclass(frozen=True, kw_only=True)
class DevHalves:
    """Dev, cut once for a run.

    Attributes:
        search: Query ids that levers choose on.
        accept: Query ids that a confirmation is tested on; the same as ``search`` where ``mode`` is ``whole``.
        groups: Query id -> group number, over all dev queries. Queries of a group share a relevant document or a text,
            directly or through other queries, so their scores are not independent.
        mode: ``halves``: the two share no group. ``whole``: too few groups to cut, both are all of dev.
        note: One line for the screen.
    """

    search: tuple[str, ...]
    accept: tuple[str, ...]
    groups: Mapping[str, int]
    mode: Literal["halves", "whole"]
    note: str

    @property
    def small(self) -> bool:
        """Whether dev has so few queries or groups that the user must be warned."""
        return len(self.groups) < SMALL or self.mode == "whole"


def cut_dev(split: Split, seed: int = 0, same_text: SameText = NO_COPIES) -> DevHalves:
    """Cut dev into halves that share no group.

    The largest groups are dealt first, each to the half that lacks more of its share, so that no half is further from
    its share than the largest group. Among groups of one size a hash decides, so the same queries give the same halves
    on every machine.

    Args:
        split: The dev split.
        seed: Another seed gives other halves.
        same_text: Documents with one text count as one; see :attr:`Collection.same_text`.

    Raises:
        DataError: The split has no query.
    """
    if not split.queries:
        raise DataError(f"split '{split.name}' has no query; add judged queries to it")
    grouped = query_groups(split, same_text)
    numbers = {query: number for number, group in enumerate(grouped) for query in group}
    if len(grouped) < FEWEST_GROUPS:
        queries = tuple(sorted(split.queries))
        return DevHalves(
            search=queries, accept=queries, groups=numbers, mode="whole", note=_whole_note(len(queries), len(grouped))
        )
    search, accept = _deal(grouped, seed)
    note = f"dev: {len(search)} queries to search on, {len(accept)} to accept on, {len(grouped)} groups"
    if len(numbers) < SMALL:
        note = f"small {note}; only large gains can be confirmed"
    return DevHalves(search=search, accept=accept, groups=numbers, mode="halves", note=note)


def _whole_note(queries: int, groups: int) -> str:
    return (
        f"small dev: {queries} queries in {groups} groups are too few to cut; all are searched and accepted on, and a "
        "gain must pass a test corrected for the number of changes tried"
    )


def _deal(groups: Sequence[tuple[str, ...]], seed: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    order = sorted(groups, key=lambda group: (-len(group), sha256_text(f"{seed}:{group[0]}")))
    search: list[str] = []
    accept: list[str] = []
    for group in order:
        # Which half is filled less, as a part of its share; the accept half if both are filled the same.
        behind = len(search) * ACCEPT_SHARE < len(accept) * (1 - ACCEPT_SHARE)
        (search if behind else accept).extend(group)
    return tuple(sorted(search)), tuple(sorted(accept))
