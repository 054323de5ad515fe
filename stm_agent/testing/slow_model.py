"""A model that encodes only when a test allows it, to look at long work half-way."""

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
    """Encodes as many times as it is allowed to, and records the texts.

    Attributes:
        may: Semaphore with one permit for each call that may still encode.
        calls: Number of calls; the last one may still be waiting.
        asked: All texts so far.
    """

    identity, dimension = "slow", 4

    def __init__(self, may: int = 99) -> None:
        """Allow ``may`` calls to encode."""
        self.may = threading.Semaphore(may)
        self.calls = 0
        self.asked: list[str] = []
        self.model = SimpleNamespace(prompts={"query": "find: "})

    def encode(self, texts: Sequence[str], *, prefix: str = "") -> NDArray[np.float32]:
        """Return vectors made of the texts' hashes, as soon as that is allowed."""
        self.calls += 1
        if not self.may.acquire(timeout=60):
            raise TimeoutError("the test allowed no further call within a minute")
        self.asked += texts
        rows = [hashlib.sha256(f"{prefix}{text}".encode()).digest()[:4] for text in texts]
        return np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(-1, 4).astype(np.float32)


def lend(tool: Tool, model: SlowModel, name: str = "tiny") -> SlowModel:
    """Add a run with this model to the workspace; return the model."""
    folder = tool.runs / name / "model"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "modules.json").write_text("[]")
    encoder: Any = model
    tool.models._loaded[name] = Model(name, encoder, tool.models.cache)
    return model
