"""Known facts about a model that no answer carries: its price, its context, and whether it thinks before it answers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TypedDict

from stm_agent.assets.decoder import is_local
from stm_agent.llm.options import LlmOptions

EMBEDDED_CONTEXT = 2048
"""Tokens of the embedded decoder's context in each slot: its key-value cache then takes 45 MB a slot."""
EMBEDDED_SLOTS = 4
"""Texts that the embedded decoder writes at a time; more texts wait, so that samples of one prompt share a slot."""
DEFAULT_WIDTH = 16
"""Calls at a time: most providers grant a new key more, and an own server batches about as many."""
THINKING_TOKENS = 8192
"""Room for a reasoning model's thoughts beside ``max_tokens``. Providers count both against one limit, and the models
of 2026 spend up to a few thousand tokens on a short task at medium effort."""


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a model before it is asked.

    Attributes:
        priced: Whether the cost of its calls will be known.
        price: US dollars for one prompt token and one answer token; None if only the answers tell.
        context: Most tokens of a prompt and its answer together; None if unknown.
        headroom: Tokens added to the limit of an answer for a reasoning model's thoughts.
        width: Calls at a time that suit the model.
        listed: Whether LiteLLM has an entry for the model.
        schema: Whether the model keeps a JSON schema that is sent with a request.
    """

    priced: bool = True
    price: tuple[float, float] | None = None
    context: int | None = None
    headroom: int = 0
    width: int = 1
    listed: bool = False
    schema: bool = False

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        """Return the US dollars of so many tokens; None if the price is unknown."""
        if self.price is None:
            return None
        return prompt_tokens * self.price[0] + completion_tokens * self.price[1]


def model_facts(options: LlmOptions) -> ModelFacts:
    """Return what is known of a model; prices in the options win over LiteLLM's."""
    if is_local(options.model):
        return ModelFacts(price=(0.0, 0.0), context=EMBEDDED_CONTEXT, width=DEFAULT_WIDTH)
    if options.model.startswith("scripted:"):
        return ModelFacts(price=options.price)
    entry = _litellm_entry(options.model)
    price = options.price or _price(entry)
    return ModelFacts(
        priced=price is not None,
        price=price,
        context=entry.get("max_input_tokens") or None,
        headroom=_headroom(options, entry),
        width=DEFAULT_WIDTH,
        listed=bool(entry),
        schema=bool(entry.get("supports_response_schema")),
    )


class _Entry(TypedDict, total=False):
    """What is read here of LiteLLM's entry of a model."""

    max_input_tokens: int | None
    max_output_tokens: int | None
    input_cost_per_token: float | None
    output_cost_per_token: float | None
    supports_reasoning: bool | None
    supports_response_schema: bool | None


def _litellm_entry(model: str) -> _Entry:
    # Without it LiteLLM asks the network for prices when it is imported, and waits for an answer.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm

    try:
        info = litellm.get_model_info(model)
    except Exception:  # LiteLLM raises its own and plain Exceptions for names it has no entry for
        return {}
    return {
        "max_input_tokens": info.get("max_input_tokens"),
        "max_output_tokens": info.get("max_output_tokens"),
        "input_cost_per_token": info.get("input_cost_per_token"),
        "output_cost_per_token": info.get("output_cost_per_token"),
        "supports_reasoning": info.get("supports_reasoning"),
        "supports_response_schema": info.get("supports_response_schema"),
    }


def _price(entry: _Entry) -> tuple[float, float] | None:
    read, written = entry.get("input_cost_per_token"), entry.get("output_cost_per_token")
    return None if read is None or written is None else (float(read), float(written))


def _headroom(options: LlmOptions, entry: _Entry) -> int:
    if not entry.get("supports_reasoning"):
        return 0
    most = entry.get("max_output_tokens")
    return max(min(THINKING_TOKENS, most - options.max_tokens), 0) if most else THINKING_TOKENS
