"""The one client to every LLM: LiteLLM names, cache, ledger, hard budget."""
