"""Whole stage folders at an fsspec URL: a folder that machines share, or an object store such as ``s3://bucket/prefix``.

A stage is uploaded file by file under a name made of its manifest, and a pointer to it is written last, so a reader
finds a whole stage or none. What arrives is verified by its manifest before it gets its final name.
"""

from __future__ import annotations

import errno
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stm_agent.errors import ConfigError, ExecutionError, StorageError, first_line, raised_as
from stm_agent.execute.manifest import NAME, folder_fault, read_manifest
from stm_agent.files import sha256_file, whole_folder

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

MARK, POINTER = "stm-agent-store", "current"
"""File that holds the identity of a store; file of a stage that names its newest whole upload."""
DIGEST_LETTERS = 16
EXTRAS = {"s3": "s3fs comes with stm-agent[s3]"}


@dataclass(frozen=True)
class ArtefactStore:
    """Stages at a URL.

    Attributes:
        url: An fsspec URL or the path of a folder.
        identity: What :data:`MARK` must hold, so that a folder that is not mounted is never taken for an empty store.
    """

    url: str
    identity: str

    @classmethod
    def open(cls, url: str) -> ArtefactStore:
        """Open a store and make sure that it can be written; the first process to open it gives it an identity.

        Raises:
            ConfigError: The URL's protocol is not installed.
            ExecutionError: It cannot be reached, read or written.
        """
        with reaching(url):
            system, root = open_url(url)
            write_new(system, f"{root}/{MARK}", uuid.uuid4().hex)
            store = cls(url, read_text(system, f"{root}/{MARK}") or "")
            # A key that may only read is found out now, not after hours of work.
            trial = f"{root}/trial-{uuid.uuid4().hex[:8]}"
            system.pipe_file(trial, b"")
            system.rm_file(trial)
        return store

    def has(self, name: str) -> bool:
        """Return whether a whole upload of a stage is there."""
        with reaching(self.url):
            system, root = self.opened()
            return self._digest(system, root, name) is not None

    def upload(self, folder: Path) -> None:
        """Upload a stage folder under its name.

        Raises:
            ExecutionError: The store cannot be reached or written.
        """
        digest = sha256_file(folder / NAME)[:DIGEST_LETTERS]
        with reaching(self.url):
            system, root = self.opened()
            if self._digest(system, root, folder.name) == digest:
                return
            stage = f"{root}/stages/{folder.name}"
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                target = f"{stage}/{digest}/{path.relative_to(folder).as_posix()}"
                system.makedirs(target.rpartition("/")[0], exist_ok=True)
                system.put_file(str(path), target)
            system.pipe_file(f"{stage}/{POINTER}", digest.encode())

    def fetch(self, name: str, target: Path) -> bool:
        """Download a stage to ``target``; return False unless a whole and undamaged one is there.

        Raises:
            StorageError: The disk is full or not writable.
            ExecutionError: The store cannot be reached.
        """
        with reaching(self.url):
            system, root = self.opened()
            digest = self._digest(system, root, name)
        if digest is None:
            return False
        try:
            with whole_folder(target) as partial:
                self._download(system, f"{root}/stages/{name}/{digest}", partial)
                _verify(partial, name)
        except _Damaged:
            # A stage that is built again can have the same manifest; without its pointer it is uploaded again.
            with reaching(self.url), suppress(FileNotFoundError):
                system.rm_file(f"{root}/stages/{name}/{POINTER}")
            return False
        return True

    def _download(self, system: AbstractFileSystem, source: str, target: Path) -> None:
        with reaching(self.url, target):
            for path in system.find(source):
                local = target / path[len(source) :].lstrip("/")
                local.parent.mkdir(parents=True, exist_ok=True)
                system.get_file(path, str(local))

    def _digest(self, system: AbstractFileSystem, root: str, name: str) -> str | None:
        digest = read_text(system, f"{root}/stages/{name}/{POINTER}")
        return digest if digest is not None and len(digest) == DIGEST_LETTERS else None

    def opened(self) -> tuple[AbstractFileSystem, str]:
        """Return the file system and the store's path in it.

        Raises:
            ExecutionError: The store of this identity is not there.
        """
        system, root = open_url(self.url)
        identity = read_text(system, f"{root}/{MARK}")
        if identity != self.identity:
            reason = "is another store than at the start of the run" if identity else f"has no file {MARK} any more"
            raise ExecutionError(f"artefact store {self.url} {reason}; mount or restore it and run the command again")
        return system, root


class _Damaged(Exception):
    """What was downloaded does not match its manifest."""


def _verify(folder: Path, name: str) -> None:
    """Raise :class:`_Damaged` unless a downloaded folder is the whole stage of this name."""
    if folder_fault(folder) is not None or not read_manifest(folder)["key"].startswith(name.rpartition("-")[2]):
        raise _Damaged


@contextmanager
def reaching(url: str, local: Path | None = None) -> Iterator[None]:
    """Turn whatever a store's client raises into one line.

    Args:
        url: The store.
        local: What is written on this machine's disk in the block; None: nothing.

    Raises:
        StorageError: This machine's disk is full.
        ExecutionError: The store cannot be reached, read or written.
    """

    def translate(error: BaseException) -> StorageError | ExecutionError:
        if local is not None and isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return StorageError(f"cannot write {local}: {error.strerror}; free some space there")
        fix = "check the credentials" if isinstance(error, PermissionError) else "check that it is mounted or reachable"
        return ExecutionError(f"artefact store {url} cannot be used: {first_line(error)}; {fix}")

    # fsspec passes on the errors of the libraries behind each protocol.
    with raised_as(translate):
        yield


def open_url(url: str) -> tuple[AbstractFileSystem, str]:
    """Return the file system of a URL and the path in it.

    Raises:
        ConfigError: fsspec does not know the protocol, or a package for it is missing.
    """
    from fsspec.core import url_to_fs

    try:
        # Another machine may have written since the last look.
        system, path = url_to_fs(url, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"artefact store {url} cannot be opened: {first_line(error)}{_extra(url)}") from error
    return system, str(path).rstrip("/")


def _extra(url: str) -> str:
    hint = EXTRAS.get(url.partition("://")[0])
    return f"; {hint}" if hint else ""


def read_text(system: AbstractFileSystem, path: str) -> str | None:
    """Return the text of a small file; None if there is none."""
    try:
        return bytes(system.cat_file(path)).decode()
    except FileNotFoundError:
        return None


def write_new(system: AbstractFileSystem, path: str, text: str) -> bool:
    """Write a small file unless it exists; return whether it was written. At most one of several writers succeeds."""
    from fsspec.implementations.local import LocalFileSystem

    try:
        if isinstance(system, LocalFileSystem):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            with Path(path).open("xb") as stream:
                stream.write(text.encode())
        else:
            system.pipe_file(path, text.encode(), mode="create")
    except FileExistsError:
        return False
    return True
