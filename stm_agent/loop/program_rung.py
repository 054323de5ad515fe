"""A candidate of a program search on its way up: what it wrote, and what training on that gave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stm_agent.loop.material import Material
from stm_agent.loop.probe import Probed
from stm_agent.loop.search_report import Agreement, RungRow
from stm_agent.synthesize.program_text import ProgramText


@dataclass(kw_only=True)
class Rung:
    """A candidate on its way up.

    Attributes:
        text: The candidate.
        rating: Mean rating of what it wrote, without training.
        material: What it wrote for what all candidates write for; None: it did not.
        probed: What a probe of that gave.
        trained: What a LoRA run on that gave.
    """

    text: ProgramText
    rating: float
    material: Material | None = None
    probed: Probed | None = None
    trained: Probed | None = None

    @property
    def written(self) -> int:
        """Texts to train on: pairs, or the negatives and related passages that were written for them."""
        if self.material is None:
            return 0
        passages = sum(map(len, self.material.negatives.values())) + sum(len(p.related) for p in self.material.pairs)
        return passages or len(self.material.pairs)

    def to_json(self, trial: str) -> RungRow:
        """Return the candidate's numbers as JSON values; ``trial`` is its name in the traces."""
        return {
            "trial": trial,
            "rating": round(self.rating, 4),
            "pairs": self.written,
            "probe": self.probed.scores.ndcg_at_10 if self.probed else None,
            "lora": self.trained.scores.ndcg_at_10 if self.trained else None,
        }


def ndcg(probed: Probed | None) -> float:
    """Return the nDCG@10 of what was trained; 0 if nothing was."""
    return probed.scores.ndcg_at_10 if probed else 0.0


def rank_agreement(rungs: Sequence[Rung]) -> Agreement:
    """Return Spearman's correlation of probes and LoRA runs over the candidates that had both; None below three."""
    both = [(ndcg(rung.probed), ndcg(rung.trained)) for rung in rungs if rung.probed and rung.trained]
    value: float | None = None
    if len(both) >= 3 and all(len(set(column)) > 1 for column in zip(*both, strict=True)):
        from scipy.stats import spearmanr

        value = float(spearmanr(*zip(*both, strict=True)).statistic)
    return {"candidates": len(both), "spearman": value}
