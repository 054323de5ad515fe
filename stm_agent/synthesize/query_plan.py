"""Which queries are asked for: passages, types, and the inputs of the program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stm_agent.domain.scripts import LanguageProfile
from stm_agent.domain.spec import SynthesizeSpec
from stm_agent.llm.checking import TextCheck
from stm_agent.synthesize.drafts import WriteRequest
from stm_agent.synthesize.query_types import deal_types, described, mix_of, shown_examples

PROFILED = 100
"""Train queries that show in which languages people ask."""


@dataclass(frozen=True)
class QueryCall:
    """One call of the program.

    Attributes:
        passage: Id of the passage.
        types: Types of the queries asked for, one each.
        first: Number of the first of them among the passage's queries, from 0.
    """

    passage: str
    types: tuple[str, ...]
    first: int = 0


@dataclass(frozen=True)
class QueryPlan:
    """All calls of a stage, in order, and the share of each type that they keep to."""

    calls: tuple[QueryCall, ...]
    requests: tuple[WriteRequest, ...]
    mix: Mapping[str, float]


def plan_queries(
    passages: Sequence[str],
    pool: Mapping[str, str],
    *,
    task: str,
    spec: SynthesizeSpec,
    seed: int,
    examples: Sequence[str],
    several: bool,
) -> QueryPlan:
    """Return the calls for some passages.

    Args:
        passages: Ids of the passages, in order.
        pool: Passage id -> text.
        task: One line: what a query is and what should be found.
        spec: How many queries, of which types.
        seed: Seed of the draw of examples.
        examples: Queries that people wrote.
        several: Whether one call gives all queries of a passage.
    """
    mix = mix_of(examples, spec.types)
    calls: list[QueryCall] = []
    for passage, types in zip(passages, deal_types(mix, len(passages), spec.per_passage), strict=True):
        parts = [types] if several else [(name,) for name in types]
        calls += [QueryCall(passage, part, number) for number, part in enumerate(parts)]
    beyond = _languages_beyond([pool[passage] for passage in passages], examples[:PROFILED])
    shown = {name: shown_examples(examples, name, spec.examples, seed) for name in spec.types}
    requests = [_request(call, pool[call.passage], task, shown, beyond) for call in calls]
    return QueryPlan(tuple(calls), tuple(requests), mix)


def _languages_beyond(passages: Sequence[str], examples: Sequence[str]) -> LanguageProfile:
    """Return scripts and languages of people's queries that no passage is in; they are allowed for every passage."""
    written = LanguageProfile.of(passages)
    return LanguageProfile.of(example for example in examples if written.is_foreign(example))


def _request(
    call: QueryCall, text: str, task: str, shown: Mapping[str, Sequence[str]], beyond: LanguageProfile
) -> WriteRequest:
    examples = [example for name in call.types for example in shown[name]]
    kinds = "; ".join(map(described, call.types))
    inputs = {
        "task": task,
        "query_type": kinds if len(call.types) == 1 else f"{len(call.types)} queries: {kinds}",
        "examples": "\n".join(examples),
        "passage": text,
    }
    # A corpus of several languages says nothing of one of its passages; the examples are what the generator follows.
    profile = LanguageProfile.of([text]) | LanguageProfile.of(examples) | beyond
    check = TextCheck("query", (text, *examples), profile)
    parts = enumerate(call.types, call.first) if len(call.types) > 1 else ()
    singly = (QueryCall(call.passage, (name,), number) for number, name in parts)
    return WriteRequest(
        check,
        inputs,
        sample=call.first,
        count=len(call.types),
        singly=tuple(_request(part, text, task, shown, beyond) for part in singly),
    )
