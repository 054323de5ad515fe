"""``stm-agent synthesize``: hard negatives written by an LLM."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stm_agent.cli.llm_flags import Generator, Parallel
from stm_agent.cli.output import JsonFlag, emit, screen_observer
from stm_agent.cli.runs import Place


def synthesize(
    domain: Annotated[str, typer.Option(help="Shipped name or path of a domain file.")],
    output: Annotated[Path, typer.Option(help="Folder to write the dataset to; must not exist.")],
    generator: Generator = "embedded:smollm2-135m",
    api_base: Annotated[str | None, typer.Option(help="Base URL of an OpenAI-compatible server.")] = None,
    limit: Annotated[
        int | None, typer.Option(help="Number of pairs that get negatives (default: the domain's).", min=1)
    ] = None,
    parallel: Parallel = None,
    price_in: Annotated[
        float | None, typer.Option(help="USD per million prompt tokens, if LiteLLM does not know the price.", min=0)
    ] = None,
    price_out: Annotated[
        float | None, typer.Option(help="USD per million completion tokens, if LiteLLM does not know it.", min=0)
    ] = None,
    budget_usd: Annotated[float | None, typer.Option(help="Hard ceiling on LLM money.")] = None,
    workspace: Place = None,
    as_json: JsonFlag = False,
) -> None:
    """Write hard negatives with an LLM and the workspace's DSPy program.

    Example: stm-agent synthesize --domain biomedical --output synthetic --limit 8
    """
    from stm_agent.domain.load import load_domain
    from stm_agent.loop.events import ObserverWatcher
    from stm_agent.loop.options import Options
    from stm_agent.loop.single import synthesize_domain
    from stm_agent.progress import watched_by
    from stm_agent.workspace import find_workspace, runs_folder

    folder = find_workspace(workspace)
    options = Options(
        generator=generator,
        api_base=api_base,
        parallel=parallel,
        price_in=price_in,
        price_out=price_out,
        budget_usd=budget_usd,
    )
    with watched_by(ObserverWatcher(screen_observer())):
        counts = synthesize_domain(
            load_domain(domain, folder), folder, runs_folder(folder), output, options, limit=limit
        )
    emit(counts, "\n".join(f"{name:<24} {value}" for name, value in counts.items()), as_json)
