"""Run a workspace's DSPy program through the client; clean, check and count what comes back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from stm_agent.errors import AnswerRejected, BudgetExceeded, GenerationError, first_line, raised_as
from stm_agent.llm.answer import Completion
from stm_agent.llm.call_record import CallRecord
from stm_agent.llm.checking import FORMAT, TextCheck
from stm_agent.llm.parallel import in_parallel
from stm_agent.synthesize.drafts import Draft, Produced, WriteRequest, produced_texts
from stm_agent.synthesize.load import accepted_inputs, list_field, load_program, output_fields
from stm_agent.synthesize.report import PROGRAM, FailureLimit, WritingReport

if TYPE_CHECKING:
    from stm_agent.llm.client import LlmClient

ATTEMPTS_APART = 1000
"""Distance between the sample numbers of two attempts at one text: more samples than a text ever has."""


class ProgramSample(TypedDict):
    """What a trace shows of a program: its instructions, its first chat, and what all calls cost."""

    instructions: str
    messages: list[dict[str, str]]
    answer: str
    calls: int
    tokens: int
    usd: float
    seconds: float


class Writer:
    """One program, one client: asks, cleans, checks, and counts refusals by reason.

    Attributes:
        refused: Texts that could not be used, by reason.
        several: Whether one call gives several texts: the program has the output's plural, a list.
    """

    def __init__(
        self,
        program: Path,
        client: LlmClient,
        output: str,
        *,
        structured: str = "never",
        attempts: int = 1,
        alike: bool = False,
    ) -> None:
        """Load the program.

        Args:
            program: File of the program.
            client: The way to the model.
            output: Name of the output field that holds the text; its plural holds a list of several.
            structured: Whether the program may ask for several typed outputs, as ``SynthesizeSpec.structured``.
            attempts: How often a text is asked for until it can be used.
            alike: Different passages may get the same text, as grades do; else many in a row end the work.

        Raises:
            ConfigError: The program cannot be built, or has no such output.
        """
        self.program = load_program(program, output, structured=may_be_structured(structured, client.model))
        self.path, self.client, self.output = program, client, output
        self.several = list_field(output) in output_fields(self.program)
        self.refused: Counter[str] = Counter()
        self._limit = FailureLimit(client.model)
        self._attempts, self._alike = attempts, alike
        self._asked = self._repaired = self._inputs_cut = self._tokens = self._answers = 0
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
        """Yield the first text of each request, in their order, as :meth:`write` returns it.

        Raises:
            StmAgentError: As :meth:`produce_all`.
        """
        with closing(self.produce_all(requests)) as produced:
            for first, *_ in produced:
                yield first.text if first.fault is None else None

    def produce_all(self, requests: Iterable[WriteRequest]) -> Generator[tuple[Produced, ...], None, None]:
        """Yield the texts of each request, in their order: as many as asked for, those that lack with their fault.

        As many requests are asked at a time as the client's width allows. Counts, texts and the point at which
        rejections end the work are those of asking one after another. Close the generator to leave it early.

        Raises:
            BudgetExceeded: A ceiling is reached.
            GenerationError: The generator cannot be used, or rejects one request after another.
            ConfigError: The program fails again and again, or returns no such output.
        """
        with closing(in_parallel(self._draft, requests, width=self.client.threads)) as drafts:
            while True:
                try:
                    draft = next(drafts, None)
                except GenerationError:
                    self._asked += 1
                    raise
                if draft is None:
                    return
                yield self._accept(draft)

    def report(self, written: int, ended: GenerationError | None = None, *, copied: int = 0) -> WritingReport:
        """Return the counts so far, and why the stage ended early if it did.

        Args:
            written: Texts that can be used.
            ended: What ended the stage early; None: it is whole.
            copied: Texts of these that are copied from their passage.
        """
        spent = self.client.budget.spent
        return WritingReport(
            asked=self._asked,
            written=written,
            refused=dict(self.refused),
            inputs_cut=self._inputs_cut,
            usd=spent.usd - self._spent.usd,
            calls=spent.calls - self._spent.calls,
            repaired=self._repaired,
            ended_by=str(ended) if ended else None,
            over_budget=isinstance(ended, BudgetExceeded),
            copied=copied,
        )

    def sample(self) -> ProgramSample:
        """Return what a trace shows of this program: its instructions, its first chat, and what all calls cost."""
        first = self._first
        return {
            "instructions": "\n\n".join(predictor.signature.instructions for predictor in self.program.predictors()),
            "messages": [dict(message) for message in first.messages] if first else [],
            "answer": first.text if first else "",
            "calls": self._answers,
            "tokens": self._tokens,
            "usd": self._usd,
            "seconds": round(self._seconds, 3),
        }

    def _draft(self, request: WriteRequest) -> Draft:
        """Ask until a text can be used; threads may call it at the same time."""
        # The same request gives the same answer at temperature 0.
        attempts = self._attempts if self.client.options.temperature else 1
        draft = Draft(request, (), (), (), rejected=False)
        for attempt in range(attempts):
            record, sample = CallRecord(), request.sample + attempt * ATTEMPTS_APART
            rejections = draft.rejections
            try:
                prediction = self._ask(record, sample, request)
                texts = produced_texts(
                    prediction, request, output=self.output, program=self.path, record=record, sample=sample
                )
                rejected = False
            except AnswerRejected as error:
                texts, rejected = (Produced("", error.reason, sample=sample),) * request.count, True
                rejections = (*rejections, error)
            draft = Draft(request, (*draft.records, record), texts, rejections, rejected)
            if draft.ends:
                break
        return draft

    def _accept(self, draft: Draft) -> tuple[Produced, ...]:
        """Count a draft; drafts come in the order of their requests."""
        for record in draft.records:
            self._count(record)
        self._asked += len(draft.texts)
        usable = sum(produced.fault is None for produced in draft.texts)
        self.refused.update(produced.fault for produced in draft.texts if produced.fault)
        self._repaired += usable if len(draft.records) > 1 else 0
        for error in draft.rejections:
            self._limit.failed(error)
        if not draft.rejected:
            text = "" if self._alike else "\n".join(produced.text for produced in draft.texts)
            self._limit.passed(text, draft.request.inputs)
        return draft.texts

    def _ask(self, record: CallRecord, sample: int, request: WriteRequest) -> Any:  # noqa: ANN401 - a prediction
        from stm_agent.llm.dspy_engine import dspy_context

        accepted = accepted_inputs(self.program, request.inputs, self.path)
        with raised_as(self._failed), dspy_context(self.client, record=record, sample=sample):
            prediction = self._run(accepted, request.count)
        # A program may continue after a rejected answer, never after a spent budget.
        if record.error is not None and not isinstance(record.error, AnswerRejected):
            raise record.error
        return prediction

    def _run(self, inputs: Mapping[str, str], count: int) -> Any:  # noqa: ANN401 - whatever the program returns
        import dspy

        if not self.several:
            return self.program(**inputs)
        # Each text has the tokens of one, and the format around them has as many.
        room = self.client.options.max_tokens * (count + 1)
        with dspy.context(lm=dspy.settings.lm.copy(max_tokens=room)):
            return self.program(**inputs)

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

    def _count(self, record: CallRecord) -> None:
        self._inputs_cut += record.inputs_cut
        for completion in record.completions:
            self._first = self._first or completion
            self._answers += 1
            self._tokens += completion.prompt_tokens + completion.completion_tokens
            self._usd += completion.usd
            self._seconds += completion.seconds


def may_be_structured(structured: str, model: str) -> bool:
    """Return whether a model may be asked for several typed outputs, by ``SynthesizeSpec.structured``."""
    from stm_agent.llm.adapter import is_small

    return structured == "always" or (structured == "auto" and not is_small(model))
