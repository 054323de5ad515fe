"""The chat format that a model can keep: DSPy's own with field markers, or a plain one for one text.

Import this module inside functions: its classes derive from DSPy's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import dspy

from stm_agent.assets.decoder import SUFFIX
from stm_agent.errors import AnswerRejected
from stm_agent.llm.answer import BAD_REQUEST, TOO_LONG
from stm_agent.llm.call_record import CallRecord, client_error
from stm_agent.llm.tokens import chat_tokens, cut_at_sentence, rough_tokens

if TYPE_CHECKING:
    from stm_agent.llm.client import LlmClient

SMALL_BILLIONS = 4.0
"""Models up to this size often lose DSPy's field markers."""
HALVINGS = 3
"""How often an input is cut in half for a model whose context nobody knows, after it refused the length."""
LEAST_TOKENS = 32
"""An input is never cut below this."""
_SIZE = re.compile(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)([mb])(?![a-z0-9])", re.IGNORECASE)

Untyped: TypeAlias = Any
"""A value of DSPy's, which ships no types: signatures, examples and LMs are made at run time."""
Fields = dict[str, Untyped]
"""Field name -> value."""
Messages = list[Fields]


def is_small(model: str) -> bool:
    """Return whether a model is too small for field markers, by its name: embedded, or of at most 4 billion weights.

    A GGUF file that does not name its size counts as small: the plain format works for every model.
    """
    if model.startswith(("embedded:", "scripted:")):
        return True
    if model.lower().endswith(SUFFIX):
        model = Path(model).stem
        if not _SIZE.search(model):
            return True
    sizes = [float(number) / (1000 if unit in "mM" else 1) for number, unit in _SIZE.findall(model)]
    return bool(sizes) and max(sizes) <= SMALL_BILLIONS


def is_plain(signature: Untyped) -> bool:
    """Return whether a signature has one output field, a text."""
    return [field.annotation for field in signature.output_fields.values()] == [str]


class PlainAdapter(dspy.Adapter):  # type: ignore[misc]
    """A format without field markers: inputs as ``Name: value`` lines, and the whole answer is the output.

    DSPy's own chat format asks for ``[[ ## field ## ]]`` markers, which small models do not keep. It works for
    signatures with one output field.
    """

    def format(self, signature: Untyped, demos: Untyped, inputs: Untyped) -> Messages:
        """Return the chat: instructions, finished examples, inputs."""
        (output,) = signature.output_fields
        messages = [{"role": "system", "content": signature.instructions}]
        for demo in demos:
            messages.append({"role": "user", "content": _lines(signature, demo)})
            messages.append({"role": "assistant", "content": str(demo[output])})
        return [*messages, {"role": "user", "content": _lines(signature, inputs)}]

    def parse(self, signature: Untyped, completion: str) -> Fields:
        """Return the whole answer as the one output field."""
        (output,) = signature.output_fields
        return {output: completion.strip()}


class FittingAdapter(dspy.Adapter):  # type: ignore[misc]
    """Chooses the format for each predictor, and cuts inputs that are longer than the model's context.

    A small model gets the plain format for signatures with one text output. Several or typed outputs are asked as a
    JSON document by a schema, if the model keeps one; should its server refuse this schema, and for all other models,
    in DSPy's chat format and, if that cannot be read, once more as JSON. A single text is then taken as it came.
    """

    def __init__(self, client: LlmClient, record: CallRecord, *, plain: bool = False) -> None:
        """Take the model's client.

        Args:
            client: The way to the model.
            record: Counts cut inputs.
            plain: The model is asked as a small one, whatever its name says.
        """
        super().__init__()
        self._client, self._record = client, record
        self._schema_refused = False
        self._small = plain or is_small(client.model)

    def __call__(
        self,
        lm: Untyped,
        lm_kwargs: Fields,
        signature: Untyped,
        demos: list[Fields],
        inputs: Fields,
    ) -> list[Fields]:
        """Ask for one predictor's outputs."""
        ask = self._asker(lm, lm_kwargs, signature, demos)
        cut, inputs = self._fit(signature, demos, inputs)
        self._record.inputs_cut += cut
        for _ in range(HALVINGS):
            try:
                return ask(inputs)
            except dspy.utils.exceptions.LMError as error:
                cause = client_error(error)
                shorter = _halved(inputs)
                if not isinstance(cause, AnswerRejected) or cause.reason != TOO_LONG or shorter is None:
                    raise
                self._record.inputs_cut += not cut
                cut, inputs = True, shorter
        return ask(inputs)

    def format(self, signature: Untyped, demos: Untyped, inputs: Untyped) -> Messages:
        """Return the chat in the format that fits."""
        messages: Messages = self._format_of(signature).format(signature, demos, inputs)
        return messages

    def parse(self, signature: Untyped, completion: str) -> Fields:
        """Read an answer in the format that fits."""
        fields: Fields = self._format_of(signature).parse(signature, completion)
        return fields

    def _format_of(self, signature: Untyped) -> dspy.Adapter:
        if is_plain(signature) and self._small:
            return PlainAdapter()
        if not is_plain(signature) and self._client.takes_schema and not self._schema_refused:
            return dspy.JSONAdapter()
        return dspy.ChatAdapter(use_json_adapter_fallback=not is_plain(signature))

    def _asker(
        self,
        lm: Untyped,
        lm_kwargs: Fields,
        signature: Untyped,
        demos: list[Fields],
    ) -> Callable[[Fields], list[Fields]]:
        def ask(inputs: Fields) -> list[Fields]:
            adapter = self._format_of(signature)
            try:
                answers: list[Fields] = adapter(lm, dict(lm_kwargs), signature, demos, inputs)
                return answers
            except dspy.utils.exceptions.LMError as error:
                cause = client_error(error)
                if not isinstance(adapter, dspy.JSONAdapter) or not _is_bad_request(cause):
                    raise
                self._schema_refused, self._record.error = True, None
                return ask(inputs)
            except dspy.utils.exceptions.AdapterParseError as error:
                if not is_plain(signature) or not error.lm_response:
                    raise
                # The model wrote the text and left out the marker: what it wrote is paid.
                (output,) = signature.output_fields
                return [{output: error.lm_response}]

        return ask

    def _fit(
        self,
        signature: Untyped,
        demos: Sequence[Mapping[str, Untyped]],
        inputs: Fields,
    ) -> tuple[bool, Fields]:
        """Return whether inputs were cut, and inputs whose chat fits the context."""
        room, was_cut = self._client.room, False
        while room is not None and (excess := chat_tokens(self.format(signature, demos, inputs)) - room) > 0:
            name = _longest(inputs)
            wanted = max(rough_tokens(inputs[name]) - excess, LEAST_TOKENS) if name else 0
            shorter = cut_at_sentence(inputs[name], wanted) if name else ""
            if not name or not shorter or shorter == inputs[name]:
                break
            inputs, was_cut = {**inputs, name: shorter}, True
        return was_cut, inputs


def _is_bad_request(error: Untyped) -> bool:
    return isinstance(error, AnswerRejected) and error.reason == BAD_REQUEST


def _longest(inputs: Mapping[str, Untyped]) -> str | None:
    texts = {name: len(value) for name, value in inputs.items() if isinstance(value, str) and value}
    return max(texts, key=lambda name: texts[name]) if texts else None


def _halved(inputs: Mapping[str, Untyped]) -> Fields | None:
    name = _longest(inputs)
    tokens = rough_tokens(inputs[name]) // 2 if name else 0
    return {**inputs, str(name): cut_at_sentence(inputs[str(name)], tokens)} if tokens >= LEAST_TOKENS else None


def _lines(signature: Untyped, values: Untyped) -> str:
    names = [name for name in signature.input_fields if values.get(name)]
    return "\n".join(f"{name.replace('_', ' ').capitalize()}: {values[name]}" for name in names)
