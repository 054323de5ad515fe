"""``stm-agent instruct``: search the retrieval instruction of any model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stm_agent.cli.llm_flags import ApiBase, Generator, Parallel, PriceIn, PriceOut
from stm_agent.cli.output import JsonFlag, emit, page_writer, screen_observer
from stm_agent.cli.runs import Place

if TYPE_CHECKING:
    from stm_agent.domain.spec import InstructSpec


def instruct(
    model: Annotated[str, typer.Argument(help="A sentence-transformers folder, an embedded: name, or a Hub name.")],
    collection: Annotated[Path, typer.Option(help="A BEIR folder with judged queries.")],
    task: Annotated[
        str, typer.Option(help="One line: what a query is and what should be found.")
    ] = "Given a query, find the passages that answer it.",
    split: Annotated[str, typer.Option(help="Judged queries; one part is searched on, the other accepts.")] = "dev",
    seeds: Annotated[str, typer.Option(help="File in prompts/ with the first candidates.")] = "retrieval.yaml",
    passages: Annotated[
        str | None, typer.Option(help="File in prompts/ with passage instructions to try too, e.g. passages.yaml.")
    ] = None,
    pool: Annotated[int, typer.Option(help="Generic instructions that the LLM writes.", min=0)] = 0,
    optimizer: Annotated[str, typer.Option(help="gepa, copro or mipro.")] = "gepa",
    reflections: Annotated[int, typer.Option(help="Candidates that the optimiser may propose.", min=0)] = 4,
    hard: Annotated[
        int, typer.Option(help="Hard passages for each query in the sub-corpus; 0: the whole corpus.", min=0)
    ] = 20,
    generator: Generator = "embedded:smollm2-135m",
    api_base: ApiBase = None,
    parallel: Parallel = None,
    price_in: PriceIn = None,
    price_out: PriceOut = None,
    budget_usd: Annotated[float | None, typer.Option(help="Hard ceiling on LLM money; none: no ceiling.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the search.")] = 0,
    output: Annotated[
        Path | None, typer.Option(help="Folder to write the model with its new prompts to; must not exist.")
    ] = None,
    workspace: Place = None,
    as_json: JsonFlag = False,
) -> None:
    """Search the text in front of queries (and passages) on nDCG@10; only the queries are encoded again.

    One part of the judged queries chooses, the other accepts. Every candidate is a trial: stm-agent traces list last.
    Ctrl-C and "stm-agent runs stop" end at a safe point; the same command resumes.

    Example: stm-agent instruct embedded:all-minilm-l6-v2 --collection data/scifact --reflections 8
    """
    from stm_agent.backbone.threads import choose_threads, set_threads
    from stm_agent.errors import ConfigError
    from stm_agent.llm.options import read_options
    from stm_agent.loop.instruct_model import InstructOptions, instruct_model, write_instructed
    from stm_agent.workspace import find_workspace, runs_folder

    if output is not None and output.exists():
        raise ConfigError(f"{output} exists; name a new folder, nothing is overwritten")
    spec = _spec(optimizer, seeds=seeds, passages=passages, pool=pool, reflections=reflections, hard=hard)
    set_threads(choose_threads()[0])
    folder = find_workspace(workspace)
    prices = {"price_in": price_in, "price_out": price_out}
    llm = read_options({"model": generator, "api_base": api_base, "width": parallel, **prices})
    options = InstructOptions(
        split=split,
        task=task,
        spec=spec,
        llm=llm if pool or reflections else None,
        budget_usd=budget_usd,
        seed=seed,
    )
    observer = screen_observer()
    result = instruct_model(model, collection, options, workspace=folder, runs=runs_folder(folder), observer=observer)
    page_writer(observer)(runs_folder(folder) / result["run"])
    if output is not None:
        from stm_agent.backbone.load import load_model

        write_instructed(load_model(model), result, output.absolute())
        result["output"] = str(output)
    lines = [
        f"instruction: {result['instruction'] or '(none)'}",
        result["reason"],
        f"{result['tried']} tried; run {result['run']}",
    ]
    emit(result, "\n".join(lines), as_json)


def _spec(optimizer: str, **settings: object) -> InstructSpec:
    """Return the plan of a search; of its flags, the optimiser alone can be wrong."""
    from pydantic import ValidationError

    from stm_agent.domain.spec import InstructSpec
    from stm_agent.errors import ConfigError

    try:
        return InstructSpec.model_validate({"optimizer": optimizer, **settings})
    except ValidationError as error:
        raise ConfigError(f"--optimizer '{optimizer}' is not known; use gepa, copro or mipro") from error
