"""GEPA's view of an instruction: one component, per-query nDCG@10, feedback that shows what went wrong.

The rollout is a search, not an LLM call, so it costs nothing: only reflection does. Per-query scores make GEPA's
Pareto selection work (Agrawal et al. 2025, arXiv 2507.19457).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stm_agent.instruct.instruction import Instruction
from stm_agent.instruct.scorer import InstructionScorer

COMPONENT = "instruction"
WORST = 3


class InstructionAdapter:
    """Implements ``gepa.core.adapter.GEPAAdapter``; a data instance is a query id."""

    def __init__(self, scorer: InstructionScorer, propose: Callable[[str, Sequence[Mapping[str, Any]]], str]) -> None:
        """Take the scorer and the function that asks the reflecting LLM for a new text."""
        self.scorer, self.propose = scorer, propose

    def evaluate(self, batch: list[str], candidate: dict[str, str], capture_traces: bool = False) -> Any:  # noqa: ANN401
        """Score a candidate on a batch of queries."""
        from gepa.core.adapter import EvaluationBatch

        instruction = Instruction(candidate[COMPONENT])
        per_query = self.scorer.score(instruction).per_query
        scores = [per_query[query] for query in batch]
        traces = [self._trace(query, instruction, per_query[query]) for query in batch] if capture_traces else None
        return EvaluationBatch(outputs=list(batch), scores=scores, trajectories=traces)

    def _trace(self, query: str, instruction: Instruction, value: float) -> dict[str, Any]:
        found = sorted(self.scorer.run(instruction)[query].items(), key=lambda hit: -hit[1])
        grades = self.scorer.split.qrels[query]
        wanted = max(grades, key=lambda document: grades[document])
        wrong = next((document for document, _ in found if not grades.get(document)), None)
        texts = self.scorer.documents
        return {
            "query": self.scorer.split.queries[query],
            "score": value,
            "wanted": texts.get(wanted, ""),
            "instead": texts[wrong] if wrong else "",
        }

    def make_reflective_dataset(
        self,
        candidate: dict[str, str],
        eval_batch: Any,  # noqa: ANN401 - gepa's generic batch
        components_to_update: list[str],
    ) -> dict[str, list[dict[str, Any]]]:
        """Return the worst queries with what was found above the relevant passage."""
        worst = sorted(eval_batch.trajectories or [], key=lambda trace: trace["score"])[:WORST]
        return {component: [dict(trace) for trace in worst] for component in components_to_update}

    def propose_new_texts(
        self,
        candidate: dict[str, str],
        reflective_dataset: Mapping[str, Sequence[Mapping[str, Any]]],
        components_to_update: list[str],
    ) -> dict[str, str]:
        """Ask the reflecting LLM for a better text; an unusable answer keeps the old one."""
        return {name: self.propose(candidate[name], reflective_dataset[name]) for name in components_to_update}
