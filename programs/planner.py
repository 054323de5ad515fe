"""Decides what a run does next (``stm-agent optimize --policy planner``). Edit it freely.

As in ``hard_negatives.py``, :func:`build` may return any DSPy module. It gets ``state``, a text with scores, weak
slices, what was tried and what is left, and ``menu``, one action a line with its price. It returns ``action``: one line
of the menu up to the colon, for example ``train-expert expert=plain start=listed``.
"""

from __future__ import annotations

import dspy


class ChooseAction(dspy.Signature):  # type: ignore[misc]
    """You improve a search model within a budget. Choose the next action from the menu.

    Prefer what gains much for its price, what was not tried yet, and what helps the weakest slices of queries. Do not
    repeat what brought nothing. Answer with one line of the menu, copied up to its colon.
    """

    state: str = dspy.InputField()
    menu: str = dspy.InputField()
    action: str = dspy.OutputField()


def build() -> dspy.Module:
    """Return the program."""
    return dspy.Predict(ChooseAction)
