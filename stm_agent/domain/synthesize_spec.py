"""The part of a domain file that says what the generator writes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from stm_agent.domain.fields import Count, Positive, Real, Spec

QUERY_TYPES = ("question", "keywords", "claim", "everyday", "title")
"""Types of queries that the product describes to the generator; a domain file may name others."""

STRUCTURED = ("auto", "always", "never")
"""Whether programs may ask for several typed outputs."""


PROBE: Literal["probe"] = "probe"
"""Value of ``round_trip`` that lets a probe decide."""
PROBED_DEPTH = 10
"""Depth of a round trip that a probe decides on."""


class SynthesizeSpec(Spec):
    """What the generator writes. Most calls go to queries: they help more than written negatives.

    Attributes:
        program: Name of the DSPy program in ``programs/`` that writes hard negatives.
        query_program: Name of the program that writes queries.
        graded_program: Name of the program that writes passages of graded relevance.
        queries: Queries to write, where an expert asks for source ``written``; 0: none.
        per_passage: Queries of one passage, each of another type; the passages are then fewer.
        types: Types of queries, see :data:`QUERY_TYPES`; another name is shown to the generator as it is. The domain's
            own train queries decide how often each type comes, where there are some.
        examples: Train queries shown to the generator as examples of a type; 0: none.
        round_trip: A written query must find its passage among this many of BM25 or of the dense retriever; 0: off.
            ``probe``: among :data:`PROBED_DEPTH`, if a run's short training is better on dev without the others.
        pairs: Training pairs that get written negatives, as many as the experts ask for; 0: none.
        graded: Training pairs that get passages of lower relevance, where an expert asks for ``related`` ones; 0: none.
        proposals: Candidates that a run proposes when it optimises a program that writes; 0: it never does.
        structured: Whether programs may ask for several typed outputs: ``auto`` unless the model is small, as its name
            or its first answers say.
        attempts: How often one text is asked for until it can be used.
        temperature: Sampling temperature.
        max_tokens: Ceiling of one text, in tokens.
    """

    program: str = "hard_negatives"
    query_program: str = "queries"
    graded_program: str = "graded"
    queries: Count = 192
    per_passage: Positive = 1
    types: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=200)], ...], Field(min_length=1)] = QUERY_TYPES
    examples: Count = 3
    round_trip: Count | Literal["probe"] = 0
    pairs: Count = 24
    graded: Count = 0
    proposals: Count = 4
    structured: Literal["auto", "always", "never"] = "auto"
    attempts: Positive = 2
    temperature: Real = 0.8
    max_tokens: Positive = 64

    @property
    def round_trip_depth(self) -> int:
        """Passages among which a written query looks for its own; 0: it does not."""
        return PROBED_DEPTH if self.round_trip == PROBE else self.round_trip

    @field_validator("types")
    @classmethod
    def _distinct(cls, types: tuple[str, ...]) -> tuple[str, ...]:
        if twice := next((name for name in types if types.count(name) > 1), None):
            raise ValueError(f"query type '{twice}' is listed twice; list it once")
        return types
