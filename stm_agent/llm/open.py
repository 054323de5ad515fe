"""Open a client for any model name: embedded, scripted, or whatever LiteLLM knows."""

from __future__ import annotations

from pathlib import Path

from stm_agent.files import read_jsonl
from stm_agent.llm.budget import Budget
from stm_agent.llm.client import TRIES, LlmClient, Provider


def open_client(
    model: str,
    *,
    cache: Path,
    ledger: Path,
    budget: Budget,
    api_base: str | None = None,
    api_key: str | None = None,
    temperature: float = 0.8,
    max_tokens: int = 256,
    patience: float | None = None,
    tries: int = TRIES,
) -> LlmClient:
    """Open a client to any model name: ``embedded:smollm2-135m``, or whatever LiteLLM knows.

    ``patience`` is how many seconds a server may say nothing before it is given up for good, ``tries`` how often one
    that is busy or away is asked.

    Raises:
        ConfigError: LiteLLM does not know the name.
    """
    provider: Provider
    if model.startswith("embedded:"):
        from stm_agent.llm.embedded import EmbeddedProvider

        provider = EmbeddedProvider(model, patience=patience)
    elif model.startswith("scripted:"):
        from stm_agent.llm.scripted import ScriptedProvider

        provider = ScriptedProvider.named(model.removeprefix("scripted:"))
    else:
        from stm_agent.llm.litellm import LiteLlmProvider

        provider = LiteLlmProvider(model, api_base, api_key, patience=patience, tries=tries)
    for entry in read_jsonl(ledger):
        # A resumed run has already spent this.
        if entry.get("model") == model:
            budget.charge(entry["usd"], entry["prompt_tokens"], entry["completion_tokens"], entry["seconds"])
    return LlmClient(
        model,
        provider,
        cache=cache,
        ledger=ledger,
        budget=budget,
        temperature=temperature,
        max_tokens=max_tokens,
        api_base=api_base,
    )
