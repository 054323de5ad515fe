"""How much a zip may unpack to: in proportion to its size, and to the memory that is free."""

from __future__ import annotations

import os
import zipfile

from stm_agent.errors import DataError

UNZIPPED = 4_000_000_000
"""Largest number of bytes of an unpacked zip."""
RATIO = 100
"""Largest ratio of unpacked to packed bytes. Texts are packed to a tenth or so; a thousandth is a bomb."""
SMALL = 20_000_000
"""Bytes that a zip may unpack to whatever its ratio."""
SHARE = 8
"""A zip may unpack to one part in so many of the free memory: its rows take several times their bytes as objects."""
MOST_FILES = 10_000
"""Largest number of files in a zip."""


def check_size(packed: zipfile.ZipFile, size: int, name: str) -> None:
    """Require that a zip can be unpacked; reading it stops at the sizes it announces.

    Args:
        packed: The zip.
        size: Bytes of the zip itself.
        name: What to call it.

    Raises:
        DataError: It would unpack to too much.
    """
    files = packed.infolist()
    unpacked = sum(file.file_size for file in files)
    if len(files) > MOST_FILES:
        raise DataError(f"{name} has {len(files):,} files, more than {MOST_FILES:,}; import its folder")
    if unpacked > max(SMALL, RATIO * size):
        raise DataError(f"{name} unpacks to over {RATIO} times its size; import its folder")
    if unpacked > min(UNZIPPED, max(SMALL, free_memory() // SHARE)):
        raise DataError(f"{name} unpacks to {unpacked:,} bytes, too many for this machine; import its folder")


def free_memory() -> int:
    """Return the free bytes of memory; where the system does not say, as if there were enough."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return UNZIPPED * SHARE
