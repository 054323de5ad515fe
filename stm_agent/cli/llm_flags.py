"""Flags of every command that asks an LLM."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Generator = Annotated[
    str, typer.Option(help="LLM that writes: embedded:NAME, the path of a .gguf file, or a LiteLLM name.")
]
Reflection = Annotated[str | None, typer.Option(help="LLM that rewrites (default: the generator).")]
ApiBase = Annotated[str | None, typer.Option(help="Base URL of an OpenAI-compatible server.")]
Structured = Annotated[
    str | None,
    typer.Option(
        help="Typed outputs, several texts in a call: auto (unless the model is small), always or never (default: the "
        "domain's)."
    ),
]
PriceIn = Annotated[
    float | None, typer.Option(help="USD per million prompt tokens, if LiteLLM does not know the price.", min=0)
]
PriceOut = Annotated[
    float | None, typer.Option(help="USD per million completion tokens, if LiteLLM does not know it.", min=0)
]
BudgetUsd = Annotated[float | None, typer.Option(help="Hard ceiling on LLM money.")]
BudgetCalls = Annotated[int | None, typer.Option(help="Hard ceiling on LLM calls.", min=1)]
BudgetMinutes = Annotated[float | None, typer.Option(help="Ceiling on minutes.")]
Optimizer = Annotated[str, typer.Option(help="gepa, or for comparison mipro (needs the extra optuna).")]
Proposals = Annotated[int, typer.Option(help="Candidates that are proposed.", min=1)]
Winner = Annotated[
    Path | None,
    typer.Option(help="New file for the winner: NAME.py, or NAME.json for its DSPy state (default: in programs/)."),
]
DEFAULT = "embedded:smollm2-135m"
"""LLM that writes if no other is named."""
Parallel = Annotated[
    int | None, typer.Option(help="Texts to ask the LLM for at a time, which changes none (default: 16).", min=1)
]
