"""What a block holds: whether a value is of its type, and how a value of another type becomes one."""

from __future__ import annotations

import datetime
import math
from typing import TypeGuard

from stm_agent.annotate.schema import Block

BlockValue = str | list[str] | bool | int | float
"""A value of a block, by the block's type."""


def checked_value(block: Block, value: object) -> BlockValue:
    """Return a value of a block's type.

    Raises:
        ValueError: It is of another type, or no option.
    """
    if not _fits(value, block):
        raise ValueError(f"block '{block.name}' holds a {block.type}, not {str(value)[:60]!r}")
    return value


def fitting(block: Block | None, value: object) -> BlockValue | None:
    """Return a value as a block holds it; None: it has no place there."""
    if block is None or value is None:
        return None
    if _fits(value, block):
        return value
    if block.type in ("text", "longtext"):
        return "; ".join(map(str, value)) if isinstance(value, list) else str(value)
    if block.type == "multiselect" and isinstance(value, str) and value in block.options:
        return [value]
    if block.type == "select" and _are_options(value, block) and len(value) == 1:
        return value[0]
    return None


def _fits(value: object, block: Block) -> TypeGuard[BlockValue]:
    match block.type:
        case "text" | "longtext":
            return isinstance(value, str)
        case "select":
            return isinstance(value, str) and (value == "" or value in block.options)
        case "multiselect":
            return _are_options(value, block)
        case "boolean":
            return isinstance(value, bool)
        case "number":
            return _is_number(value)
        case "date":
            return isinstance(value, str) and _is_date(value)


def _are_options(value: object, block: Block) -> TypeGuard[list[str]]:
    if not isinstance(value, list) or len(value) > len(block.options):
        return False
    return all(one in block.options for one in value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf


def _is_date(value: str) -> bool:
    try:
        datetime.date.fromisoformat(value)
    except ValueError:
        return False
    return True
