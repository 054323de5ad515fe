"""A job is a value: it knows what decides its result, and how to build the folder that holds it.

Every stage of the engine is a frozen dataclass derived from :class:`Job`. Its key is a hash of its kind, of
everything that decides the result, and of the library versions that change numbers, so an upgrade never meets old
results. A job holds no closure and no open model: it can be pickled and built in another process.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

from stm_agent.files import content_hash

SCHEMA = 2
"""Raised when the same inputs lead to another result; old folders are then left alone."""
NUMERIC = ("torch", "transformers", "sentence-transformers", "peft", "bm25s", "gepa", "dspy", "mteb", "xllamacpp")

_checkpoints: ContextVar[Path | None] = ContextVar("checkpoints", default=None)


@cache
def numeric_versions() -> dict[str, str]:
    """Return the versions of the libraries that can change a result."""
    return {name: version(name) for name in NUMERIC}


class Job(ABC):
    """One stage: a kind, the inputs that decide its result, and the way to build its folder.

    Attributes:
        kind: The stage's verb and the first part of its folder's name.
    """

    kind: ClassVar[str]

    @abstractmethod
    def inputs(self) -> Mapping[str, object]:
        """Return everything that decides the result, as JSON values; large inputs as content hashes."""

    @abstractmethod
    def build(self, folder: Path) -> None:
        """Write the result into ``folder``, an empty directory that becomes visible only when it is whole."""

    def key(self) -> str:
        """Return the hex SHA-256 of everything that decides the result; computed once for each value."""
        known: str | None = self.__dict__.get("_key")
        if known is None:
            parts = {"schema": SCHEMA, "kind": self.kind, "inputs": self.inputs(), "versions": numeric_versions()}
            known = content_hash(parts)
            # A frozen dataclass refuses assignment; its __dict__ is the place for what is derived.
            self.__dict__["_key"] = known
        return known

    @property
    def asks_llm(self) -> bool:
        """Whether building it asks an LLM: such jobs stay in the process that counts the run's money."""
        return False

    @property
    def folder_name(self) -> str:
        """Name of the job's folder: kind and start of the key."""
        return f"{self.kind}-{self.key()[:16]}"


def checkpoint_folder() -> Path | None:
    """Return the folder in which the running job may leave checkpoints that survive a kill; None: nowhere."""
    return _checkpoints.get()


@contextmanager
def checkpoints_in(folder: Path | None) -> Iterator[None]:
    """Offer ``folder`` as :func:`checkpoint_folder` to the job that is built inside the block."""
    token = _checkpoints.set(folder)
    try:
        yield
    finally:
        _checkpoints.reset(token)
