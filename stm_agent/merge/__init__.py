"""Experts into one model: exact linear merges of LoRA deltas, and the search of their weights."""
