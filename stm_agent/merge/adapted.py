"""A backbone with adapters folded in, as a value that jobs can carry."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from stm_agent.backbone.precision import MIXED
from stm_agent.domain.spec import BackboneSpec
from stm_agent.files import folder_hash, read_json
from stm_agent.merge.recipe import SUM, MethodOptions, Recipe, merge

if TYPE_CHECKING:
    from stm_agent.backbone.encoder import TextEncoder
    from stm_agent.merge.interface import Delta


def adapter_key(adapter: Path) -> str:
    """Return what identifies an adapter's weights: the name of its stage folder, or else a content hash."""
    stage = adapter.parent
    if (stage / "manifest.json").is_file() and stage.name.endswith(str(read_json(stage / "manifest.json")["key"])[:16]):
        return stage.name
    return folder_hash(adapter)


@dataclass(frozen=True)
class AdaptedModel:
    """A merge of LoRA adapters on a backbone; without adapters the backbone itself.

    Attributes:
        backbone: The model before adaptation.
        adapters: Folders of peft adapters.
        weights: One weight for each adapter.
        method: How they are merged; by default the sum of what they add, each times its weight.
        queries: The model that queries are encoded with; None: this one.
        query_map: Folder of a map on the vectors of queries, see :mod:`stm_agent.backbone.query_map`; None: there is
            none.
    """

    backbone: BackboneSpec
    adapters: tuple[Path, ...] = ()
    weights: tuple[float, ...] = ()
    method: MethodOptions = SUM
    queries: AdaptedModel | None = None
    query_map: Path | None = None

    @property
    def documents(self) -> AdaptedModel:
        """The model that passages are encoded with."""
        return replace(self, queries=None, query_map=None)

    @property
    def unmapped(self) -> AdaptedModel:
        """The same model without a map on the vectors of queries."""
        return replace(self, query_map=None)

    @property
    def merged(self) -> AdaptedModel:
        """The side that was merged last: that of queries, if it has weights of its own."""
        return self.queries or self

    def source_key(self) -> object:
        """Return backbone, adapters, weights and method as JSON values."""
        from stm_agent.backbone.identity import source_identity

        used = [(adapter_key(path), weight) for path, weight in self._used()]
        key: list[object] = [
            "adapted",
            self.backbone.model_dump(mode="json"),
            source_identity(self.backbone.model),
            used,
        ]
        if self.method != SUM:
            key.append(self.method.model_dump(mode="json"))
        if self.queries is not None:
            key.append(["queries", self.queries.source_key()])
        return key if self.query_map is None else [*key, ["query map", adapter_key(self.query_map)]]

    @property
    def in_float32(self) -> AdaptedModel:
        """The same model without mixed precision, as whoever loads it by sentence-transformers has it."""
        if self.backbone.dtype != MIXED:
            return self
        backbone = self.backbone.model_copy(update={"dtype": "float32"})
        return replace(self, backbone=backbone, queries=self.queries and self.queries.in_float32)

    @property
    def recipe(self) -> Recipe:
        """Weights and method as a recipe; only of a model with adapters."""
        return Recipe.of(self.weights, self.method)

    def delta(self) -> Delta | None:
        """Return what the adapters add to the backbone together; None: nothing.

        A sum is a :class:`~stm_agent.merge.delta.LoraDelta`; merges by other methods are computed matrix by matrix.

        Raises:
            ConfigError: The adapters have different bases, or a method other than the sum has only one.
        """
        from stm_agent.merge.delta import combine, load_delta

        used = self._used()
        if not used:
            return None
        deltas = [load_delta(path) for path, _ in used]
        if self.method != SUM:
            return merge(deltas, self.recipe)
        return deltas[0] if [w for _, w in used] == [1.0] else combine(deltas, [weight for _, weight in used])

    def open(self) -> TextEncoder:
        """Load the backbone and fold the merge into its weights; the same for the side of queries, with its map."""
        from stm_agent.backbone.encoder import TextEncoder, TwoSidedEncoder
        from stm_agent.backbone.load import load_backbone
        from stm_agent.backbone.network import network_of
        from stm_agent.merge.delta import fold

        model = load_backbone(self.backbone)
        delta = self.delta()
        if delta is not None:
            fold(network_of(model), delta)
        encoder = TextEncoder(model, mixed=self.backbone.dtype == MIXED, vector_format=self.backbone.vectors)
        if self.queries is None and self.query_map is None:
            return encoder
        queries = encoder if self.queries is None else self.queries.open()
        return TwoSidedEncoder(encoder, queries if self.query_map is None else queries.mapped(self.query_map))

    def _used(self) -> list[tuple[Path, float]]:
        # A sum does not need experts of weight 0; what dare drops depends on the number of experts.
        pairs = zip(self.adapters, self.weights, strict=True)
        return [(path, weight) for path, weight in pairs if weight or (self.method != SUM and any(self.weights))]
