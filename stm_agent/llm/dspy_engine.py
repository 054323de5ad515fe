"""The client as an engine of ``dspy.LM``, and the context that DSPy programs run in."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from stm_agent.errors import AnswerRejected, GenerationError, StmAgentError
from stm_agent.files import content_hash
from stm_agent.llm.answer import CUT_OFF, EMPTY
from stm_agent.llm.call_record import CallRecord, client_error
from stm_agent.llm.text import without_thoughts

if TYPE_CHECKING:
    from dspy.lm15 import Request, Response

    from stm_agent.llm.client import LlmClient

REPEATS_APART = 1_000_000
"""Distance between the rollout numbers of equal requests of one program call: more than samples are ever drawn."""


class ClientEngine:
    """Implements DSPy's engine interface on a client.

    DSPy never shows an engine its ``rollout_id`` or ``n``. One engine therefore serves one sample of one program call,
    and a request that it has seen before is the next sample of that request: the numbers are the same when a resumed
    run asks again, so nothing is paid twice.
    """

    def __init__(self, client: LlmClient, record: CallRecord, *, first_rollout: int, refuse_cut: bool) -> None:
        """Take the client.

        Args:
            client: The way to the model.
            record: Takes completions and errors.
            first_rollout: Rollout number of a request that is asked once.
            refuse_cut: Reject an answer that ended at its token limit.
        """
        self.client, self.record = client, record
        self._first, self._refuse_cut = first_rollout, refuse_cut
        self._seen: Counter[str] = Counter()
        self._lock = threading.Lock()

    @property
    def supports_response_schema(self) -> bool:
        """Whether DSPy may send a JSON schema; it asks an engine for this name."""
        return self.client.takes_schema

    @property
    def supported_params(self) -> tuple[str, ...]:
        """The settings beyond temperature and length that DSPy may send."""
        return ("response_format",) if self.client.takes_schema else ()

    def complete(self, request: Request) -> Response:
        """Answer one canonical request.

        Raises:
            AnswerRejected: The answer cannot be used.
            BudgetExceeded: A ceiling is reached.
            GenerationError: The provider cannot be used.
        """
        try:
            return self._answer(request)
        except StmAgentError as error:
            self.record.error = self.record.error or error
            self.record.calls += error.tries if isinstance(error, GenerationError) else 0
            raise

    def close(self) -> None:
        """Do nothing: the client belongs to the caller."""

    def _answer(self, request: Request) -> Response:
        from dspy.lm15 import Message, Response, TextPart, Usage

        chat, config = _chat_of(request), request.config
        schema = _schema_of(config.response_format) if self.client.takes_schema else None
        key = content_hash([chat, config.temperature, config.max_tokens, *([schema] if schema else [])])
        with self._lock:
            rollout = self._first + REPEATS_APART * self._seen[key]
            self._seen[key] += 1
        completion = self.client.complete(
            chat, rollout=rollout, temperature=config.temperature, max_tokens=config.max_tokens, schema=schema
        )
        self.record.completions.append(completion)
        self.record.calls += 0 if completion.cached else completion.tries
        cut = completion.finish_reason == "length"
        if cut and self._refuse_cut:
            raise AnswerRejected(f"{self.client.model} was cut off at its token limit; raise max_tokens", CUT_OFF)
        text = without_thoughts(completion.text)
        if not text:
            raise AnswerRejected(f"{self.client.model} wrote thoughts and no answer", EMPTY)
        return Response(
            id=None,
            model=request.model,
            message=Message.assistant([TextPart(text)]),
            finish_reason="length" if cut else "stop",
            usage=Usage(input_tokens=completion.prompt_tokens, output_tokens=completion.completion_tokens),
        )


def _schema_of(format_: Mapping[str, object] | None) -> dict[str, object] | None:
    """Return DSPy's canonical format of an answer as OpenAI's ``response_format``; None: text."""
    if not format_ or "schema" not in format_:
        return dict(format_) if format_ else None
    about = {name: value for name, value in format_.items() if name != "type"}
    return {"type": "json_schema", "json_schema": {"name": "answer", **about}}


def _chat_of(request: Request) -> list[dict[str, str]]:
    messages: list[dict[str, str]] = []
    if request.system is not None:
        parts = [request.system] if isinstance(request.system, str) else [part.text for part in request.system]
        messages.append({"role": "system", "content": "".join(parts)})
    for message in request.messages:
        texts = [getattr(part, "text", None) for part in message.parts]
        if None in texts:
            raise GenerationError("a program sends images or files to its LLM; send text only")
        messages.append({"role": message.role, "content": "".join(map(str, texts))})
    return messages


@contextmanager
def dspy_context(
    client: LlmClient,
    *,
    record: CallRecord | None = None,
    sample: int | None = None,
    own_format: bool = False,
    plain: bool = False,
) -> Iterator[CallRecord]:
    """Send what DSPy programs ask inside the block through the client; DSPy's own cache is off.

    Args:
        client: The way to the model.
        record: Takes completions, cut inputs and errors; None: a new one.
        sample: Number of the sample of one program call, whose answers must be whole; None: a block of many calls,
            such as a DSPy optimiser's, where cut answers pass.
        own_format: Use DSPy's chat format as it is, as its optimisers expect; else the format that fits the model and
            the signature, with inputs cut to the model's context.
        plain: The model keeps no field markers, whatever its name says.

    Yields:
        The record.

    Raises:
        StmAgentError: What the client raised, without DSPy's wrapping.
    """
    import dspy

    from stm_agent.llm.adapter import FittingAdapter

    record = CallRecord() if record is None else record
    # DSPy's rollout ids begin at 1; the sample's number keeps that, so that answers paid by it are found.
    first = 0 if sample is None else sample + 1
    engine = ClientEngine(client, record, first_rollout=first, refuse_cut=sample is not None)
    # Retries are the client's: it counts them.
    lm = dspy.LM(client.model, engine=engine, cache=False, num_retries=0)
    adapter = None if own_format else FittingAdapter(client, record, plain=plain)
    try:
        with dspy.context(lm=lm, adapter=adapter, disable_history=True):
            yield record
    except dspy.utils.exceptions.LMError as error:
        if (cause := client_error(error)) is not None:
            raise cause from error
        raise
