"""``stm-agent merge``: adapters into one plain model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stm_agent.cli.output import JsonFlag, emit
from stm_agent.cli.runs import Place


def merge(
    domain: Annotated[str, typer.Option(help="Domain whose backbone the adapters belong to.")],
    experts: Annotated[list[Path], typer.Option(help="Adapter folder; give one --experts for each.")],
    weights: Annotated[list[float], typer.Option(help="Weight of the adapter in the same place; one for each.")],
    output: Annotated[Path, typer.Option(help="Folder to write the model to; must not exist.")],
    workspace: Place = None,
    as_json: JsonFlag = False,
) -> None:
    """Merge LoRA adapters linearly (exact) into a plain sentence-transformers folder.

    Example: stm-agent merge --domain biomedical --experts a --experts b --weights 0.6 --weights 0.4 --output model
    """
    from stm_agent.domain.load import load_domain
    from stm_agent.loop.single import merge_adapters
    from stm_agent.workspace import find_workspace

    spec = load_domain(domain, find_workspace(workspace))
    recipe = merge_adapters(spec, experts, weights, output)
    emit(recipe, f"merged {len(experts)} adapters into {output}", as_json)
