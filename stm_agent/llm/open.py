"""Open a client for any model name: embedded, a GGUF file, scripted, or whatever LiteLLM knows."""

from __future__ import annotations

from pathlib import Path

from stm_agent.assets.decoder import is_local
from stm_agent.errors import ConfigError
from stm_agent.llm.answer import TRIES, Provider
from stm_agent.llm.budget import Budget
from stm_agent.llm.client import LlmClient
from stm_agent.llm.facts import EMBEDDED_SLOTS, ModelFacts, model_facts
from stm_agent.llm.options import LlmOptions


def open_client(
    options: LlmOptions,
    *,
    cache: Path,
    ledger: Path,
    budget: Budget,
    api_key: str | None = None,
    patience: float | None = None,
    tries: int = TRIES,
    asks: bool = True,
    counts_stored: bool = False,
) -> LlmClient:
    """Open a client to an LLM.

    Args:
        options: Which LLM, how it samples, what it costs.
        cache: Folder of answers, shared by runs.
        ledger: JSONL file of the calls of one run; what it holds counts against the budget.
        budget: Ceiling on all calls of the run.
        api_key: Key of the provider; None: the environment's.
        patience: Seconds a server may stay silent before it is given up for good; None: LiteLLM's time-out, retried.
        tries: How often a server that is busy or away is asked.
        asks: Whether the LLM may be asked; else only answers of the cache are given, and the rest is rejected.
        counts_stored: Whether answers of the cache count at their first cost; for ledgers of comparisons.

    Raises:
        ConfigError: LiteLLM does not know the name, or the asset or GGUF file does not exist; or there is a cap in
            dollars and nobody knows the price.
    """
    facts = model_facts(options)
    provider = _provider(options, facts, api_key, patience, tries)
    if budget.usd is not None and not facts.priced:
        raise ConfigError(
            f"the price of '{options.model}' is unknown, so a cap of {budget.usd:g} USD cannot be kept; "
            "give --price-in and --price-out in USD per million tokens (0 for your own server)"
        )
    return LlmClient(
        options,
        provider,
        cache=cache,
        ledger=ledger,
        budget=budget,
        facts=facts,
        asks=asks,
        counts_stored=counts_stored,
    )


def _provider(
    options: LlmOptions, facts: ModelFacts, api_key: str | None, patience: float | None, tries: int
) -> Provider:
    if is_local(options.model):
        from stm_agent.llm.embedded import EmbeddedProvider

        slots = min(options.width or facts.width, EMBEDDED_SLOTS)
        return EmbeddedProvider(options.model, slots=slots, patience=patience)
    if options.model.startswith("scripted:"):
        from stm_agent.llm.scripted import ScriptedProvider

        return ScriptedProvider.named(options.model.removeprefix("scripted:"))
    from stm_agent.llm.litellm import LiteLlmProvider
    from stm_agent.llm.own_server import PREFIX, OwnServerProvider

    own = options.model.startswith(PREFIX) and options.api_base is not None and not facts.listed
    return (OwnServerProvider if own else LiteLlmProvider)(
        options.model, options.api_base, api_key, patience=patience, tries=tries, headroom=facts.headroom
    )
