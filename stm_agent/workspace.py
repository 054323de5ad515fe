"""The workspace: ``programs/`` and ``prompts/``, which users edit, and ``runs/``.

A workspace's file wins over the shipped one of the same name. The shipped copy is the repository's
top level in an editable install and ``stm_agent/_workspace`` in a wheel.
"""

from __future__ import annotations

import difflib
from pathlib import Path

from stm_agent.errors import ConfigError

_PACKAGE = Path(__file__).resolve().parent
_IN_WHEEL = _PACKAGE / "_workspace"


def shipped_workspace() -> Path:
    """Return the folder that holds the shipped ``programs/`` and ``prompts/``."""
    return _IN_WHEEL if _IN_WHEEL.is_dir() else _PACKAGE.parent


def find_workspace(explicit: Path | None) -> Path:
    """Return the workspace: the one asked for, else the current folder if it is one, else the shipped copy.

    Raises:
        ConfigError: The folder asked for has no ``programs/``.
    """
    if explicit is not None:
        if not (explicit / "programs").is_dir():
            raise ConfigError(
                f"{explicit} is not a workspace, it has no programs/; make one: stm-agent init {explicit}"
            )
        return explicit.resolve()
    here = Path.cwd()
    return here if (here / "programs").is_dir() else shipped_workspace()


def program_path(workspace: Path, name: str) -> Path:
    """Return the file of a program, with or without ``.py`` in its name.

    Raises:
        ConfigError: Neither the workspace nor the shipped copy has it.
    """
    return _find(workspace, "programs", f"{name.removesuffix('.py')}.py")


def prompt_path(workspace: Path, name: str) -> Path:
    """Return a file of ``prompts/``.

    Raises:
        ConfigError: Neither the workspace nor the shipped copy has it.
    """
    return _find(workspace, "prompts", name)


def runs_folder(workspace: Path) -> Path:
    """Return where runs are kept: in the workspace; in the current folder if the workspace is the shipped copy."""
    here = Path.cwd()
    return (here if workspace == shipped_workspace() else workspace) / "runs"


def _find(workspace: Path, folder: str, name: str) -> Path:
    places = [workspace / folder, shipped_workspace() / folder]
    for place in places:
        if (place / name).is_file():
            return place / name
    known = sorted({path.name for place in places if place.is_dir() for path in place.iterdir() if path.is_file()})
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"
    raise ConfigError(f"no file {folder}/{name} in {workspace}; {hint}")
