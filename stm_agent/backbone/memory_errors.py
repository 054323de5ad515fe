"""Memory that runs out, as one error, whichever library met it."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from stm_agent.errors import OutOfMemory

SIGNS = ("out of memory", "allocate memory", "alloc_failed")
"""Parts of the messages of torch's allocators, cuBLAS and ONNX Runtime, in lower case."""


@contextmanager
def memory_errors(task: str, *, fix: str = "free some memory or use a smaller model") -> Iterator[None]:
    """Turn an allocation that fails inside the block into :class:`~stm_agent.errors.OutOfMemory`.

    What the failed code held is released, so that the caller can try again with less.

    Args:
        task: What the block does, for the message: ``encoding 64 texts``.
        fix: What the user can do about it.

    Raises:
        OutOfMemory: Memory of the CPU or of the GPU ran out.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        # The traceback's frames keep the tensors of the failed step alive.
        traceback.clear_frames(error.__traceback__)
        release_memory()
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise OutOfMemory(f"memory ran out while {task} ({reason[:200]}); {fix}") from error


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out; torch raises a plain ``RuntimeError`` for that on a CPU."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in SIGNS)


def release_memory() -> None:
    """Collect what is referenced in circles only, and give freed memory back to the system and to the GPU."""
    import torch

    # A trainer, its model and its optimiser refer to each other.
    gc.collect()
    # glibc keeps freed memory for later allocations (see choose_threads), but weights are mapped, which needs new room.
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
