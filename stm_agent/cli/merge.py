"""``stm-agent merge``: adapters or models into one plain model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from stm_agent.cli.output import JsonFlag, emit
from stm_agent.cli.runs import Place, RunName, folder_of
from stm_agent.errors import ConfigError

if TYPE_CHECKING:
    from stm_agent.merge.recipe import Recipe

MULTIPLE = ("--experts", "--weights")
"""Options that take several values after one name."""


class ManyValues(TyperGroup):
    """Accepts ``--experts A B C`` as ``--experts A --experts B --experts C``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - click's context
        """Repeat an option's name before each of its values, then parse."""
        return super().parse_args(ctx, spread(args))


Method = Annotated[
    str,
    typer.Option(help="linear, task-arithmetic, slerp, ties, dare-linear, dare-ties, breadcrumbs or breadcrumbs-ties."),
]
app = typer.Typer(cls=ManyValues, invoke_without_command=True, no_args_is_help=True)


def spread(args: list[str]) -> list[str]:
    """Return arguments in which each value of a :data:`MULTIPLE` option has the option's name before it."""
    repeated: list[str] = []
    name: str | None = None
    for argument in args:
        if argument.startswith("-") and not _is_number(argument):
            name = argument if argument in MULTIPLE else None
            repeated += [] if name else [argument]
        else:
            repeated += [name, argument] if name else [argument]
    return repeated


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@app.callback()
def merge(
    context: typer.Context,
    experts: Annotated[list[Path] | None, typer.Option(help="Folders of adapters, or of full models.")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder to write the model to; must not exist.")] = None,
    weights: Annotated[list[float] | None, typer.Option(help="One for each expert (default: all equal).")] = None,
    method: Method = "linear",
    domain: Annotated[str | None, typer.Option(help="Domain whose backbone the adapters belong to.")] = None,
    base: Annotated[
        str | None, typer.Option(help="Base model (default: the domain's, or the one that the adapters name).")
    ] = None,
    base_weight: Annotated[float, typer.Option(help="Weight of the base as another expert, in means.")] = 0.0,
    density: Annotated[float, typer.Option(help="Share of entries that are kept: ties, dare, breadcrumbs.")] = 0.5,
    outliers: Annotated[float, typer.Option(help="Share of largest entries that breadcrumbs drops.")] = 0.01,
    scale: Annotated[float, typer.Option(help="Factor on the merged delta.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of the entries that dare drops.")] = 0,
    group: Annotated[
        list[str] | None,
        typer.Option(help="Weights of a part of the model, for example 'layers.0.*=0.2,0.8'; may be repeated."),
    ] = None,
    workspace: Place = None,
    as_json: JsonFlag = False,
) -> None:
    """Merge LoRA adapters, or full models, into a plain model folder with its recipe, also as mergekit YAML.

    Means and sums of adapters are exact, whatever their ranks; full models are merged one matrix at a time from disk.

    Example: stm-agent merge --domain biomedical --experts a b --weights 0.6 0.4 --method ties --output model
    """
    if context.invoked_subcommand:
        return
    from stm_agent.domain.load import load_domain
    from stm_agent.loop.merge_single import merge_experts_into
    from stm_agent.workspace import find_workspace, runs_folder

    if not experts or output is None:
        raise ConfigError("name the experts and the output folder: --experts A B --output DIR")
    place = find_workspace(workspace)
    backbone = load_domain(domain, place).backbone if domain else None
    recipe = _recipe(
        method=method,
        weights=tuple(weights or [1.0] * len(experts)),
        base_weight=base_weight,
        density=density,
        outliers=outliers,
        scale=scale,
        seed=seed,
        groups=dict(map(_group, group or [])),
    )
    done = merge_experts_into(experts, recipe, output, runs=runs_folder(place), backbone=backbone, base=base)
    emit(done, f"merged {len(experts)} experts into {output}", as_json)


def _recipe(**settings: object) -> Recipe:
    """Return the recipe of these settings; an error names the option that is wrong."""
    from pydantic import ValidationError

    from stm_agent.merge.recipe import Recipe

    try:
        return Recipe.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        option = ".".join(map(str, first["loc"]))
        raise ConfigError(f"{option + ': ' if option else ''}{first['msg'].removeprefix('Value error, ')}") from error


@app.command()
def pick(
    run: RunName,
    point: Annotated[int | None, typer.Option(help="Number of the point to write as a model.")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder to write it to; must not exist.")] = None,
    workspace: Place = None,
    as_json: JsonFlag = False,
) -> None:
    """Show the trade-off between domain and general tasks that a run found, or write one of its points as a model.

    Example: stm-agent merge pick last --point 2 --output careful
    """
    from stm_agent.inspect.front import front_table, pick, read_front

    folder = folder_of(run, workspace, finished=True)
    if point is None:
        front = read_front(folder)
        emit(front["points"], front_table(front), as_json)
        return
    if output is None:
        raise ConfigError("name the folder for the picked model: --output DIR")
    emit(pick(folder, point, output), f"wrote point {point} to {output}", as_json)


def _group(text: str) -> tuple[str, tuple[float, ...]]:
    pattern, _, numbers = text.partition("=")
    try:
        return pattern, tuple(map(float, numbers.split(",")))
    except ValueError as error:
        raise ConfigError(f"--group '{text}' is not pattern=weight,weight,...; for one 'layers.0.*=0.2,0.8'") from error
