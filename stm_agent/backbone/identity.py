"""Identify the weights behind a model's name without loading them."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from stm_agent.backbone.embedded import INT8, SCHEME, resolve_model
from stm_agent.errors import BackboneError
from stm_agent.files import folder_hash


def source_identity(name: str) -> str:
    """Return a text that changes whenever the weights behind a model's name do.

    Embedded assets are stored under their hash; a folder is hashed; a Hub name gets its commit.

    Raises:
        ConfigError: The embedded asset does not exist.
        AssetError: The asset cannot be fetched.
        BackboneError: The path does not exist, or the Hub name is neither on the Hub nor in the cache.
    """
    if name.startswith(INT8):
        return f"{INT8}{source_identity(name.removeprefix(INT8))}"
    source = resolve_model(name)
    path = Path(source)
    if name.startswith(SCHEME):
        return path.name
    if path.is_dir():
        return _hashed(path, _ages(path))
    return f"{name}@{_commit(name)}"


def _ages(folder: Path) -> tuple[tuple[str, int, int], ...]:
    files = ((str(file), file.stat()) for file in sorted(folder.rglob("*")) if file.is_file())
    return tuple((name, status.st_size, status.st_mtime_ns) for name, status in files)


@lru_cache
def _hashed(folder: Path, _ages: tuple[tuple[str, int, int], ...]) -> str:
    # Gigabytes are read once per process, unless a file changes.
    return folder_hash(folder)


@lru_cache
def _commit(name: str) -> str:
    """Return the commit that loading ``name`` gives: the newest on the Hub or, without a network, the cached one."""
    import httpx
    from huggingface_hub import HfApi, try_to_load_from_cache

    try:
        return str(HfApi().model_info(name, timeout=10).sha)
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        # The Hub's own errors are HTTP errors or system errors; a name that it refuses is a ValueError.
        cached = try_to_load_from_cache(name, "config.json")
        if isinstance(cached, str):
            return Path(cached).parent.name
        raise BackboneError(
            f"model {name} is not in the cache and the Hub cannot be reached; download it or name a folder"
        ) from error
