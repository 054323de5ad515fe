"""``stm-agent search``: search with the model of a run."""

from __future__ import annotations

from typing import Annotated

import typer

from stm_agent.cli.output import JsonFlag, emit
from stm_agent.cli.runs import Place, RunName, folder_of


def search(
    run: RunName,
    words: Annotated[str, typer.Argument(help="The query.")],
    top: Annotated[int, typer.Option(help="How many passages to show.", min=1)] = 10,
    fused: Annotated[bool, typer.Option("--fused", help="Fuse with BM25, with the weight that dev chose.")] = False,
    workspace: Place = None,
    as_json: JsonFlag = False,
) -> None:
    """Print the passages that a run's model finds for a query.

    Example: stm-agent search last "my tongue is bumpy"
    """
    from rich.table import Table

    from stm_agent.inspect.search import search_run

    hits = search_run(folder_of(run, workspace, finished=True), words, top, fused=fused)
    table = Table("", "score", "document", "text", box=None)
    for rank, hit in enumerate(hits, 1):
        table.add_row(str(rank), f"{hit['score']:.3f}", hit["id"], hit["text"])
    emit(hits, table, as_json)
