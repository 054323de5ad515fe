"""The annotation tool: people write queries and judgements, an LLM drafts, the loop trains and scores on them."""
