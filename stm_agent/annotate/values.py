"""What a block holds: whether a value is of its type, and how a value of another type becomes one."""

from __future__ import annotations

import datetime
import math
from typing import Any

from stm_agent.annotate.schema import Block


def checked_value(block: Block, value: Any) -> Any:  # noqa: ANN401 - a JSON value
    """Return a value of a block's type.

    Raises:
        ValueError: It is of another type, or no option.
    """
    if not _fits(block, value):
        raise ValueError(f"block '{block.name}' holds a {block.type}, not {str(value)[:60]!r}")
    return value


def fitting(block: Block | None, value: Any) -> Any:  # noqa: ANN401 - a JSON value
    """Return a value as a block holds it; None: it has no place there."""
    if block is None or value is None:
        return None
    if _fits(block, value):
        return value
    if block.type in ("text", "longtext"):
        return "; ".join(map(str, value)) if isinstance(value, list) else str(value)
    if block.type == "multiselect" and value in block.options:
        return [value]
    if block.type == "select" and isinstance(value, list) and len(value) == 1 and value[0] in block.options:
        return value[0]
    return None


def _fits(block: Block, value: Any) -> bool:  # noqa: ANN401 - a JSON value
    match block.type:
        case "text" | "longtext":
            return isinstance(value, str)
        case "select":
            return isinstance(value, str) and (value == "" or value in block.options)
        case "multiselect":
            if not isinstance(value, list) or len(value) > len(block.options):
                return False
            return all(one in block.options for one in value)
        case "boolean":
            return isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf
        case "date":
            return isinstance(value, str) and _is_date(value)


def _is_date(value: str) -> bool:
    try:
        datetime.date.fromisoformat(value)
    except ValueError:
        return False
    return True
