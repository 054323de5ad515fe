"""Writes the query that a person would type to find a passage. Edit it freely.

As in ``hard_negatives.py``, :func:`build` may return any DSPy module. It gets ``task`` and ``passage`` and returns
``query``.
"""

from __future__ import annotations

import dspy


class WriteQuery(dspy.Signature):  # type: ignore[misc]
    """You write search queries. You get a passage.

    Write the short query, in plain everyday words,
    that somebody who needs this passage would type. Answer with the query only, in at most eight words.
    """

    task: str = dspy.InputField()
    passage: str = dspy.InputField()
    query: str = dspy.OutputField()


DEMOS = [
    dspy.Example(
        task="A question -> the passage that answers it",
        passage="A moving bicycle stays upright since its front wheel steers into a fall.",
        query="why does a bike not fall over",
    ),
    dspy.Example(
        task="A complaint about a house -> the fault",
        passage="Condensation: water on a surface whose temperature is below the dew point of indoor air.",
        query="wet windows in the morning",
    ),
]


def build() -> dspy.Module:
    """Return the program."""
    program = dspy.Predict(WriteQuery)
    program.demos = DEMOS
    return program
