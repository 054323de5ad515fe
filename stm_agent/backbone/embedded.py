"""Names of models: ``embedded:`` assets, folders, GGUF files, or names on the Hub."""

from __future__ import annotations

from pathlib import Path

from stm_agent.assets.pull import find_asset, require
from stm_agent.errors import BackboneError

SCHEME = "embedded:"
"""Prefix of the names of embedded assets."""
EXPORT = "stm_agent_export.json"
"""File of a folder that ``stm-agent export`` wrote: its format, the network's file, and how it was scored."""
INT8 = "int8:"
"""Prefix of a model's name: run it in int8."""


def resolve_model(name: str) -> str:
    """Return a name that transformers and sentence-transformers can load: a folder's path or a Hub name.

    Raises:
        ConfigError: The embedded asset does not exist, or is optional and not installed.
        AssetError: It cannot be fetched.
        BackboneError: The path does not exist, or the GGUF file cannot be read.
    """
    from stm_agent.assets.gguf import converted

    if name.startswith(SCHEME):
        asset = find_asset(name.removeprefix(SCHEME))
        if asset.kind == "data":
            raise BackboneError(f"{name} is data, not a model; see 'stm-agent assets list'")
        path = require(asset.name)
        return str(converted(path) if path.suffix == ".gguf" else path)
    path = Path(name).expanduser()
    if path.suffix == ".gguf" and path.is_file():
        return str(converted(path))
    if path.is_dir():
        return str(path)
    # A Hub name is "owner/name"; anything else that looks like a path is a mistake.
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or path.suffix == ".gguf" or path.exists():
        raise BackboneError(
            f"no model found at {name}; give a model's folder, a .gguf file, an embedded: name or a Hub name"
        )
    return name


def gguf_path(name: str) -> Path:
    """Return the GGUF file of an embedded decoder.

    Raises:
        ConfigError: The asset is optional and not installed.
        BackboneError: The asset is not a decoder.
    """
    asset = find_asset(name)
    if asset.kind != "decoder":
        raise BackboneError(f"embedded:{name} is not a decoder and cannot write text; use embedded:smollm2-135m")
    return require(name)
