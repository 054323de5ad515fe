"""The rows that the side of queries learns from: distinct queries with relevant passages, and a teacher's scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stm_agent.domain.data import Pair
from stm_agent.errors import DataError
from stm_agent.mine.lists import NO_LISTS, Lists, ScoredList

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class QueryRow:
    """One query with the rows of the pool that are relevant, and those that must not count as negatives.

    Attributes:
        text: The query.
        positives: Relevant rows.
        left_out: Rows that are no negatives.
        scores: Row -> a teacher's score; empty: it has none.
    """

    text: str
    positives: tuple[int, ...]
    left_out: tuple[int, ...]
    scores: Mapping[int, float] = field(default_factory=dict)


class _Pool:
    """Rows of a pool by passage id and by text."""

    def __init__(self, pool: Mapping[str, str]) -> None:
        self.by_id = {name: row for row, name in enumerate(pool)}
        self.by_text: dict[str, int] = {}
        for row, text in enumerate(pool.values()):
            self.by_text.setdefault(text, row)

    def rows_of(self, names: Iterable[str]) -> set[int]:
        return {self.by_id[name] for name in names if name in self.by_id}

    def scores_of(self, scored: ScoredList) -> dict[int, float]:
        """Return row -> score of a teacher's candidates that are in the pool; of two with one text the first counts."""
        scores: dict[int, float] = {}
        for other in scored.candidates:
            row = self.by_id.get(other.passage_id, self.by_text.get(other.text))
            if row is not None:
                scores.setdefault(row, other.score)
        return scores


def query_rows(
    pairs: tuple[Pair, ...],
    pool: Mapping[str, str],
    groups: Mapping[str, frozenset[str]],
    lists: Lists = NO_LISTS,
    gold: float = 0.0,
) -> list[QueryRow]:
    """Return a row for each distinct query.

    The passage of a pair is found by its text, else (a passage without its title, or without one of its sentences) by
    its group; pairs without any are left out.

    Args:
        pairs: Training pairs.
        pool: Passage id -> text.
        groups: Group -> passages that are no negatives of it.
        lists: A teacher's scores of pairs.
        gold: Added to its scores of positives.

    Raises:
        DataError: No pair has a passage in the pool.
    """
    rows_of_pool = _Pool(pool)
    near = {pair.group: rows_of_pool.rows_of(groups.get(pair.group, ())) for pair in pairs}
    positives: dict[tuple[str, str], set[int]] = {}
    scores: dict[tuple[str, str], dict[int, float]] = {}
    for pair in pairs:
        text = rows_of_pool.by_text.get(pair.positive)
        relevant = near[pair.group] if text is None else {text}
        if not relevant:
            continue
        key = pair.group, pair.query
        positives.setdefault(key, set()).update(relevant)
        if scored := lists.get(pair.id):
            others = {
                row: score for row, score in rows_of_pool.scores_of(scored).items() if row not in near[pair.group]
            }
            own = {**others, **dict.fromkeys(relevant, scored.positive + gold)}
            scores[key] = {**own, **scores.get(key, {})}
    if not positives:
        raise DataError("no training pair's passage is in the corpus; training the side of queries needs pairs from it")
    return [
        QueryRow(key[1], tuple(sorted(relevant)), tuple(sorted(near[key[0]] - relevant)), scores.get(key, {}))
        for key, relevant in positives.items()
    ]


def taught_rows(rows: Iterable[QueryRow]) -> list[QueryRow]:
    """Return the rows of which a teacher scored two passages or more.

    Raises:
        DataError: There is none.
    """
    taught = [row for row in rows if len(row.scores) > 1]
    if not taught:
        raise DataError("a teacher scored two passages of no training query, so there is nothing to distil")
    return taught


def pool_losses(scores: Tensor, batch: Sequence[QueryRow]) -> Tensor:
    """Return, ``[batch]``, the negative log-likelihood that a query's softmax over a pool gives to its positives.

    Args:
        scores: Scaled cosines, ``[batch, passages]``.
        batch: The row of each query; passages that must not count as negatives are left out.
    """
    import torch

    positives = _mask(scores, [row.positives for row in batch])
    competing = scores.masked_fill(_mask(scores, [row.left_out for row in batch]), -torch.inf)
    return torch.logsumexp(competing, dim=1) - torch.logsumexp(scores.masked_fill(~positives, -torch.inf), dim=1)


def _mask(scores: Tensor, chosen: Sequence[tuple[int, ...]]) -> Tensor:
    """Return a mask of the shape of ``scores`` that is true in each row's chosen columns."""
    import torch

    mask = torch.zeros_like(scores, dtype=torch.bool)
    columns = [column for row in chosen for column in row]
    rows = torch.arange(len(chosen)).repeat_interleave(torch.tensor([len(row) for row in chosen]))
    mask[rows.to(scores.device), torch.tensor(columns, dtype=torch.long, device=scores.device)] = True
    return mask
