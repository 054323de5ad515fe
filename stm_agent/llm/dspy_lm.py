"""The client as a DSPy language model, and a plain chat format that small models can follow."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from stm_agent.llm.litellm import READ_ONLY

if TYPE_CHECKING:
    import dspy

    from stm_agent.llm.client import Completion, LlmClient

TOKENS = ("prompt_tokens", "completion_tokens")
MANY = 1_000_000
"""Between the samples of one request: no rollout_id of DSPy's is as large."""


def as_dspy_lm(client: LlmClient, heard: list[Completion] | None = None) -> dspy.BaseLM:
    """Return a DSPy LM whose every call goes through the client; DSPy's own cache is off.

    Args:
        client: The one way to the model.
        heard: Takes every completion, for traces.
    """
    import dspy

    class ClientLM(dspy.BaseLM):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(
                model=client.model, temperature=client.temperature, max_tokens=client.max_tokens, cache=False
            )

        def forward(self, prompt: str | None = None, messages: Any = None, **kwargs: Any) -> Any:  # noqa: ANN401
            from litellm import ModelResponse

            # DSPy asks for another sample by another rollout_id, or for several at once.
            first, wanted = int(kwargs.get("rollout_id") or 0), int(kwargs.get("n") or 1)
            answers = [
                client.complete(
                    messages or [{"role": "user", "content": prompt or ""}],
                    rollout=first + MANY * number,
                    temperature=kwargs.get("temperature"),
                    max_tokens=kwargs.get("max_tokens"),
                )
                for number in range(wanted)
            ]
            if heard is not None:
                heard.extend(answers)
            choices = [
                {"index": number, "message": {"role": "assistant", "content": done.text}, "finish_reason": "stop"}
                for number, done in enumerate(answers)
            ]
            read, written = (sum(getattr(done, name) for done in answers) for name in TOKENS)
            usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
            return ModelResponse(choices=choices, usage=usage, model=client.model)

    return ClientLM()


@contextlib.contextmanager
def through(client: LlmClient, heard: list[Completion] | None = None, *, plain: bool = True) -> Iterator[None]:
    """Send what DSPy programs ask inside the block through the client.

    Args:
        client: The one way to the model.
        heard: Gets every completion.
        plain: In the plain format; else in DSPy's own, which programs with several outputs need.
    """
    import dspy

    with warnings.catch_warnings():
        # The subclass interface is supported throughout DSPy 3.4, which the project's bound keeps.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        # LiteLLM's answer types are built when first used; its own filter may be gone by then.
        warnings.filterwarnings("ignore", message=READ_ONLY)
        with dspy.context(lm=as_dspy_lm(client, heard), adapter=plain_adapter() if plain else None):
            yield


def plain_adapter() -> dspy.Adapter:
    """Return a DSPy adapter without field markers: inputs as ``Name: value`` lines, the whole answer is the output.

    DSPy's own chat format asks for ``[[ ## field ## ]]`` markers, which models under about a billion
    parameters do not keep. It works for signatures with one output field.
    """
    import dspy

    class Plain(dspy.Adapter):  # type: ignore[misc]
        def format(self, signature: Any, demos: Any, inputs: Any) -> list[dict[str, Any]]:  # noqa: ANN401
            (output,) = signature.output_fields
            messages = [{"role": "system", "content": signature.instructions}]
            for demo in demos:
                messages.append({"role": "user", "content": _lines(signature, demo)})
                messages.append({"role": "assistant", "content": str(demo[output])})
            return [*messages, {"role": "user", "content": _lines(signature, inputs)}]

        def parse(self, signature: Any, completion: str) -> dict[str, Any]:  # noqa: ANN401
            (output,) = signature.output_fields
            return {output: completion.strip()}

    return Plain()


def _lines(signature: Any, values: Any) -> str:  # noqa: ANN401 - dspy types are dynamic
    names = [name for name in signature.input_fields if values.get(name)]
    return "\n".join(f"{name.replace('_', ' ').capitalize()}: {values[name]}" for name in names)
