"""Writes passages that answer a query less well than its own passage does, level by level. Edit it freely.

The engine calls :func:`build_structured` for models that keep typed outputs, and :func:`build` for small ones. Either
may return any DSPy module; a file with ``build`` alone serves all models. What is written is used by experts with loss
``listwise`` that ask for ``related`` passages.

Inputs, of which a program may leave out any:
    task: What a query is and what should be found, in one line.
    query: The query.
    passage: The passage that answers it, of the highest level.
    level: The level asked for, in words (highly relevant, related, not relevant); if several passages are asked for,
        their number and the level of each, in order.

Outputs:
    graded_passage: One passage. Or instead
    graded_passages: A list with one passage for each level, in their order.
"""

from __future__ import annotations

import dspy


class WriteGraded(dspy.Signature):  # type: ignore[misc]
    """You write passages for a search engine. You get a query and the passage that answers it.

    Write one other passage of the same kind and length, as relevant to the query as the level says. Answer with the
    passage only, in one sentence.
    """

    task: str = dspy.InputField()
    query: str = dspy.InputField()
    passage: str = dspy.InputField()
    level: str = dspy.InputField()
    graded_passage: str = dspy.OutputField()


class WriteAllGraded(dspy.Signature):  # type: ignore[misc]
    """You write passages of graded relevance to a query, so that a search engine learns their order.

    Write one passage for each level that is asked for, in the same order. All are true to life and of the same kind,
    style, length and language as the given passage, which answers the query best. No passage may answer the query
    better than one of a higher level, and none says how relevant it is.
    """

    task: str = dspy.InputField(desc="what a query is and what should be found")
    query: str = dspy.InputField()
    passage: str = dspy.InputField(desc="the passage that answers the query best")
    level: str = dspy.InputField(desc="the levels of the new passages, in order")
    graded_passages: list[str] = dspy.OutputField(desc="one passage for each level, in order")


DEMOS = [
    dspy.Example(
        task="A question -> the passage that answers it",
        query="Why is bread sour?",
        passage="Sourdough tastes sour since bacteria in the starter turn sugar into lactic and acetic acid.",
        level="related: it is on the subject of the query, and nothing in it answers the query",
        graded_passage="Sourdough rises since wild yeast in the starter turns sugar into carbon dioxide and alcohol.",
    ),
    dspy.Example(
        task="A question -> the passage that answers it",
        query="What keeps a bicycle upright?",
        passage="A moving bicycle stays upright since its front wheel steers into a fall.",
        level="highly relevant: it answers part of the query, or all of it for a case that is a little different",
        graded_passage="A rider at walking pace keeps a bicycle upright by turning the handlebar to and fro.",
    ),
]


def build() -> dspy.Module:
    """Return the program for every model; ``demos`` are shown to the generator as finished examples."""
    program = dspy.Predict(WriteGraded)
    program.demos = DEMOS
    return program


def build_structured() -> dspy.Module:
    """Return the program for models that keep typed outputs: all levels in one call."""
    return dspy.Predict(WriteAllGraded)
