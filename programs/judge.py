"""Judges how relevant a passage is to a query. Edit it freely.

As in ``hard_negatives.py``, :func:`build` may return any DSPy module. It gets ``task``, ``query`` and ``passage``, may
leave out any of them, and returns ``judgement``: one line that starts with ``grade`` and a digit from 0 to 3, then a
colon and the reason in a few words. Grades are TREC's: 3 answers the query, 2 answers a part of it, 1 is on its topic
only, 0 is on another topic. The engine learns from known positives how much each grade says, so a strict program and a
generous one can both be used.
"""

from __future__ import annotations

import dspy


class JudgeRelevance(dspy.Signature):  # type: ignore[misc]
    """You judge search results. You get a query and a passage.

    Grade the passage: 3 if it answers the query, 2 if it answers a part of it, 1 if it is on the topic but does not
    answer, 0 if it is about something else. Answer with one line: grade, the digit, a colon, the reason in a few words.
    """

    task: str = dspy.InputField()
    query: str = dspy.InputField()
    passage: str = dspy.InputField()
    judgement: str = dspy.OutputField()


DEMOS = [
    dspy.Example(
        task="A question -> the passage that answers it",
        query="What keeps a bicycle upright?",
        passage="A moving bicycle stays upright since its front wheel steers into a fall.",
        judgement="grade 3: it names what keeps the bicycle upright",
    ),
    dspy.Example(
        task="A question -> the passage that answers it",
        query="What keeps a bicycle upright?",
        passage="A bicycle has two wheels of the same size, a frame, a saddle and a chain.",
        judgement="grade 1: it describes a bicycle, not what keeps it upright",
    ),
    dspy.Example(
        task="A question -> the passage that answers it",
        query="Why is bread sour?",
        passage="The court adjourned the case until spring.",
        judgement="grade 0: it is about a court case",
    ),
]


class Judge(dspy.Module):  # type: ignore[misc]
    """One prediction, whose bare digit gets its name."""

    def __init__(self) -> None:
        """Make the predictor."""
        super().__init__()
        self.predict = dspy.Predict(JudgeRelevance)
        self.predict.demos = DEMOS

    def forward(self, task: str, query: str, passage: str) -> dspy.Prediction:
        """Return the judgement; ``2: a part`` becomes ``grade 2: a part``."""
        line = str(self.predict(task=task, query=query, passage=passage).judgement).strip()
        return dspy.Prediction(judgement=f"grade {line}" if line[:1].isdigit() else line)


def build() -> dspy.Module:
    """Return the program."""
    return Judge()
