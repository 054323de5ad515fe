"""Writes a hard negative: a passage near the positive that does not answer the query. Edit it freely.

The engine loads this file and calls :func:`build`, which may return any DSPy module: ``Predict``, ``ChainOfThought``,
or one with several predictors. It gets ``task``, ``query`` and ``passage``, may leave out any of them, and returns
``hard_negative``; other outputs are ignored.
"""

from __future__ import annotations

import dspy


class WriteHardNegative(dspy.Signature):  # type: ignore[misc]
    """You write passages for a search engine. You get a query and the passage that answers it.

    Write one other passage of the same kind and length, on a near but different topic: it shares words with the
    given passage, and it does not answer the query. Answer with the passage only, in one sentence.
    """

    task: str = dspy.InputField()
    query: str = dspy.InputField()
    passage: str = dspy.InputField()
    hard_negative: str = dspy.OutputField()


DEMOS = [
    dspy.Example(
        task="A question -> the passage that answers it",
        query="What keeps a bicycle upright?",
        passage="A moving bicycle stays upright since its front wheel steers into a fall.",
        hard_negative="A parked bicycle stays upright since its side stand carries part of the weight.",
    ),
    dspy.Example(
        task="A question -> the passage that answers it",
        query="Why is bread sour?",
        passage="Sourdough tastes sour since bacteria in the starter turn sugar into lactic and acetic acid.",
        hard_negative="Sourdough rises since wild yeast in the starter turns sugar into carbon dioxide and alcohol.",
    ),
]


def build() -> dspy.Module:
    """Return the program; ``demos`` are shown to the generator as finished examples."""
    program = dspy.Predict(WriteHardNegative)
    program.demos = DEMOS
    return program
