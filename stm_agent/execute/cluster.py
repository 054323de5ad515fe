"""The way to a Ray cluster: connecting, its nodes, what they have, and which of them may not be used."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from stm_agent.errors import ConfigError, ExecutionError

SCHEME = "ray://"
CLIENT_PORT = 10001
"""Port of Ray's client server, if an address names none."""
ANSWER_SECONDS = 10.0
"""How long an address may take to accept a connection."""
OBJECT_STORE = 512 << 20
"""Bytes of Ray's object store on a machine where this process starts Ray: jobs are sent, results are files."""
NODE_ID_LABEL = "ray.io/node-id"


@dataclass(frozen=True)
class Resources:
    """What a job needs of a node.

    Attributes:
        cores: Cores.
        memory_gib: GiB of memory that are counted against the node's; 0: not counted.
        gpus: GPUs, or a share of one.
    """

    cores: int = 1
    memory_gib: float = 0.0
    gpus: float = 0.0

    @property
    def summary(self) -> str:
        """One line for people."""
        memory = f", {self.memory_gib:g} GiB of memory" if self.memory_gib else ""
        return f"{self.cores} cores{memory}{f', {self.gpus:g} GPUs' if self.gpus else ''}"

    def wanted(self) -> dict[str, float]:
        """Return the amounts by Ray's names, without those that are 0."""
        amounts = {"CPU": float(self.cores), "memory": self.memory_gib * 2**30, "GPU": self.gpus}
        return {name: amount for name, amount in amounts.items() if amount}


@dataclass(frozen=True)
class Node:
    """A node that is alive.

    Attributes:
        id: Ray's id of it.
        address: Its address.
        total: Amounts of resources, by Ray's names.
    """

    id: str
    address: str
    total: Mapping[str, float]

    @property
    def summary(self) -> str:
        """What it has, for people."""
        gpus, memory = self.total.get("GPU", 0), self.total.get("memory", 0) / 2**30
        return f"{self.total.get('CPU', 0):g} cores, {memory:.1f} GiB{f', {gpus:g} GPUs' if gpus else ''}"


def check_address(address: str) -> None:
    """Raise ConfigError unless ``address`` is ``inline``, ``ray`` or ``ray://HOST[:PORT]``."""
    if address in ("inline", "ray"):
        return
    host, _, port = address.removeprefix(SCHEME).partition(":")
    if not address.startswith(SCHEME) or not host or (port and not port.isdigit()):
        raise ConfigError(f"--executor {address} does not exist; use inline, ray or ray://HOST:PORT")


def connect(address: str) -> bool:
    """Connect this process to Ray; return False if it is connected already.

    ``ray`` is the cluster of ``RAY_ADDRESS`` or of this machine; if there is none, one is started for this process.

    Raises:
        ConfigError: Ray is not installed.
        ExecutionError: The address does not answer, or its Ray is another version.
    """
    # Nothing is reported to anybody.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
    try:
        import ray
    except ImportError as error:
        raise ConfigError(f"--executor {address} needs Ray; pip install 'stm-agent[ray]'") from error
    if ray.is_initialized():
        return False
    target = _with_port(address) if address.startswith(SCHEME) else _running_cluster()
    if target is not None:
        _require_answer(target)
    try:
        with _own_signals():
            if target is None:
                ray.init(
                    include_dashboard=False,
                    object_store_memory=OBJECT_STORE,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                )
            else:
                ray.init(target, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        # Ray raises these for a server that is none, one that is busy dying, and one of another version. Its client
        # passes on the traceback of the server, whose last line is the reason.
        reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise ExecutionError(f"Ray at {target or 'this machine'} cannot be used: {reason[0].strip()}") from error
    return True


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep this process's handlers: Ray replaces that of SIGTERM, by which a run is asked to stop."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def disconnect() -> None:
    """Leave the cluster; end it if this process started it."""
    import ray

    ray.shutdown()


def _with_port(address: str) -> str:
    return address if ":" in address.removeprefix(SCHEME) else f"{address}:{CLIENT_PORT}"


def _running_cluster() -> str | None:
    """Return the address of the cluster to join; None: there is none, so a new one is started."""
    if given := os.environ.get("RAY_ADDRESS"):
        return given
    from ray._private.services import find_gcs_addresses

    addresses = sorted(find_gcs_addresses())
    if len(addresses) > 1:
        raise ConfigError(f"several Ray clusters run here ({', '.join(addresses)}); set RAY_ADDRESS to one of them")
    return addresses[0] if addresses else None


def _require_answer(address: str) -> None:
    host, _, port = address.removeprefix(SCHEME).rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise ExecutionError(f"no Ray answers at {address} ({reason}); start one there with 'ray start'") from error


def alive_nodes() -> list[Node]:
    """Return the nodes that are alive."""
    import ray

    return [
        Node(row["NodeID"], row["NodeManagerAddress"], row.get("Resources", {})) for row in ray.nodes() if row["Alive"]
    ]


def fits(node: Node, resources: Resources) -> bool:
    """Return whether a node has as much as a job needs, if it does nothing else."""
    return all(node.total.get(name, 0.0) >= amount for name, amount in resources.wanted().items())
