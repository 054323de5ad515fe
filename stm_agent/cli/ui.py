"""``stm-agent ui``: the pages of a workspace's runs, on loopback."""

from __future__ import annotations

from typing import Annotated

import typer

from stm_agent.cli.runs import Place


def ui(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0: any that is free.", min=0, max=65535)] = 0,
    workspace: Place = None,
) -> None:
    """Serve the pages of the workspace's runs to this machine, live while a run works, until Ctrl-C.

    Open the address that is printed: it holds a token, new at every start. Needs stm-agent[annotate].

    Example: stm-agent ui
    """
    from stm_agent.inspect.ui import Ui, serve
    from stm_agent.workspace import find_workspace, runs_folder

    serve(Ui(runs_folder(find_workspace(workspace))), port, tell=lambda address: typer.echo(address))
