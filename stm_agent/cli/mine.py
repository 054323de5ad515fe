"""``stm-agent mine``: mined hard negatives for a domain's training pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stm_agent.cli.output import JsonFlag, emit
from stm_agent.cli.runs import Place


def mine(
    domain: Annotated[str, typer.Option(help="Shipped name or path of a domain file.")],
    output: Annotated[Path, typer.Option(help="Folder to write the dataset to; must not exist.")],
    limit: Annotated[
        int | None,
        typer.Option(help="At most this many training pairs (default: those that optimize mines for).", min=1),
    ] = None,
    workspace: Place = None,
    as_json: JsonFlag = False,
) -> None:
    """Mine BM25 and dense negatives, filtered by the positive's score, into a datasets folder.

    Example: stm-agent mine --domain biomedical --output negatives
    """
    from stm_agent.domain.load import load_domain
    from stm_agent.loop.single import mine_domain
    from stm_agent.workspace import find_workspace, runs_folder

    folder = find_workspace(workspace)
    counts = mine_domain(load_domain(domain, folder), folder, runs_folder(folder), output, limit)
    emit(counts, "\n".join(f"{name:<24} {value}" for name, value in counts.items()), as_json)
