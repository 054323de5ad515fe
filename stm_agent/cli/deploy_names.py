"""What the commands of deployment share: a run or a model by name, and extras that must be installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stm_agent.cli.runs import folder_of
from stm_agent.errors import ConfigError

if TYPE_CHECKING:
    from stm_agent.deploy.product import Product

RunOrModel = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's id, a unique start of it, 'last', or a model's folder.")
]


def product_of(name: str, workspace: Path | None) -> Product:
    """Return the model of a run, or a model by its folder, its ``embedded:`` name or its Hub name.

    Raises:
        ConfigError: No run has that name, and it is not a model.
        RunError: The run has no model yet.
    """
    return prepare_product(name, workspace)()


def prepare_product(name: str, workspace: Path | None) -> Callable[[], Product]:
    """Find a model and begin to hash its files in a thread; return what waits for that and returns the product.

    Raises:
        ConfigError: No run has that name, and it is not a model.
        RunError: The run has no model yet.
    """
    from stm_agent.deploy.product import Hashes, model_of_run, product_of_model, product_of_run

    hashes = Hashes()
    # owner/name: on the Hub.
    is_model = (Path(name) / "modules.json").is_file() or ":" in name
    if is_model or (name.count("/") == 1 and not Path(name).exists()):
        if Path(name).is_dir():
            hashes.begin(Path(name))
        return partial(product_of_model, name, hashes.of)
    run = folder_of(name, workspace, finished=True)
    hashes.begin(model_of_run(run))
    return partial(product_of_run, run, hashes.of)


def require(modules: tuple[str, ...], extra: str, what: str) -> None:
    """Require the libraries of an extra.

    Raises:
        ConfigError: One is not installed.
    """
    for module in modules:
        try:
            there = importlib.util.find_spec(module) is not None
        except ModuleNotFoundError:
            there = False
        if not there:
            raise ConfigError(f"{what} needs {module}: python -m pip install 'stm-agent[{extra}]'")
