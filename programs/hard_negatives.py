"""Writes a hard negative: a passage near the positive that does not answer the query. Edit it freely.

The engine calls :func:`build_structured` for models that keep typed outputs, and :func:`build` for small ones. Either
may return any DSPy module: ``Predict``, ``ChainOfThought``, or one with several predictors; a file with ``build`` alone
serves all models.

Inputs, of which a program may leave out any:
    task: What a query is and what should be found, in one line.
    query: The query.
    passage: The passage that answers it.
    mined: A passage that a retriever found and that does not answer it; the new one should be harder. May be empty.
    requirement: The one kind of requirement of the query that the new passage must not meet.

Outputs, of which others are ignored:
    hard_negative: The passage.
    violates: The requirement that it does not meet, in a few words; without it, the input ``requirement`` is recorded
        if the program takes it.
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


class WriteViolatingNegative(dspy.Signature):  # type: ignore[misc]
    """You write hard negatives: passages that a search engine takes for an answer and that are none.

    First name what the query requires of an answer. Then choose exactly one of these requirements, of the kind that is
    given, and write a passage that meets all the others and clearly violates this one. It must be true to life, of the
    same kind, style, length and language as the given passage, and nearer to the query than the mined passage. Nobody
    who reads it may find the answer in it, and it never says that it does not answer.
    """

    task: str = dspy.InputField(desc="what a query is and what should be found")
    query: str = dspy.InputField()
    passage: str = dspy.InputField(desc="the passage that answers the query")
    mined: str = dspy.InputField(desc="a passage that does not answer it, to be made harder; may be empty")
    requirement: str = dspy.InputField(desc="the kind of requirement to violate")
    requirements: list[str] = dspy.OutputField(desc="what the query requires, each in a few words")
    violates: str = dspy.OutputField(desc="the one requirement that the new passage violates")
    hard_negative: str = dspy.OutputField(desc="the new passage")


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
    """Return the program for every model; ``demos`` are shown to the generator as finished examples."""
    program = dspy.Predict(WriteHardNegative)
    program.demos = DEMOS
    return program


def build_structured() -> dspy.Module:
    """Return the program for models that keep typed outputs: it names what the passage violates."""
    return dspy.Predict(WriteViolatingNegative)
