"""``stm-agent serve``: the model of a run as an OpenAI-compatible server."""

from __future__ import annotations

import gc
import json
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from stm_agent.cli.deploy_names import prepare_product, require
from stm_agent.cli.output import JsonFlag
from stm_agent.cli.runs import Place

if TYPE_CHECKING:
    from pathlib import Path

    from stm_agent.deploy.product import Product

KEY, HOST = "STM_AGENT_SERVE_KEY", "STM_AGENT_SERVE_HOST"


def serve(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="A run or a model's folder; more of them are served beside it, and compared on its search page.",
        ),
    ],
    host: Annotated[
        str, typer.Option(envvar=HOST, help="Address to listen on; anything but loopback asks for a key.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes any that is free.", min=0, max=65535)] = 8400,
    queue: Annotated[int, typer.Option(help="Texts that may wait for a model; more get 429.", min=1)] = 4096,
    input_type: Annotated[
        Literal["query", "passage"] | None,
        typer.Option("--input-type", help="What texts are if a request does not say so (default: it must)."),
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Threads to compute with (default: all cores).", min=1)] = None,
    public: Annotated[bool, typer.Option("--public", help="Serve others without a key.")] = False,
    workspace: Place = None,
    as_json: JsonFlag = False,
) -> None:
    """Serve a run's model: /v1/embeddings as OpenAI has it, /v1/search on the run's corpus, and a search page.

    Clients send the key in STM_AGENT_SERVE_KEY, if it is set, as "Authorization: Bearer KEY".

    Example: stm-agent serve last
    """
    require(("fastapi", "uvicorn", "prometheus_client"), "serve", "the server")
    from stm_agent.deploy.serve import Listening
    from stm_agent.deploy.serve import serve as run_server
    from stm_agent.workspace import find_workspace

    # Imports leave no garbage, and looking for it among their million objects would take a fifth of the start.
    gc.disable()
    listening = Listening(host=host, port=port, key=os.environ.get(KEY) or None, public=public)
    # Before a model is loaded: a port in use is an answer of a moment.
    listening.checked_port()
    products = _products(models, workspace)

    from stm_agent.backbone.threads import set_threads
    from stm_agent.deploy.service import ServeOptions
    from stm_agent.machine import available_cores

    set_threads(threads or available_cores())
    options = ServeOptions(capacity=queue, default_input_type=input_type)
    announce = partial(_announce, products=products, as_json=as_json)
    run_server(products, find_workspace(workspace), listening, options, announce=announce)


def _products(names: list[str], workspace: Path | None) -> list[Product]:
    """Return what is served; files are hashed while libraries are imported."""
    prepared = [prepare_product(name, workspace) for name in names]

    from stm_agent.backbone.opened import import_for_folders

    import_for_folders()
    return [product() for product in prepared]


def _announce(url: str, *, products: list[Product], as_json: bool) -> None:
    """Print where the server answers."""
    if as_json:
        sys.stdout.write(json.dumps({"url": url, "models": [product.name for product in products]}) + "\n")
        sys.stdout.flush()
        return
    page = f"; search page: {url}/" if products[0].run else ""
    sys.stderr.write(f"embeddings: {url}/v1{page}\nCtrl-C stops it\n")
