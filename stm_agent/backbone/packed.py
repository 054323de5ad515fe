"""sentence-transformers' own module with the packed forward of :mod:`stm_agent.backbone.packing`."""

from __future__ import annotations

from typing import Any

from sentence_transformers.sentence_transformer.modules import Transformer
from torch import Tensor

from stm_agent.backbone.packing import packed_hidden, packed_tokens


class PackedTransformer(Transformer):
    """sentence-transformers' own module with a packed forward; it is saved as the plain module.

    Attributes:
        causal: Whether a token sees only what stands before it.
        cells: Cells of the last forward's rows, empty ones included.
    """

    causal: bool
    cells: int = 0

    @classmethod
    def wrap(cls, module: Any, *, causal: bool) -> PackedTransformer:  # noqa: ANN401 - changes its class here
        """Give a loaded module the packed forward, in place; weights are shared, nothing is copied."""
        module.__class__ = cls
        module.causal = causal
        packed: PackedTransformer = module
        return packed

    def unwrap(self) -> Transformer:
        """Give the plain forward back, in place."""
        self.__class__ = Transformer
        return self

    def hidden(self, ids: Tensor, positions: Tensor, mask: Tensor | dict[str, Tensor]) -> Tensor:
        """Run the network on packed rows; return ``[rows, width, hidden]``."""
        return packed_hidden(self.model, ids, positions, mask)

    def forward(self, features: dict[str, Tensor], **kwargs: object) -> dict[str, Tensor]:
        """Fill ``token_embeddings`` ``[texts, longest, hidden]``; zeros where a text is padded."""
        features["token_embeddings"], self.cells = packed_tokens(self.model, features, self.hidden, causal=self.causal)
        return features
