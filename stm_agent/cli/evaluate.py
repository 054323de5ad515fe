"""``stm-agent evaluate``: score any model on any collection."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from stm_agent.cli.output import JsonFlag, emit
from stm_agent.cli.runs import Place
from stm_agent.errors import ConfigError


def evaluate(
    model: Annotated[str, typer.Argument(help="A sentence-transformers folder, embedded: name, Hub name, or 'bm25'.")],
    collection: Annotated[Path | None, typer.Option(help="A BEIR folder.")] = None,
    domain: Annotated[str | None, typer.Option(help="A domain whose collection is scored.")] = None,
    task: Annotated[str | None, typer.Option(help="An official MTEB retrieval task, by name.")] = None,
    split: Annotated[str, typer.Option(help="Split to score.")] = "test",
    engine: Annotated[Literal["fast", "mteb"], typer.Option(help="This program's scorer, or mteb.evaluate.")] = "fast",
    workspace: Place = None,
    as_json: JsonFlag = False,
) -> None:
    """Score a model with nDCG@10, Recall@100 and MRR@10; the same scores again are read, not computed.

    Example: stm-agent evaluate runs/ID/model --collection path/to/beir --split dev
    """
    if sum(option is not None for option in (collection, domain, task)) != 1:
        raise ConfigError("name exactly one of --collection DIR, --domain NAME and --task MTEB_NAME")
    from stm_agent.loop.evaluate_single import evaluate_model, evaluate_official
    from stm_agent.workspace import find_workspace, runs_folder

    place = find_workspace(workspace)
    runs = runs_folder(place)
    if task is not None:
        result = evaluate_official(model, task, runs=runs)
    else:
        from stm_agent.domain.build import build_collection
        from stm_agent.domain.collection import read_beir
        from stm_agent.domain.load import load_domain

        target = (
            read_beir(collection) if collection else build_collection(load_domain(str(domain), place).collection, place)
        )
        result = evaluate_model(model, target, split, runs=runs, engine=engine)
    emit(result, "\n".join(f"{name:<14} {value:.4f}" for name, value in result.items()), as_json)
