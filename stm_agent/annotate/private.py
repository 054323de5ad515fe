"""Folders and files that only their owner reads: the database, the secret, and what LLMs were asked."""

from __future__ import annotations

import logging
import os
from pathlib import Path

logger = logging.getLogger(__name__)
FOLDER, FILE = 0o700, 0o600


def private_folder(folder: Path) -> Path:
    """Make a folder if need be, close it to everybody but its owner, and return it."""
    folder.mkdir(parents=True, exist_ok=True, mode=FOLDER)
    _close(folder, FOLDER)
    return folder


def private_file(path: Path) -> Path:
    """Make an empty file if need be, close it to everybody but its owner, and return it."""
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, FILE))
    _close(path, FILE)
    return path


def _close(path: Path, mode: int) -> None:
    if path.stat().st_mode & 0o777 == mode:
        return
    try:
        path.chmod(mode)
    except OSError as error:
        logger.warning("others may read %s: %s; chmod %o it", path, error.strerror, mode)
