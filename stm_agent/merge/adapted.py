"""A backbone with adapters folded in, as a value that jobs can carry."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from stm_agent.domain.spec import BackboneSpec
from stm_agent.files import folder_hash, read_json

if TYPE_CHECKING:
    from stm_agent.backbone.encoder import TextEncoder
    from stm_agent.merge.delta import LoraDelta


def adapter_key(adapter: Path) -> str:
    """Return what identifies an adapter's weights: the name of its stage folder, or else a content hash."""
    stage = adapter.parent
    if (stage / "manifest.json").is_file() and stage.name.endswith(str(read_json(stage / "manifest.json")["key"])[:16]):
        return stage.name
    return folder_hash(adapter)


@dataclass(frozen=True)
class AdaptedModel:
    """A linear merge of LoRA adapters on a backbone; without adapters the backbone itself.

    Attributes:
        backbone: The model before adaptation.
        adapters: Folders of peft adapters.
        weights: One weight for each adapter.
        queries: The model that queries are encoded with; None: this one.
    """

    backbone: BackboneSpec
    adapters: tuple[Path, ...] = ()
    weights: tuple[float, ...] = ()
    queries: AdaptedModel | None = None

    @property
    def documents(self) -> AdaptedModel:
        """The model that passages are encoded with."""
        return replace(self, queries=None)

    def source_key(self) -> object:
        """Return backbone, adapters and weights as JSON values."""
        from stm_agent.backbone.identity import source_identity

        used = [(adapter_key(path), weight) for path, weight in self._used()]
        key = ["adapted", self.backbone.model_dump(mode="json"), source_identity(self.backbone.model), used]
        return key if self.queries is None else [*key, self.queries.source_key()]

    def delta(self) -> LoraDelta | None:
        """Return what the adapters add to the backbone together; None: nothing."""
        from stm_agent.merge.delta import combine, load_delta

        used = self._used()
        if not used:
            return None
        deltas = [load_delta(path) for path, _ in used]
        return deltas[0] if [w for _, w in used] == [1.0] else combine(deltas, [weight for _, weight in used])

    def open(self) -> TextEncoder:
        """Load the backbone and fold the merge into its weights; the same for the side of queries."""
        from stm_agent.backbone.encoder import TextEncoder, TwoSidedEncoder
        from stm_agent.backbone.load import load_backbone
        from stm_agent.backbone.network import network_of
        from stm_agent.merge.delta import fold

        model = load_backbone(self.backbone)
        delta = self.delta()
        if delta is not None:
            fold(network_of(model), delta)
        encoder = TextEncoder(model)
        return encoder if self.queries is None else TwoSidedEncoder(encoder, self.queries.open())

    def _used(self) -> list[tuple[Path, float]]:
        return [pair for pair in zip(self.adapters, self.weights, strict=True) if pair[1]]
