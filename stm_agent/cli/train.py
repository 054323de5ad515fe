"""``stm-agent train``: one LoRA expert."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stm_agent.cli.output import JsonFlag, emit, screen_observer
from stm_agent.cli.runs import Place


def train(
    domain: Annotated[str, typer.Option(help="Shipped name or path of a domain file.")],
    expert: Annotated[str, typer.Option(help="Name of the expert in the domain file.")],
    output: Annotated[Path, typer.Option(help="Folder to write the adapter to; must not exist.")],
    start: Annotated[Path | None, typer.Option(help="Adapter folder to start from (default: the backbone).")] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps (default: the domain's).", min=1)] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the weights and the batch order (default: the domain's first).")
    ] = None,
    workspace: Place = None,
    as_json: JsonFlag = False,
) -> None:
    """Train one expert of a domain on its sources, with structural negatives and without mined or written ones.

    Writes the adapter, the expert as a sentence-transformers folder with its card, and a report of the training.
    The same command resumes a killed training. For several devices, start it with "accelerate launch -m stm_agent".

    Example: stm-agent train --domain biomedical --expert lay --output adapters/lay --steps 50
    """
    from stm_agent.backbone.threads import choose_threads, set_threads
    from stm_agent.domain.load import load_domain
    from stm_agent.loop.events import ObserverWatcher, silent
    from stm_agent.loop.train_single import train_domain_expert
    from stm_agent.progress import watched_by
    from stm_agent.train.processes import processes
    from stm_agent.workspace import find_workspace, runs_folder

    set_threads(choose_threads()[0])
    folder = find_workspace(workspace)
    here = processes()
    observer = screen_observer() if here.writes else silent
    with watched_by(ObserverWatcher(observer)):
        trained = train_domain_expert(
            load_domain(domain, folder),
            folder,
            runs_folder(folder),
            expert,
            output,
            start=start,
            steps=steps,
            seed=seed,
        )
    if here.writes:
        emit(trained, "\n".join(f"{name:<18} {value}" for name, value in trained.items()), as_json)
