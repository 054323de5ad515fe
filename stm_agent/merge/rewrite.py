"""Copy a safetensors file with some weights changed; rows are computed while earlier rows are being written.

The format (https://github.com/huggingface/safetensors#format) is a length, a JSON header with the position of each
weight's bytes, then these bytes.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from stm_agent.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

CHUNK = 1 << 22
"""Number of bytes that are changed or copied at once."""


class Block(NamedTuple):
    """Rows of a weight from row ``first``, in the file from byte ``begin`` to byte ``end``."""

    name: str
    first: int
    begin: int
    end: int


def rewrite(
    source: Path,
    target: Path,
    changed: Collection[str],
    change: Callable[[str, Tensor, int], None],
    *,
    whole: bool = False,
) -> None:
    """Copy a safetensors file with some weights changed, a few rows at a time.

    A file accepts one write at a time. One thread writes the changed rows, and pieces of the other bytes between them,
    while the next rows are read and changed.

    Args:
        source: The file.
        target: The file to write.
        changed: Names of the weights that change, as in the file.
        change: Changes rows of a weight in place; called with its name, their bytes (uint8 ``[bytes]``) and the first
            row.
        whole: Change all rows of a weight at once; two weights are then in memory, otherwise two chunks.

    Raises:
        DataError: The file is shorter than its header says.
    """
    import torch

    with source.open("rb") as opened, target.open("wb") as made, ThreadPoolExecutor(1) as writer:
        read, written = opened.fileno(), made.fileno()
        blocks = _blocks(read, changed, whole=whole)
        rest = _pieces(_between([(block.begin, block.end) for block in blocks], os.fstat(read).st_size))
        # Two buffers are reused, since page faults of fresh memory would cost more than the sums.
        sizes = [block.end - block.begin for block in blocks]
        buffers = [torch.empty(max(sizes[turn::2], default=0), dtype=torch.uint8) for turn in range(2)]
        jobs: list[Future[None]] = []
        waiting: list[Future[None] | None] = [None, None]
        for number, block in enumerate(blocks):
            if before := waiting[number % 2]:
                before.result()
            raw = buffers[number % 2][: block.end - block.begin]
            _read(read, raw.numpy().data, block.begin)
            change(block.name, raw, block.first)
            waiting[number % 2] = writer.submit(_put, written, raw.numpy().data, block.begin)
            jobs.append(writer.submit(_copy, read, written, next(rest, (0, 0))))
        jobs += [job for job in waiting if job]
        jobs += [writer.submit(_copy, read, written, piece) for piece in rest]
        for job in jobs:
            job.result()


def _blocks(read: int, names: Collection[str], *, whole: bool) -> list[Block]:
    """Return the rows to change, in the file's order."""
    length = int.from_bytes(os.pread(read, 8, 0), "little")
    header = json.loads(os.pread(read, length, 8))
    last = max((part["data_offsets"][1] for name, part in header.items() if name != "__metadata__"), default=0)
    if os.fstat(read).st_size < 8 + length + last:
        raise DataError("a weights file is shorter than its header says; download or save it again")
    blocks = []
    for name in names:
        begin, end = (8 + length + offset for offset in header[name]["data_offsets"])
        rows = (header[name]["shape"] or [1])[0]
        row = (end - begin) // max(rows, 1)
        count = rows if whole else max(CHUNK // max(row, 1), 1)
        blocks += [
            Block(name, first, begin + first * row, begin + min(first + count, rows) * row)
            for first in range(0, rows, max(count, 1))
        ]
    return sorted(blocks, key=lambda block: block.begin)


def _between(ranges: Sequence[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    """Return the gaps between the ranges, which are in order and do not overlap, in a file of ``size`` bytes."""
    ends = [0, *(end for _, end in ranges)]
    begins = [*(begin for begin, _ in ranges), size]
    return list(zip(ends, begins, strict=True))


def _pieces(ranges: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    for begin, end in ranges:
        for at in range(begin, end, CHUNK):
            yield at, min(at + CHUNK, end)


def _read(read: int, into: memoryview, at: int) -> None:
    while into:
        count = _some(os.preadv(read, [into], at))
        into, at = into[count:], at + count


def _put(written: int, data: memoryview, at: int) -> None:
    while data:
        count = os.pwrite(written, data, at)
        data, at = data[count:], at + count


def _copy(read: int, written: int, piece: tuple[int, int]) -> None:
    at, end = piece
    while at < end:
        at += _some(_copied(read, written, at, end - at))


def _some(count: int) -> int:
    if not count:
        raise DataError("a weights file is shorter than its header says; download or save it again")
    return count


def _copied(read: int, written: int, at: int, count: int) -> int:
    """Copy inside the kernel if the system can, so that the bytes do not pass through this process."""
    with contextlib.suppress(AttributeError, OSError):
        # Some filesystems report 0 bytes if they cannot.
        if copied := os.copy_file_range(read, written, count, at, at):
            return copied
    return os.pwrite(written, os.pread(read, count, at), at)
