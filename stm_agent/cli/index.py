"""``stm-agent index``: the corpus of a run, with its vectors, in a vector store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from stm_agent.cli.deploy_names import RunOrModel, product_of, require
from stm_agent.cli.output import JsonFlag, emit, screen_observer
from stm_agent.cli.runs import Place

NEEDED = {
    "pgvector": ("psycopg", "pgvector"),
    "qdrant": ("qdrant_client",),
    "opensearch": ("opensearchpy",),
    "faiss": ("faiss",),
}
WHERE = {
    "pgvector": "postgresql://localhost/postgres",
    "qdrant": "http://localhost:6333",
    "opensearch": "https://localhost:9200",
    "faiss": "indexes",
}


def index(
    run: RunOrModel,
    to: Annotated[Literal["pgvector", "qdrant", "opensearch", "faiss"], typer.Option(help="The engine.")],
    url: Annotated[
        str | None, typer.Option(help="Address of the engine; of faiss, and of qdrant without a server, a folder.")
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the table, collection, index or folder.")] = "passages",
    corpus: Annotated[Path | None, typer.Option(help="A BEIR folder (default: the run's own corpus).")] = None,
    batch: Annotated[int, typer.Option(help="Passages written at once.", min=1)] = 512,
    approximate: Annotated[
        bool, typer.Option("--approximate", help="Let the engine search an HNSW graph, not every vector.")
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Remove an index of that name first.")] = False,
    workspace: Place = None,
    as_json: JsonFlag = False,
) -> None:
    """Write a run's corpus with its vectors into a vector store, and check what the store finds.

    A call that was stopped is continued by the same command. Passwords come from PGPASSWORD, QDRANT_API_KEY, or
    OPENSEARCH_USER and OPENSEARCH_PASSWORD.

    Example: stm-agent index last --to faiss --url indexes
    """
    require(NEEDED[to], to, f"--to {to}")
    from stm_agent.backbone.threads import choose_threads, set_threads
    from stm_agent.deploy.indexing import IndexTarget, corpus_of, write_index
    from stm_agent.loop.events import ObserverWatcher
    from stm_agent.progress import watched_by
    from stm_agent.workspace import find_workspace, runs_folder

    product = product_of(run, workspace)
    collection = corpus_of(product, corpus)
    target = IndexTarget(engine=to, where=url or WHERE[to], name=name, approximate=approximate, replace=replace)
    cache = runs_folder(find_workspace(workspace)) / ".cache" / "vectors"
    set_threads(choose_threads()[0])
    with watched_by(ObserverWatcher(screen_observer())):
        result = write_index(product, collection, target, batch=batch, cache=cache)
    checked = f"{result['top10_equal']:.0%} of {result['checked_queries']} queries"
    equal = f"{checked} find the ten passages of exact search"
    text = f"{result['passages']:,} passages in {to}, '{name}' ({result['where']}); {equal}"
    emit(result, text, as_json)
