"""Training rows: pairs with as many hard negatives as the expert asked for, and a count of what was short."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stm_agent.domain.material import Pair
from stm_agent.domain.spec import ExpertSpec
from stm_agent.errors import DataError
from stm_agent.mine.negatives import Negative

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rows:
    """Columns for sentence-transformers' trainer.

    Attributes:
        columns: ``query``, ``positive``, ``negative_1`` ...; equally long lists of texts.
        groups: Group of each row; two rows of one group never share a batch.
        skipped: Rows left out, and negatives that were short, by reason.
    """

    columns: dict[str, list[str]]
    groups: list[str]
    skipped: dict[str, int]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.groups)


def training_rows(
    pairs: Sequence[Pair],
    negatives: Mapping[str, tuple[Negative, ...]],
    expert: ExpertSpec,
    *,
    query_prefix: str = "",
    passage_prefix: str = "",
) -> Rows:
    """Make rows of pairs; prefixes are written into the texts, as at inference.

    A pair that lacks hard negatives is filled up from its structural neighbours, then from other rows'
    positives (a random negative, as the batch has anyway); both are counted.

    Raises:
        DataError: No usable row is left.
    """
    asked = expert.negatives
    width = asked.mined + asked.synthetic + asked.structural
    skipped: dict[str, int] = {}
    usable = [pair for pair in pairs if _usable(pair, skipped)]
    if not usable:
        raise DataError(
            f"expert {expert.name} has no usable training pair; check its sources: {', '.join(expert.sources)}"
        )
    columns: dict[str, list[str]] = {
        "query": [query_prefix + pair.query for pair in usable],
        "positive": [passage_prefix + pair.positive for pair in usable],
    }
    picked = [
        _pick(pair, negatives.get(pair.id, ()), expert, usable, index, skipped) for index, pair in enumerate(usable)
    ]
    for number in range(width):
        columns[f"negative_{number + 1}"] = [passage_prefix + texts[number] for texts in picked]
    for reason, count in skipped.items():
        logger.warning("expert %s: %d rows: %s", expert.name, count, reason)
    return Rows(columns, [pair.group for pair in usable], skipped)


def _usable(pair: Pair, skipped: dict[str, int]) -> bool:
    reason = None
    if not pair.query.strip() or not pair.positive.strip():
        reason = "empty text, left out"
    elif pair.query.strip() == pair.positive.strip():
        reason = "query is its own positive, left out"
    if reason:
        skipped[reason] = skipped.get(reason, 0) + 1
    return reason is None


def _pick(
    pair: Pair,
    found: Sequence[Negative],
    expert: ExpertSpec,
    pairs: Sequence[Pair],
    index: int,
    skipped: dict[str, int],
) -> list[str]:
    asked = expert.negatives
    texts = [negative.text for negative in found][: asked.mined + asked.synthetic]
    short = asked.mined + asked.synthetic - len(texts)
    texts += list(pair.structural[: asked.structural + short])
    width = asked.mined + asked.synthetic + asked.structural
    step = 1
    while len(texts) < width:
        # A stride that no batch order knows; the row's own group is passed over.
        other = pairs[(index + 7919 * step) % len(pairs)]
        step += 1
        if other.group != pair.group or step > len(pairs):
            texts.append(other.positive)
            reason = "hard negative missing, a random one taken"
            skipped[reason] = skipped.get(reason, 0) + 1
    return texts
