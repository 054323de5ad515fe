"""``stm-agent init``: a fresh workspace."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stm_agent.cli.output import JsonFlag, emit


def init(
    folder: Annotated[Path, typer.Argument(help="Folder to make; must not exist.")],
    as_json: JsonFlag = False,
) -> None:
    """Write a workspace with programs, prompts and a domain file of your own to change.

    Example: stm-agent init my-retriever
    """
    from stm_agent.workspace import init_workspace

    target = init_workspace(folder)
    text = f"wrote {target}; next: cd {target} && stm-agent optimize --domain domain.yaml"
    emit({"workspace": str(target)}, text, as_json)
