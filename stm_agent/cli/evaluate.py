"""``stm-agent evaluate``: score any model on any collection, official task or suite of tasks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from stm_agent.cli.output import JsonFlag, emit, json_observer, screen_observer
from stm_agent.cli.runs import Place
from stm_agent.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from stm_agent.domain.collection import Collection
    from stm_agent.loop.evaluate_suite import SuiteReport

DataDir = Annotated[
    Path | None,
    typer.Option(help="Folder with data sets in the Hub's layout, DIR/owner/name, read in place of the Hub."),
]


def evaluate(
    model: Annotated[str, typer.Argument(help="A sentence-transformers folder, embedded: name, Hub name, or 'bm25'.")],
    collection: Annotated[Path | None, typer.Option(help="A BEIR folder.")] = None,
    domain: Annotated[str | None, typer.Option(help="A domain whose collection is scored.")] = None,
    task: Annotated[str | None, typer.Option(help="An official MTEB retrieval task, by name.")] = None,
    suite: Annotated[
        str | None, typer.Option(help="Official tasks together: stm-paper, mteb-medical, beir or nanobeir.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Split to score (default: test; of an official task its only one).")
    ] = None,
    subset: Annotated[str | None, typer.Option(help="Subset of an official task that has several.")] = None,
    data_dir: DataDir = None,
    suite_instructions: Annotated[
        bool, typer.Option("--suite-instructions", help="Use the suite's instructions, not the model's own prompts.")
    ] = False,
    engine: Annotated[
        Literal["fast", "mteb"] | None,
        typer.Option(help="This program's scorer, or mteb.evaluate (default: mteb for official tasks, else fast)."),
    ] = None,
    workspace: Place = None,
    as_json: JsonFlag = False,
) -> None:
    """Score a model with nDCG@10, Recall@100 and MRR@10; the same scores again are read, not computed.

    Example: stm-agent evaluate runs/ID/model --collection path/to/beir --split dev
    """
    if sum(option is not None for option in (collection, domain, task, suite)) != 1:
        raise ConfigError("name one of --collection DIR, --domain NAME, --task MTEB_NAME and --suite NAME to score on")
    _refuse_unused(task, suite, split, subset, data_dir, suite_instructions)
    from stm_agent.workspace import find_workspace, runs_folder

    place = find_workspace(workspace)
    runs = runs_folder(place)
    if suite is not None:
        report = _on_suite(model, suite, data_dir, runs, engine or "mteb", suite_instructions, as_json)
        emit(report, suite_table(report), as_json)
        return
    if task is not None:
        from stm_agent.domain.official import OfficialTask
        from stm_agent.loop.evaluate_single import evaluate_official

        official = OfficialTask(name=task, split=split, subset=subset, data_dir=data_dir)
        result = evaluate_official(model, official, runs=runs, engine=engine or "mteb")
    else:
        from stm_agent.loop.evaluate_single import evaluate_model

        target = _collection(collection, domain, place)
        result = evaluate_model(model, target, split or "test", runs=runs, engine=engine or "fast")
    emit(result, "\n".join(f"{name:<14} {value:.4f}" for name, value in result.items()), as_json)


def _collection(collection: Path | None, domain: str | None, place: Path) -> Collection:
    from stm_agent.domain.beir import read_beir
    from stm_agent.domain.build import build_collection
    from stm_agent.domain.load import load_domain

    return read_beir(collection) if collection else build_collection(load_domain(str(domain), place).collection, place)


def _on_suite(
    model: str,
    suite: str,
    data_dir: Path | None,
    runs: Path,
    engine: Literal["fast", "mteb"],
    instructions: bool,
    as_json: bool,
) -> SuiteReport:
    from stm_agent.domain.suites import find_suite
    from stm_agent.loop.evaluate_suite import evaluate_suite

    observer = json_observer() if as_json else screen_observer()
    return evaluate_suite(
        model,
        find_suite(suite),
        data_dir=data_dir,
        runs=runs,
        engine=engine,
        instructions=instructions,
        progress=lambda text: observer({"kind": "note", "name": "suite", "text": text}),
    )


def _refuse_unused(
    task: str | None,
    suite: str | None,
    split: str | None,
    subset: str | None,
    data_dir: Path | None,
    suite_instructions: bool,
) -> None:
    """Refuse flags that would silently change nothing."""
    unused = {
        "--subset is for --task": subset is not None and task is None,
        "--data-dir is for --task and --suite": data_dir is not None and task is None and suite is None,
        "--split is fixed by --suite": split is not None and suite is not None,
        "--suite-instructions is for --suite": suite_instructions and suite is None,
    }
    for text, given in unused.items():
        if given:
            raise ConfigError(f"{text}; leave it out")


def suite_table(report: SuiteReport) -> Table:
    """Return a suite's scores as a table with the mean below."""
    from rich.table import Table

    table = Table("task", "split", "subset", "nDCG@10", "Recall@100", "MRR@10")
    for row in report["rows"]:
        numbers = (row["ndcg_at_10"], row["recall_at_100"], row["mrr_at_10"])
        table.add_row(row["task"], row["split"], row["subset"], *(f"{number:.4f}" for number in numbers))
    table.add_section()
    table.add_row("mean", "", "", f"{report['mean_ndcg_at_10']:.4f}", "", "")
    return table
