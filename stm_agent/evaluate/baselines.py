"""The baselines of every report: BM25 and a ready-made encoder."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stm_agent.backbone.encoder import TextEncoder


def bm25_run(
    texts: Mapping[str, str], queries: Mapping[str, str], k: int = 100, ignored_ids: Container[str] = frozenset()
) -> dict[str, dict[str, float]]:
    """Rank a corpus by BM25, with the settings of ``Bm25Index``; ``ignored_ids`` as in ``rank``."""
    from stm_agent.evaluate.bm25 import Bm25Index

    return Bm25Index(texts).run(queries, k, ignored_ids)


def static_encoder(name: str) -> TextEncoder:
    """Return an unchanged sentence-transformers model as an encoder, for example ``embedded:all-minilm-l6-v2``."""
    from stm_agent.backbone.load import load_model
    from stm_agent.backbone.sides import encoder_of

    return encoder_of(load_model(name))


@dataclass(frozen=True)
class ReadyModel:
    """A ready-made sentence-transformers model as an :class:`~stm_agent.evaluate.encoder.EncoderSource`.

    Attributes:
        name: Folder, ``embedded:`` name or Hub name.
    """

    name: str

    def source_key(self) -> object:
        """Return the name's weights as a text."""
        from stm_agent.backbone.identity import source_identity

        return ["ready", source_identity(self.name)]

    def open(self) -> TextEncoder:
        """Load the model as it comes."""
        return static_encoder(self.name)
