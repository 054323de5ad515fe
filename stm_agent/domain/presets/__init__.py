"""Whole experiments by name: a domain, its models, its LLMs and the suite at the end."""
