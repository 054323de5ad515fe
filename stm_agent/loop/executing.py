"""Open the executor that the user named: this process, or a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stm_agent.domain.execution_spec import ExecutionSpec
from stm_agent.execute.artefacts import ArtefactStore
from stm_agent.execute.cluster import Resources, connect, disconnect
from stm_agent.execute.inline import Executor, InlineExecutor
from stm_agent.execute.leases import Leases
from stm_agent.execute.ray import RayExecutor
from stm_agent.execute.shared import SharedJobStore
from stm_agent.execute.store import JobStore
from stm_agent.machine import training_elsewhere


def open_store(stages: Path, artefacts: str | None, warn: Callable[[str], None]) -> JobStore:
    """Return the store of stage folders, backed by a store of artefacts if one is named.

    Raises:
        ConfigError: The URL's protocol is not installed.
        ExecutionError: The artefacts cannot be reached, read or written.
    """
    if artefacts is None:
        return JobStore(stages)
    opened = ArtefactStore.open(artefacts)
    return SharedJobStore(stages, artefacts=opened, leases=Leases(opened), warn=warn)


@contextmanager
def open_executor(
    spec: ExecutionSpec, name: str, artefacts: str | None, stages: Path, warn: Callable[[str], None]
) -> Iterator[Executor]:
    """Open an executor; after the block, what it has under way is cancelled and the cluster is left.

    Args:
        spec: What jobs need of a node.
        name: ``inline``, ``ray`` or ``ray://HOST:PORT``.
        artefacts: fsspec URL at which machines exchange finished stages; None: all see ``stages``.
        stages: Folder of stage folders.
        warn: Receives one line about each damaged folder, and each node that is not used.

    Raises:
        ConfigError: Ray, or the package of the URL's protocol, is not installed.
        ExecutionError: The address does not answer, or the artefacts cannot be used.
    """
    store = open_store(stages, artefacts, warn)
    if name == "inline":
        yield InlineExecutor(store, warn)
        return

    def resources(kind: str) -> Resources:
        needs = spec.of(kind)
        return Resources(cores=needs.cores, memory_gib=needs.memory_gib, gpus=needs.gpus)

    connected = connect(name)
    executor = RayExecutor(store, resources=resources, warn=warn)
    try:
        with training_elsewhere(gpu=spec.trains_on_gpu):
            yield executor
    finally:
        executor.close()
        if connected:
            disconnect()
