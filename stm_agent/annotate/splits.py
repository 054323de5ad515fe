"""Which queries of a project train, tune and test: shares of the splits, dealt by group from a seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from pydantic import Field, ValidationError, model_validator

from stm_agent.annotate.faults import Invalid
from stm_agent.annotate.schema import Frozen
from stm_agent.files import sha256_text

SPLITS = ("train", "dev", "test")
NEEDED = ("dev", "test")
"""The splits without which ``stm-agent optimize`` does not start."""


class SplitShares(Frozen):
    """Shares of a project's queries in each split.

    Attributes:
        train: Per cent of the queries; 0 is a project whose training data are written by an LLM.
        dev: Per cent of the queries.
        test: Per cent of the queries.
        seed: Another seed deals the queries in another order.
    """

    train: int = Field(default=0, ge=0, le=100, strict=True)
    dev: int = Field(default=50, ge=0, le=100, strict=True)
    test: int = Field(default=50, ge=0, le=100, strict=True)
    seed: int = Field(default=0, ge=0, le=2**31 - 1, strict=True)

    @model_validator(mode="after")
    def _whole(self) -> SplitShares:
        if self.train + self.dev + self.test != 100:
            raise ValueError(f"train, dev and test add up to {self.train + self.dev + self.test} %; they need 100 %")
        return self

    def of(self, split: str) -> float:
        """Return the share of a split, from 0 to 1."""
        return {"train": self.train, "dev": self.dev, "test": self.test}[split] / 100


def read_shares(value: object) -> SplitShares:
    """Return the shares that a JSON value states.

    Raises:
        Invalid: They do not add up, or something else is wrong; the first fault is named.
    """
    try:
        return SplitShares.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        reason = first["msg"].removeprefix("Value error, ")
        raise Invalid(f"splits{f', {where}' if where else ''}: {reason}") from error


def emptiest(counts: Mapping[str, int], size: int, shares: SplitShares) -> str:
    """Return the split that lacks most of its share if ``size`` queries are added.

    The first query goes to dev, and the seed decides between splits that lack the same.
    """
    total = sum(counts.values()) + size
    if total == size and shares.dev:
        # Work begins on dev.
        return "dev"
    order = sorted(SPLITS, key=lambda split: sha256_text(f"{shares.seed}:{total}:{split}"))
    return _furthest_below(order, counts, total, shares)


def _furthest_below(order: Sequence[str], counts: Mapping[str, int], total: int, shares: SplitShares) -> str:
    """Return the split furthest below its share of ``total``, the first in ``order`` of several."""
    return max((split for split in order if shares.of(split)), key=lambda name: shares.of(name) * total - counts[name])


def deal_groups(groups: Iterable[Sequence[str]], present: Mapping[str, str], shares: SplitShares) -> dict[str, str]:
    """Give every query a split, a whole group the same one, and move as few queries as the shares allow.

    A group stays where most of it is as long as its split has room; the others fill the splits that lack most. Every
    split with a share gets a group if there are enough groups, however small its share is.

    Args:
        groups: Groups of query ids.
        present: Query id -> its split now.
        shares: The shares to reach.
    """
    order = sorted(map(tuple, groups), key=lambda group: (-len(group), sha256_text(f"{shares.seed}:{group[0]}")))
    total = sum(map(len, order))
    counts = Counter(dict.fromkeys(SPLITS, 0))
    dealt: dict[tuple[str, ...], str] = {}
    for group in order:
        ((home, _),) = Counter(present[query] for query in group).most_common(1)
        if counts[home] + len(group) / 2 <= shares.of(home) * total and shares.of(home):
            dealt[group] = home
            counts[home] += len(group)
    for group in order:
        if group not in dealt:
            split = _furthest_below(SPLITS, counts, total, shares)
            dealt[group] = split
            counts[split] += len(group)
    _fill_empty(dealt, shares)
    return {query: split for group, split in dealt.items() for query in group}


def _fill_empty(dealt: dict[tuple[str, ...], str], shares: SplitShares) -> None:
    """Move one small group into each split that has a share and no query."""
    for split in SPLITS:
        held = Counter(dealt.values())
        rich = [group for group, home in dealt.items() if held[home] > 1]
        if shares.of(split) and not held[split] and rich:
            dealt[min(reversed(rich), key=len)] = split
