"""What the end of a run still has to encode: levers may use the minutes of what has vectors already.

For a corpus that is searched in part, export and test take two encodings of the whole: of the best expert and of the
merged model. Experts of queries leave the passages as they are, and all passages compete in their training, so that
what they stand on was encoded whole before the end.
"""

from __future__ import annotations

from collections.abc import Sequence

from stm_agent.domain.spec import DomainSpec
from stm_agent.loop.context import RunContext
from stm_agent.loop.costs import ENCODED_AT_END, workload_of
from stm_agent.loop.state import Expert, State


def spared_seconds(context: RunContext, state: State) -> float:
    """Return the seconds of those kept for the end that it does not take, if passages keep the vectors they have."""
    if context.minutes is None:
        return 0.0
    work = workload_of(context)
    return (ENCODED_AT_END - models_to_encode(context.spec, state)) * work.unsearched * work.rates.passage


def models_to_encode(spec: DomainSpec, state: State) -> int:
    """Return with how many models the end of a run encodes the whole corpus, as far as is known.

    While experts of both sides are still to come, it is the most that there can be.
    """
    of_queries = [expert for expert in state.experts if expert.side == "query"]
    if not of_queries and any(expert.side == "both" for expert in spec.experts):
        return ENCODED_AT_END
    encoded = [state.base.model.documents, *(expert.rated.model.documents for expert in of_queries)]
    shown = [state.provisional, *(expert.rated for expert in best_alone(state.experts))]
    missing = {str(rated.model.documents.source_key()) for rated in shown if rated.model.documents not in encoded}
    return len(missing)


def best_alone(experts: Sequence[Expert]) -> Sequence[Expert]:
    """Return the best expert on the search half, if there is any."""
    return sorted(experts, key=lambda expert: -expert.rated.rating.domain.ndcg_at_10)[:1]
