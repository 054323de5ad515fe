"""The one door to every LLM: LiteLLM names, cache, ledger, hard budget."""
