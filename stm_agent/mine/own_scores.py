"""Scores that a user's own training set carries, as lists that list-wise distillation learns from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from stm_agent.domain.data import Pair
from stm_agent.domain.spec import ExpertSpec, TeacherSpec
from stm_agent.mine.lists import Candidate, ScoredList


def own_lists(pairs: Iterable[Pair], spec: TeacherSpec) -> dict[str, ScoredList]:
    """Return pair id -> the list of a pair that carries a teacher's scores of its positive and its negatives.

    The scale of the scores is unknown, so each list is mapped to 0..1 unless ``spec.rescale`` is ``none``.
    """
    lists = {}
    for pair in pairs:
        if len(pair.scores) != len(pair.structural) + 1 or not pair.structural:
            continue
        low, high = (0.0, 1.0) if spec.rescale == "none" else (min(pair.scores), max(pair.scores))
        positive, *others = ((score - low) / ((high - low) or 1.0) for score in pair.scores)
        candidates = zip(pair.structural, others, strict=True)
        lists[pair.id] = ScoredList(
            positive,
            tuple(
                Candidate(text, f"{pair.id}/negative {number}", score)
                for number, (text, score) in enumerate(candidates, 1)
            ),
        )
    return lists


def unused_scores(experts: Sequence[ExpertSpec], pairs: Iterable[Pair]) -> str:
    """Return one line if pairs carry scores that no expert learns from; empty: all are used, or there are none."""
    counts = Counter(pair.source for pair in pairs if pair.scores)
    learnt = {source for expert in experts if expert.learns_from_scores for source in expert.sources}
    trained = {source for expert in experts for source in expert.sources}
    unused = {source: number for source, number in counts.items() if source in trained - learnt}
    if not unused:
        return ""
    parts = ", ".join(f"{number:,} pairs of source {source}" for source, number in unused.items())
    return f"{parts} carry scores that no expert learns from; give an expert of it 'loss: distil' to use them"
