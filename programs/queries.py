"""Writes the queries that a person would type to find a passage. Edit it freely.

The engine calls :func:`build_structured` for models that keep typed outputs, and :func:`build` for small ones. Either
may return any DSPy module: ``Predict``, ``ChainOfThought``, or one with several predictors; a file with ``build`` alone
serves all models.

Inputs, of which a program may leave out any:
    task: What a query is and what should be found, in one line.
    query_type: The type asked for, in words (a question, keywords, a claim, everyday words, a title); if several
        queries are asked for, their number and the type of each, in order.
    examples: Queries that people wrote, one on a line; empty if there are none.
    passage: The passage that the query must lead to.

Outputs:
    query: One query. Or instead
    queries: A list with one query for each type, in their order.
"""

from __future__ import annotations

import dspy


class WriteQuery(dspy.Signature):  # type: ignore[misc]
    """You write search queries. You get a passage.

    Write the short query that somebody who needs this passage would type, in the form that the query type names.
    Answer with the query only, in at most ten words.
    """

    task: str = dspy.InputField()
    query_type: str = dspy.InputField()
    examples: str = dspy.InputField()
    passage: str = dspy.InputField()
    query: str = dspy.OutputField()


class WriteQueries(dspy.Signature):  # type: ignore[misc]
    """You write search queries for one passage, so that a search engine can be trained to find it.

    Write one query for each type that is asked for, in the same order. A good query asks for something that this
    passage answers and most others on the subject do not. It makes sense to somebody who has never seen the passage:
    it never speaks of "the passage", and it says what a person would know before the search. Do not copy whole
    phrases; use other words where a person would. Write in the language of the examples, or of the passage if there
    are none, and follow the examples in length and tone.
    """

    task: str = dspy.InputField(desc="what a query is and what should be found")
    query_type: str = dspy.InputField(desc="the types of the queries, in order")
    examples: str = dspy.InputField(desc="queries that people wrote, one on a line; may be empty")
    passage: str = dspy.InputField()
    queries: list[str] = dspy.OutputField(desc="one query for each type, in order")


DEMOS = [
    dspy.Example(
        task="A question -> the passage that answers it",
        query_type="a question, as a whole sentence that ends with a question mark",
        examples="",
        passage="A moving bicycle stays upright since its front wheel steers into a fall.",
        query="Why does a bike not fall over while it moves?",
    ),
    dspy.Example(
        task="A complaint about a house -> the fault",
        query_type="everyday words, as somebody without any technical terms describes what they need",
        examples="",
        passage="Condensation: water on a surface whose temperature is below the dew point of indoor air.",
        query="wet windows in the morning",
    ),
    dspy.Example(
        task="A question -> the passage that answers it",
        query_type="keywords, two to five words without grammar, as typed into a search box",
        examples="",
        passage="Sourdough tastes sour since bacteria in the starter turn sugar into lactic and acetic acid.",
        query="sourdough sour taste bacteria",
    ),
]


def build() -> dspy.Module:
    """Return the program for every model; ``demos`` are shown to the generator as finished examples."""
    program = dspy.Predict(WriteQuery)
    program.demos = DEMOS
    return program


def build_structured() -> dspy.Module:
    """Return the program for models that keep typed outputs: several queries in one call."""
    return dspy.Predict(WriteQueries)
