"""``stm-agent domains``: domain files, shipped and your own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stm_agent.cli.output import JsonFlag, emit
from stm_agent.cli.runs import Place

if TYPE_CHECKING:
    from stm_agent.domain.collection import Split
    from stm_agent.domain.spec import DomainSpec

SHOWN_BY_DEV = "shown by dev"
"""Name of the line that says what the dev split can show."""
app = typer.Typer(no_args_is_help=True)
DomainName = Annotated[str, typer.Argument(help="Shipped name or path of a domain file.")]


@app.command("list")
def list_(workspace: Place = None, as_json: JsonFlag = False) -> None:
    """List the shipped domains and those of the workspace.

    Example: stm-agent domains list
    """
    from rich.table import Table

    from stm_agent.domain.load import list_domains
    from stm_agent.workspace import find_workspace

    rows = list_domains(find_workspace(workspace))
    table = Table("domain", "where", "description")
    for row in rows:
        table.add_row(row["domain"], row["where"], row["description"])
    emit(rows, table, as_json)


@app.command()
def show(domain: DomainName, workspace: Place = None, as_json: JsonFlag = False) -> None:
    """Print a domain with every option, defaults included.

    Example: stm-agent domains show biomedical
    """
    from rich.text import Text

    from stm_agent.domain.load import dump_domain, load_domain
    from stm_agent.workspace import find_workspace

    spec = load_domain(domain, find_workspace(workspace))
    emit(spec.model_dump(mode="json"), Text(dump_domain(spec)), as_json)


@app.command()
def check(
    domain: Annotated[str, typer.Argument(help="Shipped name, path of a domain file, or a folder in BEIR layout.")],
    workspace: Place = None,
    as_json: JsonFlag = False,
) -> None:
    """Read a domain file and build its data; stop at the first fault. Of a BEIR folder, print its profile.

    If a run can adapt to the data, the last line is the smallest gain that dev can show, or why it can confirm none.

    The profile is what a run's defaults are chosen from: sizes, lengths in tokens, duplicates, overlap of train and
    test, scripts, and what this machine can do. Nothing is encoded and nothing is fetched.

    Example: stm-agent domains check path/to/beir
    """
    from stm_agent.domain.build import build_domain_data
    from stm_agent.domain.check import check_domain
    from stm_agent.domain.load import load_domain
    from stm_agent.domain.profile_text import line_of
    from stm_agent.workspace import find_workspace

    folder = find_workspace(workspace)
    if Path(domain).is_dir():
        _check_folder(Path(domain), folder, as_json)
        return
    spec = load_domain(domain, folder)
    data = build_domain_data(spec.collection, folder)
    rows = check_domain(spec, data, folder)
    rows[SHOWN_BY_DEV] = _shown_by_dev(data.collection.splits["dev"], spec, folder)
    emit(rows, "\n".join(line_of(name, str(value)) for name, value in rows.items()), as_json)


def _check_folder(collection: Path, workspace: Path, as_json: bool) -> None:
    """Print the profile of a BEIR folder, and what its dev split can show."""
    from stm_agent.domain.load import domain_of_collection
    from stm_agent.domain.profile_text import check_folder, line_of

    facts = check_folder(collection)
    row, lines = facts.to_json(), facts.lines()
    if facts.dev:
        shown = _shown_by_dev(facts.dev, domain_of_collection(collection), workspace)
        row, lines = {**row, "shown_by_dev": shown}, [*lines, line_of(SHOWN_BY_DEV, shown)]
    emit(row, "\n".join(lines), as_json)


def _shown_by_dev(dev: Split, spec: DomainSpec, workspace: Path) -> str:
    from stm_agent.loop.dev_power import dev_power
    from stm_agent.loop.options import Options

    return dev_power(dev, spec, Options(), workspace).line


@app.command()
def new(
    file: Annotated[Path, typer.Argument(help="Domain file to write; must not exist.")],
    collection: Annotated[
        Path | None, typer.Option(help="A BEIR folder to adapt to (default: copy biomedical).")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Write a domain file to edit: for a BEIR folder, or a copy of the biomedical one.

    Example: stm-agent domains new my.yaml --collection path/to/beir
    """
    from stm_agent.domain.load import new_domain

    path = new_domain(file, collection)
    emit({"domain": str(path)}, f"wrote {path}; next: stm-agent domains check {path}", as_json)
