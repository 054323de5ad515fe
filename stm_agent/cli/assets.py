"""``stm-agent assets``: embedded models and data."""

from __future__ import annotations

from typing import Annotated

import typer

from stm_agent.cli.output import JsonFlag, emit

app = typer.Typer(no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Name of the asset.")]


@app.command("list")
def list_(as_json: JsonFlag = False) -> None:
    """List the assets, their licences, and whether they are installed.

    Example: stm-agent assets list
    """
    import dataclasses

    from rich.table import Column, Table

    from stm_agent.assets.pull import asset_path
    from stm_agent.assets.registry import ASSETS

    rows = [{**dataclasses.asdict(asset), "path": str(asset_path(name) or "")} for name, asset in ASSETS.items()]
    table = Table(Column("asset", no_wrap=True), "kind", "package", "MB", "licence", "installed")
    for row in rows:
        size = f"{row['size'] / 1e6:.0f}"
        table.add_row(
            row["name"],
            row["kind"],
            ASSETS[row["name"]].source,
            size,
            row["licence"],
            "yes" if row["path"] else "no, optional" if row["optional"] else "no",
        )
    emit(rows, table, as_json)


@app.command()
def pull(name: Name, as_json: JsonFlag = False) -> None:
    """Fetch an asset, for example before working offline; optional ones are fetched in no other way.

    Example: stm-agent assets pull smollm2-135m
    """
    from stm_agent.assets.pull import pull as fetch

    path = fetch(name)
    emit({"name": name, "path": str(path)}, str(path), as_json)


@app.command()
def path(name: Name, as_json: JsonFlag = False) -> None:
    """Print where an asset is unpacked.

    Example: stm-agent assets path hpo
    """
    from stm_agent.assets.pull import asset_path
    from stm_agent.errors import AssetError

    folder = asset_path(name)
    if folder is None:
        raise AssetError(f"asset {name} is not installed yet; fetch it: stm-agent assets pull {name}")
    emit({"name": name, "path": str(folder)}, str(folder), as_json)
