"""Run a workspace's DSPy program through the client; clean, check and count what comes back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stm_agent.errors import AnswerRejected, BudgetExceeded, ConfigError, GenerationError, first_line, raised_as
from stm_agent.llm.answer import EMPTY, Completion
from stm_agent.llm.call_record import CallRecord
from stm_agent.llm.checking import FORMAT, TextCheck
from stm_agent.llm.parallel import in_parallel
from stm_agent.llm.text import clean_text
from stm_agent.synthesize.load import accepted_inputs, load_program
from stm_agent.synthesize.report import PROGRAM, FailureLimit, WritingReport

if TYPE_CHECKING:
    from stm_agent.llm.client import LlmClient


@dataclass(frozen=True)
class WriteRequest:
    """One text to write: what it must be, the program's inputs, and the number of the sample."""

    check: TextCheck
    inputs: Mapping[str, str]
    sample: int = 0


@dataclass(frozen=True)
class _Draft:
    """What came of one request: a text that can be used, or why there is none."""

    request: WriteRequest
    record: CallRecord
    text: str = ""
    fault: str | None = None
    rejection: AnswerRejected | None = None


class Writer:
    """One program, one client: asks, cleans, checks, and counts refusals by reason.

    Attributes:
        refused: Texts that could not be used, by reason.
    """

    def __init__(self, program: Path, client: LlmClient, output: str) -> None:
        """Load the program.

        Args:
            program: File of the program.
            client: The way to the model.
            output: Name of the output field that holds the text.

        Raises:
            ConfigError: The program cannot be built, or has no such output.
        """
        self.program, self.path = load_program(program, output), program
        self.client, self.output = client, output
        self.refused: Counter[str] = Counter()
        self._limit = FailureLimit(client.model)
        self._asked = self._inputs_cut = self._tokens = 0
        self._usd = self._seconds = 0.0
        self._first: Completion | None = None
        self._spent = client.budget.spent

    def write(self, check: TextCheck, *, sample: int = 0, **inputs: str) -> str | None:
        """Ask for one text; None if it cannot be used (counted in ``refused``).

        Args:
            check: What the text must be.
            sample: Number of the sample: the same number gives the same text.
            inputs: The program's inputs.

        Raises:
            BudgetExceeded: A ceiling is reached.
            GenerationError: The generator cannot be used, or rejects one request after another.
            ConfigError: The program fails again and again, or returns no such output.
        """
        return next(self.write_all([WriteRequest(check, inputs, sample)]))

    def write_all(self, requests: Iterable[WriteRequest]) -> Generator[str | None, None, None]:
        """Yield a text for each request, in their order, as :meth:`write` returns it.

        As many are asked for at a time as the client's width allows. Counts, texts and the point at which rejections
        end the work are those of asking one after another. Close the generator to leave it early.

        Raises:
            BudgetExceeded: A ceiling is reached.
            GenerationError: The generator cannot be used, or rejects one request after another.
            ConfigError: The program fails again and again, or returns no such output.
        """
        with closing(in_parallel(self._draft, requests, width=self.client.width)) as drafts:
            while True:
                try:
                    draft = next(drafts, None)
                except GenerationError:
                    self._asked += 1
                    raise
                if draft is None:
                    return
                self._count(draft.record)
                yield self._accept(draft)

    def _draft(self, request: WriteRequest) -> _Draft:
        """Ask for one text; threads may call it at the same time."""
        record = CallRecord()
        try:
            text = clean_text(self._ask(record, request.sample, dict(request.inputs)), request.check.kind)
        except AnswerRejected as error:
            return _Draft(request, record, rejection=error)
        return _Draft(request, record, text, request.check.fault(text))

    def _accept(self, draft: _Draft) -> str | None:
        if draft.rejection is not None:
            self.refused[draft.rejection.reason] += 1
            self._limit.failed(draft.rejection)
            return None
        if draft.fault:
            self.refused[draft.fault] += 1
        self._limit.passed(draft.text, draft.request.inputs)
        return None if draft.fault else draft.text

    def report(self, written: int, ended: GenerationError | None = None) -> WritingReport:
        """Return the counts so far, and why the stage ended early if it did."""
        spent = self.client.budget.spent
        return WritingReport(
            asked=self._asked,
            written=written,
            refused=dict(self.refused),
            inputs_cut=self._inputs_cut,
            usd=spent.usd - self._spent.usd,
            calls=spent.calls - self._spent.calls,
            ended_by=str(ended) if ended else None,
            over_budget=isinstance(ended, BudgetExceeded),
        )

    def sample(self) -> dict[str, Any]:
        """Return what a trace shows of this program: its instructions, its first chat, and what all calls cost."""
        first = self._first
        return {
            "instructions": "\n\n".join(predictor.signature.instructions for predictor in self.program.predictors()),
            "messages": [dict(message) for message in first.messages] if first else [],
            "answer": first.text if first else "",
            "tokens": self._tokens,
            "usd": self._usd,
            "seconds": round(self._seconds, 3),
        }

    def _ask(self, record: CallRecord, sample: int, inputs: dict[str, str]) -> str:

        from stm_agent.llm.dspy_engine import dspy_context

        accepted = accepted_inputs(self.program, inputs, self.path)
        with raised_as(self._failed), dspy_context(self.client, record=record, sample=sample):
            prediction = self.program(**accepted)
        # A program may continue after a rejected answer, never after a spent budget.
        if record.error is not None and not isinstance(record.error, AnswerRejected):
            raise record.error
        return self._text(prediction)

    def _failed(self, error: BaseException) -> AnswerRejected:
        """Return the rejection for what the user's program raised."""
        import dspy

        if isinstance(error, dspy.utils.exceptions.AdapterParseError):
            name = self.path.name
            return AnswerRejected(
                f"{self.client.model} does not keep the format of {name}; give it one output field", FORMAT
            )
        line = first_line(error)[:200]
        return AnswerRejected(f"program {self.path} fails: {type(error).__name__}: {line}; correct it", PROGRAM)

    def _text(self, prediction: Any) -> str:  # noqa: ANN401 - whatever the program returns
        import dspy

        if not isinstance(prediction, dspy.Prediction) or self.output not in prediction:
            raise ConfigError(
                f"program {self.path} returns no field '{self.output}'; return dspy.Prediction({self.output}=...)"
            )
        value = prediction[self.output]
        if value is None:
            raise AnswerRejected(f"{self.client.model} left '{self.output}' empty", EMPTY)
        return str(value)

    def _count(self, record: CallRecord) -> None:
        self._asked += 1
        self._inputs_cut += record.inputs_cut
        for completion in record.completions:
            self._first = self._first or completion
            self._tokens += completion.prompt_tokens + completion.completion_tokens
            self._usd += completion.usd
            self._seconds += completion.seconds
