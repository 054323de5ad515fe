"""An encoder with the texts that it wants in front of queries and passages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stm_agent.backbone.prompts import passage_prompt, query_prompt
from stm_agent.evaluate.cache import EmbeddingCache, encode_queries, encode_through
from stm_agent.evaluate.corpus import encode_corpus
from stm_agent.evaluate.encoder import Encoder
from stm_agent.evaluate.vectors import CorpusVectors


@dataclass(frozen=True)
class PromptedEncoder:
    """An encoder with the texts it wants in front of queries and passages.

    Attributes:
        encoder: The encoder.
        query_prefix: Text in front of a query.
        passage_prefix: Text in front of a passage.
        cache: Stored vectors; None: no cache.
    """

    encoder: Encoder
    query_prefix: str = ""
    passage_prefix: str = ""
    cache: EmbeddingCache | None = None

    def queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return ``[texts, dimension]`` float32, L2-normalised."""
        return encode_queries(self.cache, self.encoder, texts, prefix=self.query_prefix)

    def passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return ``[texts, dimension]`` float32, L2-normalised."""
        vectors: NDArray[np.float32] = encode_through(self.cache, self.encoder)(texts, prefix=self.passage_prefix)
        return vectors

    def corpus(self, texts: Sequence[str]) -> CorpusVectors:
        """Return the vectors of a whole pool of passages, in shards on disk if it is large."""
        return encode_corpus(self.cache, self.encoder, texts, prefix=self.passage_prefix)


def ready_encoder(name: str, cache: EmbeddingCache | None) -> PromptedEncoder:
    """Load a sentence-transformers model with its own prompts."""
    from stm_agent.evaluate.baselines import static_encoder

    encoder = static_encoder(name)
    prompts = encoder.model.prompts
    return PromptedEncoder(encoder, query_prompt(prompts), passage_prompt(prompts), cache)
