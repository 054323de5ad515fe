"""Flags of every command that asks an LLM."""

from __future__ import annotations

from typing import Annotated

import typer

Generator = Annotated[
    str, typer.Option(help="LLM that writes: embedded:NAME, the path of a .gguf file, or a LiteLLM name.")
]
Parallel = Annotated[
    int | None, typer.Option(help="Texts to ask the LLM for at a time, which changes none (default: 16).", min=1)
]
