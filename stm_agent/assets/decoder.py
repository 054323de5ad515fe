"""GGUF decoders that run inside this program: optional and embedded assets, and files of the user's own."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from stm_agent.assets.pull import asset_path, find_asset, require
from stm_agent.errors import ConfigError
from stm_agent.files import sha256_file

SCHEME = "embedded:"
SUFFIX = ".gguf"
MAGIC = b"GGUF"
"""First bytes of every GGUF file."""


def is_local(model: str) -> bool:
    """Return whether a generator's name means a decoder that runs here: an embedded one, or the path of a GGUF file."""
    return model.startswith(SCHEME) or model.lower().endswith(SUFFIX)


def check_decoder(model: str) -> None:
    """Require a decoder that can be run, without fetching anything.

    Raises:
        ConfigError: The asset or file does not exist, cannot write text, or is optional and not installed.
    """
    if not model.startswith(SCHEME):
        own_file(model)
        return
    asset = find_asset(model.removeprefix(SCHEME))
    if asset.kind != "decoder":
        raise ConfigError(f"{model} is not a decoder and cannot write text; use embedded:smollm2-135m")
    if asset.optional and asset_path(asset.name) is None:
        require(asset.name)


def decoder_file(model: str) -> Path:
    """Return the GGUF file behind a generator's name; an embedded asset that is not optional is fetched.

    Raises:
        ConfigError: The asset or file does not exist, cannot write text, or is optional and not installed.
        AssetError: The asset cannot be fetched.
    """
    check_decoder(model)
    return require(model.removeprefix(SCHEME)) if model.startswith(SCHEME) else own_file(model)


def decoder_identity(model: str) -> str:
    """Return what identifies the weights: an asset's name, which is pinned, or the hash of a file of one's own.

    Raises:
        ConfigError: The GGUF file does not exist.
    """
    if model.startswith(SCHEME):
        return model
    path = own_file(model)
    status = path.stat()
    return f"gguf:{_hashed(path.resolve(), status.st_size, status.st_mtime_ns)}"


def own_file(model: str) -> Path:
    """Return the path of a user's own GGUF file.

    Raises:
        ConfigError: The file does not exist, or is not GGUF.
    """
    path = Path(model).expanduser()
    try:
        with path.open("rb") as file:
            magic = file.read(len(MAGIC))
    except OSError as error:
        raise ConfigError(
            f"the generator {model} cannot be read ({error.strerror}); give the path of a GGUF file, "
            "'embedded:NAME' or a LiteLLM name"
        ) from error
    if magic != MAGIC:
        raise ConfigError(f"the generator {model} is not a GGUF file; get it again")
    return path


@lru_cache
def _hashed(path: Path, size: int, changed: int) -> str:
    # Gigabytes are read once per process, unless the file changes.
    return sha256_file(path)
