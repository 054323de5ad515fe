"""One request to a program and the texts that came of it, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stm_agent.errors import AnswerRejected, ConfigError
from stm_agent.llm.answer import BAD_REQUEST, EMPTY, FILTERED, NOT_ASKED, TOO_LONG
from stm_agent.llm.call_record import CallRecord
from stm_agent.llm.checking import FORMAT, TextCheck
from stm_agent.llm.text import clean_text
from stm_agent.synthesize.load import list_field
from stm_agent.synthesize.report import PROGRAM

FINAL = frozenset({FILTERED, TOO_LONG, BAD_REQUEST, NOT_ASKED, PROGRAM})
"""Reasons for which the same request fails again with another sample."""


@dataclass(frozen=True)
class WriteRequest:
    """One call of a program.

    Attributes:
        check: What its texts must be.
        inputs: Its inputs.
        sample: Number of the sample.
        count: Number of texts.
        singly: The same texts one by one, for a program that writes one in a call; empty: this request asks for one.
    """

    check: TextCheck
    inputs: Mapping[str, str]
    sample: int = 0
    count: int = 1
    singly: tuple[WriteRequest, ...] = ()


@dataclass(frozen=True)
class Produced:
    """One text of a program, or why there is none.

    Attributes:
        text: What was written, cleaned; empty if nothing was.
        fault: Why it cannot be used; None: it can.
        extras: The program's other outputs, as text.
        shown: The inputs that the program took; a program need not take all of them.
        request: Hash of the last LLM request, which is the name of its answer in the cache; empty if there is none.
        sample: Number of the sample.
    """

    text: str
    fault: str | None = None
    extras: Mapping[str, str] = field(default_factory=dict)
    shown: Mapping[str, str] = field(default_factory=dict)
    request: str = ""
    sample: int = 0


@dataclass(frozen=True)
class Draft:
    """What came of one request over all its attempts.

    Attributes:
        request: The request.
        records: The LLM calls of each attempt.
        texts: The texts of the last attempt.
        rejections: Attempts for which the LLM or the program gave nothing.
        rejected: Whether the last attempt is one of them.
    """

    request: WriteRequest
    records: tuple[CallRecord, ...]
    texts: tuple[Produced, ...]
    rejections: tuple[AnswerRejected, ...]
    rejected: bool

    @property
    def ends(self) -> bool:
        """Whether another attempt has no use: a text can be used, or none ever will."""
        return any(produced.fault is None or produced.fault in FINAL for produced in self.texts)

    @property
    def is_misread(self) -> bool:
        """Whether every attempt failed for its format alone."""
        wrong = all(error.reason == FORMAT for error in self.rejections)
        return wrong and all(produced.fault == FORMAT for produced in self.texts)


def produced_texts(
    prediction: Any,  # noqa: ANN401 - whatever the program returns
    request: WriteRequest,
    *,
    output: str,
    program: Path,
    record: CallRecord,
    sample: int,
    shown: Mapping[str, str],
) -> tuple[Produced, ...]:
    """Return the texts of a program's answer, cleaned and checked; those that lack with their fault.

    Args:
        prediction: What the program returned.
        request: What was asked.
        output: Name of the output field with the text; its plural holds a list of several.
        program: The program's file.
        record: The LLM calls of this attempt.
        sample: Number of the sample.
        shown: The inputs that the program was given.

    Raises:
        AnswerRejected: The field is empty.
        ConfigError: The program returns no such field.
    """
    values = _values(prediction, output, program)
    names = [name for name in prediction if name not in (output, list_field(output))]
    extras = {name: str(prediction[name]).strip() for name in names if prediction[name] is not None}
    answer = record.completions[-1].request_hash if record.completions else ""
    texts = [clean_text(value, request.check.kind) for value in values[: request.count]]
    made = [Produced(text, request.check.fault(text), extras, shown, answer, sample) for text in texts]
    # A list that is too short lacks texts that were asked for.
    lacking = [Produced("", FORMAT, request=answer, sample=sample)] * (request.count - len(made))
    return (*made, *lacking)


def _values(prediction: Any, output: str, program: Path) -> list[str]:  # noqa: ANN401 - whatever the program returns
    import dspy

    if isinstance(prediction, dspy.Prediction) and isinstance(
        found := prediction.get(list_field(output)), list | tuple
    ):
        return [str(value if isinstance(value, str) else getattr(value, output, value)) for value in found]
    if not isinstance(prediction, dspy.Prediction) or output not in prediction:
        raise ConfigError(f"program {program} returns no field '{output}'; return dspy.Prediction({output}=...)")
    if prediction[output] is None:
        raise AnswerRejected(f"the model left '{output}' empty", EMPTY)
    return [str(prediction[output])]
