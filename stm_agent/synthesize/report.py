"""What came of a stage in which an LLM wrote, and when one bad answer after another ends it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from stm_agent.errors import AnswerRejected, AnswersUnusable, BudgetExceeded, ConfigError, GenerationError
from stm_agent.files import content_hash
from stm_agent.llm.answer import FILTERED, NO_ANSWER, NOT_ASKED, TOO_LONG

PROGRAM = "the program failed"
FAILURES_IN_A_ROW = 8
"""Rejections one after another that end a stage: passages that nothing can be written for do not come in such runs."""
SAME_IN_A_ROW = 8
"""Different passages in a row with the same answer that end a stage: texts that fit everything teach nothing."""
FIRST_FAILURES = 4
"""Equal rejections of the very first requests that end a stage: a wrong setting, not a bad passage."""


@dataclass(frozen=True)
class WritingReport:
    """Counts and cost of a stage in which an LLM wrote.

    Attributes:
        asked: Texts asked for.
        written: Texts that can be used.
        refused: Texts that cannot, by reason.
        inputs_cut: Inputs cut to fit the model's context.
        usd: US dollars spent.
        calls: Calls paid, retries included.
        repaired: Texts that could be used at the second attempt or a later one.
        ended_by: Why the stage ended before its end: the budget, or the LLM; None: it is whole.
        over_budget: Whether it was the budget.
        unusable: Whether it was one unusable answer after another.
        copied: Texts that can be used, and are mostly one run of words of the passage they were written for.
        misread: Answers in no readable format, after which the plain program of the file wrote; 0: it was not needed.
    """

    asked: int
    written: int
    refused: Mapping[str, int]
    inputs_cut: int
    usd: float
    calls: int
    repaired: int = 0
    ended_by: str | None = None
    over_budget: bool = False
    unusable: bool = False
    copied: int = 0
    misread: int = 0

    def to_json(self) -> dict[str, object]:
        """Return the counts as JSON; cost is in the ledger, and depends on how many were asked at a time."""
        return {name: value for name, value in asdict(self).items() if name not in ("usd", "calls")}

    def require_whole(self) -> None:
        """Require a stage that went through.

        Raises:
            BudgetExceeded: The budget ended it.
            AnswersUnusable: One unusable answer after another ended it.
            GenerationError: The LLM gave out.
        """
        if self.over_budget:
            raise BudgetExceeded(str(self.ended_by))
        if self.ended_by is not None:
            raise (AnswersUnusable if self.unusable else GenerationError)(self.ended_by)


class FailureLimit:
    """Distinguishes one bad passage from an LLM or a program that does not work."""

    def __init__(self, model: str = "the generator") -> None:
        """Begin before the first request to ``model``."""
        self._model = model
        self._in_a_row: list[str] = []
        self._first = True
        self._text = ""
        self._same: set[str] = set()

    def passed(self, text: str, inputs: Mapping[str, str]) -> None:
        """Note a request that was answered; samples for the same passage may be alike.

        Raises:
            AnswersUnusable: Different passages get the same text again and again.
        """
        self._in_a_row, self._first = [], False
        if text != self._text:
            self._text, self._same = text, set()
        self._same.add(inputs.get("passage") or content_hash(dict(inputs)))
        if text and len(self._same) >= SAME_IN_A_ROW:
            raise AnswersUnusable(
                f"{self._model} answers the same to {len(self._same)} different passages in a row ({text[:60]!r}); "
                "raise its temperature, correct the program, or use another generator"
            )

    def failed(self, error: AnswerRejected) -> None:
        """Note a request that was rejected.

        Raises:
            ConfigError: The program fails again and again.
            AnswersUnusable: Requests are rejected again and again.
            GenerationError: The provider is silent or fails again and again.
        """
        if error.reason == NOT_ASKED:
            return
        self._in_a_row.append(error.reason)
        count, reasons = len(self._in_a_row), set(self._in_a_row)
        # What a provider filters, and what is too long, depends on the passage.
        setting = self._first and len(reasons) == 1 and not reasons & {FILTERED, TOO_LONG}
        if count < (FIRST_FAILURES if setting else FAILURES_IN_A_ROW):
            return
        if reasons == {PROGRAM}:
            raise ConfigError(str(error)) from error
        fault = GenerationError if reasons == {NO_ANSWER} else AnswersUnusable
        raise fault(f"{count} requests in a row were rejected, the last: {error}") from error
