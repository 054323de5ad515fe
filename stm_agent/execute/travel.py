"""Jobs on their way to another machine: pickled with the paths below the runs folder written relative to it.

A job names its inputs by path: adapters in stage folders, the cache of vectors. On the other machine the runs folder
has another place, or is not there at all; the stages that a job names are found by the names of their folders.
"""

from __future__ import annotations

import io
import json
import pickle
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import cast

from stm_agent.errors import ExecutionError
from stm_agent.files import canonical_json
from stm_agent.job import Job

PATH, TEXT = "path", "text"
Reference = tuple[str, str]
"""``path`` or ``text``, and the path relative to the runs folder."""


@dataclass(frozen=True)
class PackedJob:
    """A job that can be sent to another machine.

    Attributes:
        content: The pickled job.
        stages: Names of the stage folders that it reads.
        inputs: Everything that decides its result, as canonical JSON.
        base: The runs folder of the process that packed it.
    """

    content: bytes
    stages: tuple[str, ...]
    inputs: str
    base: str


def pack(job: Job, stages: Path) -> PackedJob:
    """Pickle a job.

    Args:
        job: The job.
        stages: Folder of the stage folders; what lies beside it counts as being below the runs folder.
    """
    base, stream = stages.parent, io.BytesIO()
    packer = _Packer(stream, base, stages.name)
    packer.dump(job)
    inputs = canonical_json(dict(job.inputs()))
    return PackedJob(stream.getvalue(), tuple(sorted(packer.stages)), inputs, str(base))


def unpack(packed: PackedJob, stages: Path) -> Job:
    """Return the job with its paths below this machine's runs folder.

    Raises:
        ExecutionError: A class of the job does not exist here.
    """
    try:
        return cast("Job", _Unpacker(io.BytesIO(packed.content), stages.parent).load())
    except (AttributeError, ImportError) as error:
        raise ExecutionError(f"the job cannot be read there: {error}; install the same stm-agent") from error


def difference(packed: PackedJob, job: Job, stages: Path) -> str | None:
    """Return what decides the result and is not the same here as where the job was packed; None: nothing.

    That is how a node with other weights, another device or a changed program is found out before it works.
    """
    here = canonical_json(dict(job.inputs())).replace(str(stages.parent), packed.base)
    if here == packed.inputs:
        return None
    new, old = _parts(here), _parts(packed.inputs)
    names = sorted(name for name in {*new, *old} if new.get(name) != old.get(name))
    return "; ".join(f"{name}: {_short(old.get(name))} in the run, {_short(new.get(name))} there" for name in names)


def _parts(text: str) -> dict[str, object]:
    parts: dict[str, object] = json.loads(text)
    return parts


def _short(value: object) -> str:
    text = canonical_json(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


class _Packer(pickle.Pickler):
    """Writes paths below ``base`` as references, and remembers the stages among them."""

    def __init__(self, stream: io.BytesIO, base: Path, stages: str) -> None:
        super().__init__(stream, protocol=5)
        self.stages: set[str] = set()
        self._base, self._prefix, self._stages = str(base), f"{base}/", stages

    def persistent_id(self, value: object) -> Reference | None:
        """Return the reference that stands for a path; None: the value is pickled as it is."""
        if isinstance(value, PurePath):
            kind, text = PATH, str(value)
        elif type(value) is str and value.startswith(self._prefix):
            kind, text = TEXT, value
        else:
            return None
        if text != self._base and not text.startswith(self._prefix):
            return None
        parts = text[len(self._prefix) :].split("/")
        if parts[0] == self._stages and len(parts) > 1:
            self.stages.add(parts[1])
        return kind, "/".join(parts)


class _Unpacker(pickle.Unpickler):
    """Reads references as paths below ``base``."""

    def __init__(self, stream: io.BytesIO, base: Path) -> None:
        super().__init__(stream)
        self._base = base

    def persistent_load(self, reference: Reference) -> Path | str:
        """Return what a reference stands for."""
        kind, relative = reference
        path = self._base / relative
        return path if kind == PATH else str(path)
