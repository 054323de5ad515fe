"""Run a workspace's DSPy program through the client; clean, check and count what comes back."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stm_agent.errors import AnswerRejected, GenerationError, first_line, raised_as
from stm_agent.llm.call_record import CallRecord
from stm_agent.llm.checking import FORMAT
from stm_agent.llm.parallel import in_parallel
from stm_agent.synthesize.counts import ProgramSample, WritingCounts
from stm_agent.synthesize.drafts import Draft, Produced, WriteRequest, produced_texts
from stm_agent.synthesize.load import (
    accepted_inputs,
    has_both,
    list_field,
    load_program,
    may_be_structured,
    output_fields,
)
from stm_agent.synthesize.report import FIRST_FAILURES, PROGRAM, FailureLimit, WritingReport

if TYPE_CHECKING:
    from stm_agent.llm.client import LlmClient

ATTEMPTS_APART = 1000
"""Distance between the sample numbers of two attempts at one text: more samples than a text ever has."""
Texts = tuple[Produced, ...]
"""The texts of one request, those that lack with their fault."""
Drafts = tuple[Draft, ...]
"""What came of one request: of one call, or of a call for each of its texts."""


class Writer:
    """One program, one client: asks, cleans, checks, and counts refusals by reason.

    A model that ``structured: auto`` asks for typed outputs, and whose first answers all miss their format, is asked by
    the plain program of the same file from then on.

    Attributes:
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
        typed = may_be_structured(structured, client.model)
        self.program = load_program(program, output, structured=typed)
        self.path, self.client, self.output = program, client, output
        self.several = list_field(output) in output_fields(self.program)
        self._can_fall_back = typed and structured == "auto" and has_both(program)
        self._forced = structured == "always" and has_both(program)
        self._fell_back = self._works = False
        self._limit, self._counts = FailureLimit(client.model), WritingCounts(client)
        self._attempts, self._alike = attempts, alike
        self._ended = threading.Event()

    @property
    def refused(self) -> Counter[str]:
        """Texts that could not be used, by reason; a caller that refuses more counts them here."""
        return self._counts.refused

    def write_all(self, requests: Iterable[WriteRequest]) -> Generator[str | None, None, None]:
        """Yield the first text of each request, in their order; None if it cannot be used (counted in ``refused``).

        Raises:
            StmAgentError: As :meth:`produce_all`.
        """
        with closing(self.produce_all(requests)) as produced:
            for first, *_ in produced:
                yield first.text if first.fault is None else None

    def produce_all(self, requests: Iterable[WriteRequest]) -> Generator[Texts, None, None]:
        """Yield the texts of each request, in their order: as many as asked for, those that lack with their fault.

        One request is asked at a time until a text can be used, so that a wrong setting costs few calls; from then on
        as many as the client's width allows. Counts, texts and the point at which rejections end the work are those of
        asking one after another. Close the generator to leave it early.

        Raises:
            BudgetExceeded: A ceiling is reached.
            GenerationError: The generator cannot be used, or rejects one request after another.
            ConfigError: The program fails again and again, or returns no such output.
        """
        rest = iter(requests)
        self._ended.clear()
        yield from self._first_texts(rest)
        with closing(in_parallel(self._drafts, rest, width=self.client.threads)) as drafts:
            try:
                while (made := self._next(drafts)) is not None:
                    yield self._accept(made)
            finally:
                # What is under way makes no further attempt.
                self._ended.set()

    def report(self, written: int, ended: GenerationError | None = None, *, copied: int = 0) -> WritingReport:
        """Return the counts so far, and why the stage ended early if it did: see :meth:`WritingCounts.report`."""
        return self._counts.report(written, ended, copied=copied)

    def sample(self) -> ProgramSample:
        """Return what a trace shows of this program: its instructions, its first chat, and what its answers cost."""
        return self._counts.sample(self.program)

    def _first_texts(self, requests: Iterator[WriteRequest]) -> Generator[Texts, None, None]:
        """Yield texts that are asked for one after another, up to the first that can be used.

        Drafts in no readable format wait until it is known whether the model ever keeps the format.
        """
        drafts, waiting = map(self._drafts, requests), list[Drafts]()
        while not self._works:
            try:
                made = self._next(drafts)
            except GenerationError:
                yield from map(self._accept, waiting)
                raise
            if made is None:
                break
            waiting.append(made)
            if not (self._can_fall_back and all(draft.is_misread for draft in made)):
                yield from map(self._accept, waiting)
                waiting = []
            elif sum(len(draft.records) for before in waiting for draft in before) >= FIRST_FAILURES:
                yield from self._asked_plainly(waiting)
                waiting = []
        if waiting:
            yield from self._asked_plainly(waiting)

    def _asked_plainly(self, misread: Sequence[Drafts]) -> Generator[Texts, None, None]:
        """Take the plain program from now on, and yield its texts for requests whose answers could not be read."""
        self.program = load_program(self.path, self.output)
        self.several = list_field(self.output) in output_fields(self.program)
        self._can_fall_back, self._fell_back = False, True
        drafts = [draft for made in misread for draft in made]
        for draft in drafts:
            self._counts.misread(draft)
        plain = map(self._drafts, [draft.request for draft in drafts])
        while (made := self._next(plain)) is not None:
            yield self._accept(made)

    def _next(self, drafts: Iterator[Drafts]) -> Drafts | None:
        """Return the next drafts; None: there are no more."""
        try:
            return next(drafts, None)
        except GenerationError:
            self._counts.asked += 1
            raise

    def _drafts(self, request: WriteRequest) -> Drafts:
        """Ask for the texts of a request: in one call, or one by one; threads may call it at the same time."""
        return tuple(map(self._draft, (request,) if self.several else request.singly or (request,)))

    def _draft(self, request: WriteRequest) -> Draft:
        """Ask until a text can be used."""
        # The same request gives the same answer at temperature 0.
        attempts = self._attempts if self.client.options.temperature else 1
        draft = Draft(request, (), (), (), rejected=False)
        shown = accepted_inputs(self.program, request.inputs, self.path)
        for attempt in range(attempts):
            record, sample = CallRecord(), request.sample + attempt * ATTEMPTS_APART
            rejections = draft.rejections
            try:
                prediction = self._ask(record, sample, request.count, shown)
                texts = produced_texts(
                    prediction,
                    request,
                    output=self.output,
                    program=self.path,
                    record=record,
                    sample=sample,
                    shown=shown,
                )
                rejected = False
            except AnswerRejected as error:
                texts, rejected = (Produced("", error.reason, sample=sample),) * request.count, True
                rejections = (*rejections, error)
            self._counts.made(record)
            draft = Draft(request, (*draft.records, record), texts, rejections, rejected)
            if draft.ends or self._ended.is_set():
                break
        return draft

    def _accept(self, made: Drafts) -> Texts:
        """Count the drafts of a request; they come in the order of their requests."""
        for draft in made:
            self._counts.use(draft)
            self._works = self._works or any(produced.fault is None for produced in draft.texts)
            # Attempts at one text say little of others: a request counts once.
            if draft.rejected:
                self._limit.failed(draft.rejections[-1])
            else:
                text = "" if self._alike else "\n".join(produced.text for produced in draft.texts)
                self._limit.passed(text, draft.request.inputs)
        return tuple(produced for draft in made for produced in draft.texts)

    def _ask(self, record: CallRecord, sample: int, count: int, inputs: Mapping[str, str]) -> Any:  # noqa: ANN401 - whatever the program returns
        from stm_agent.llm.dspy_engine import dspy_context

        context = dspy_context(self.client, record=record, sample=sample, plain=self._fell_back)
        with raised_as(self._failed), context:
            prediction = self._run(inputs, count)
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
            fix = "do not force typed outputs on it (structured: never)" if self._forced else "give it one output field"
            return AnswerRejected(f"{self.client.model} does not keep the format of {self.path.name}; {fix}", FORMAT)
        line = first_line(error)[:200]
        return AnswerRejected(f"program {self.path} fails: {type(error).__name__}: {line}; correct it", PROGRAM)
