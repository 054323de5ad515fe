"""A model that encodes no faster than a test lets it: work of hours, looked at half-way."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stm_agent.annotate.services.encoding import Model
from stm_agent.annotate.tool import Tool


class SlowModel:
    """Encodes as often as it may, and notes what.

    Attributes:
        may: How often it still may encode.
        calls: How often it was called; the last call may wait still.
        asked: All texts so far.
    """

    identity, dimension = "slow", 4

    def __init__(self, may: int = 99) -> None:
        """Begin with nothing encoded."""
        self.may = threading.Semaphore(may)
        self.calls = 0
        self.asked: list[str] = []
        self.model = SimpleNamespace(prompts={"query": "find: "})

    def encode(self, texts: Sequence[str], *, prefix: str = "") -> NDArray[np.float32]:
        """Return vectors made of the texts' hashes, once it may."""
        self.calls += 1
        if not self.may.acquire(timeout=60):
            raise TimeoutError("nobody let the model go on")
        self.asked += texts
        rows = [hashlib.sha256(f"{prefix}{text}".encode()).digest()[:4] for text in texts]
        return np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(-1, 4).astype(np.float32)


def lend(tool: Tool, model: SlowModel, name: str = "tiny") -> SlowModel:
    """Let a run of the workspace have a model; return it."""
    folder = tool.runs / name / "model"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "modules.json").write_text("[]")
    encoder: Any = model
    tool.models._loaded[name] = Model(name, encoder, tool.models.cache)
    return model
