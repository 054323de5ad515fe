"""The Ray task that builds one job, and how its answer is read."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import TYPE_CHECKING

from stm_agent.errors import ExecutionError, OutOfMemory, first_line

if TYPE_CHECKING:
    from ray import ObjectRef

RETRIES = 5
"""How often a job is repeated whose worker or node was lost."""
Answer = tuple[str, str, object]
"""Id of the node, kind of the answer, and what belongs to it."""


def entry() -> Callable[[bytes], Answer]:
    """Return what a worker calls. It is sent by value, so that a node without stm-agent can say so."""

    def run_errand(content: bytes) -> Answer:
        import ray

        node = ray.get_runtime_context().get_node_id()
        try:
            from stm_agent.execute.worker import answer
        except ImportError as error:
            return node, "refused", f"stm-agent cannot be imported there ({error}); install it"
        return node, *answer(content)

    return run_errand


def read_answer(ref: ObjectRef[Answer], name: str) -> Answer:
    """Return the answer to a job that ended.

    Raises:
        OutOfMemory: Ray ended the worker, since its node ran out of memory.
        ExecutionError: The worker was lost too often, or could not begin.
    """
    import ray
    from ray.exceptions import OutOfMemoryError, RayError, RayTaskError

    try:
        answer: Answer = ray.get(ref)
    except OutOfMemoryError as error:
        raise OutOfMemory(f"a node ran out of memory while it built {name}; {first_line(error)}") from error
    except RayTaskError as error:
        raise ExecutionError(f"a worker could not begin {name}: {first_line(error.cause)}") from error
    except RayError as error:
        raise ExecutionError(
            f"{name} lost its worker {RETRIES + 1} times ({type(error).__name__}); look into the logs of the nodes"
        ) from error
    return answer


def read_error(content: object) -> BaseException:
    """Return the error that a job raised on its node."""
    error = pickle.loads(content) if isinstance(content, bytes) else content  # noqa: S301 - from our own worker
    return error if isinstance(error, BaseException) else ExecutionError(str(error))
