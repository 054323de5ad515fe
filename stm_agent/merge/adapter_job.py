"""The adapter job: a sum of adapters as one adapter, from which further training can start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from stm_agent.errors import ConfigError
from stm_agent.job import Job
from stm_agent.merge.adapted import AdaptedModel


@dataclass(frozen=True)
class AdapterJob(Job):
    """Writes what the adapters of a model add to its backbone as one adapter.

    Attributes:
        model: A sum of adapters.
    """

    kind: ClassVar[str] = "adapter"
    model: AdaptedModel

    def inputs(self) -> Mapping[str, object]:
        """Return what decides the adapter."""
        return {"model": self.model.source_key()}

    def build(self, folder: Path) -> None:
        """Write ``adapter/``.

        Raises:
            ConfigError: The model is not a sum of adapters.
        """
        from stm_agent.merge.delta import LoraDelta, save_delta

        delta = self.model.delta()
        if not isinstance(delta, LoraDelta):
            raise ConfigError(f"a merge by {self.model.method.summary} cannot be one adapter; merge with method linear")
        save_delta(delta, folder / "adapter", base=self.model.backbone.model)
