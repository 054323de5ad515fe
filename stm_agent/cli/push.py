"""``stm-agent push``: a run's model on a Hub."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from stm_agent.cli.deploy_names import RunOrModel, product_of
from stm_agent.cli.output import JsonFlag, emit
from stm_agent.cli.runs import Place
from stm_agent.errors import ConfigError


def push(
    run: RunOrModel,
    to: Annotated[str, typer.Option(help="Repository, as owner/name.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List files and licences, and push nothing.")] = False,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    accept_licences: Annotated[
        bool, typer.Option("--accept-licences", help="Push although a source's licence forbids it or is not stated.")
    ] = False,
    workspace: Place = None,
    as_json: JsonFlag = False,
) -> None:
    """Push a run's model, its card, its test scores in MTEB's format and its adapter to a Hub.

    Licences of sources that forbid it are named first. The token comes from HF_TOKEN or "hf auth login", another Hub
    from HF_ENDPOINT.

    Example: stm-agent push last --to me/clinic-retriever --dry-run
    """
    from stm_agent.deploy.pushing import check_repository, packed
    from stm_agent.deploy.pushing import push as push_package

    check_repository(to)
    with packed(product_of(run, workspace)) as package:
        result = {
            "to": to,
            "model_sha256": package.sha256,
            "licences": [vars(source) for source in package.licences],
            "files": package.files,
            "bytes": sum(package.files.values()),
            "commit": None,
        }
        lines = [f"{source.verdict:<9} {source.source}: {source.licence}" for source in package.licences]
        lines += [f"{size:>13,} {name}" for name, size in package.files.items()]
        lines.append(f"{sum(package.files.values()):>13,} bytes in {len(package.files)} files")
        if not dry_run:
            if package.obstacles and not accept_licences:
                named = "; ".join(f"{source.source} ({source.licence})" for source in package.obstacles)
                raise ConfigError(f"the licence of a source forbids it or is not stated: {named}; --accept-licences")
            if not as_json:
                sys.stderr.write("\n".join(lines) + "\n")
            result["commit"] = push_package(package, to, private=private)
            lines = [f"pushed to {result['commit']}"]
    emit(result, "\n".join(lines), as_json)
