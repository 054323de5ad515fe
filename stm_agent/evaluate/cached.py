"""mteb's own evaluation on stored vectors: the official code scores them, and no text is encoded twice.

mteb's ``CachedEmbeddingWrapper`` keys on neither model nor instruction. Our cache keys on both, so the official task
can score every finalist of an instruction search.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stm_agent.domain.collection import Collection, Document, Split
from stm_agent.evaluate.cache import EmbeddingCache, encode_queries
from stm_agent.evaluate.encoder import Encoder
from stm_agent.evaluate.tasks import evaluate_with_mteb, mteb_task

if TYPE_CHECKING:
    from mteb.abstasks import AbsTaskRetrieval
    from mteb.types import Array, PromptType
    from torch import Tensor


class CachedEncoder:
    """``mteb.EncoderProtocol`` on an encoder, its prefixes and the cache."""

    def __init__(self, encoder: Encoder, cache: EmbeddingCache, *, query_prefix: str, passage_prefix: str) -> None:
        """Use ``query_prefix`` and ``passage_prefix`` instead of mteb's prompts."""
        from mteb.models import ModelMeta

        self.encoder, self.cache = encoder, cache
        self.prefixes = {"query": query_prefix, "document": passage_prefix}
        # mteb requires a name and a revision; the revision identifies the weights.
        self.mteb_model_meta = ModelMeta.create_empty(
            {"name": "stm-agent/cached", "revision": encoder.identity[:16], "similarity_fn_name": "cosine"}
        )

    def encode(
        self, inputs: Iterable[Mapping[str, Sequence[str]]], *, prompt_type: PromptType | None = None, **kwargs: object
    ) -> NDArray[np.float32]:
        """Return the vectors of a data loader's texts, from the cache if they are stored.

        Returns:
            ``[texts, dimension]`` float32, L2-normalised.
        """
        texts = [text for batch in inputs for text in batch["text"]]
        role = "query" if prompt_type is None else prompt_type.value
        if role == "query":
            return encode_queries(self.cache, self.encoder, texts, prefix=self.prefixes[role])
        return self.cache.encode(self.encoder, texts, prefix=self.prefixes[role])

    def similarity(self, embeddings1: Array, embeddings2: Array) -> Tensor:
        """Return cosine similarities ``[first, second]``; the vectors have length 1."""
        import torch

        return torch.as_tensor(embeddings1) @ torch.as_tensor(embeddings2).T

    def similarity_pairwise(self, embeddings1: Array, embeddings2: Array) -> Tensor:
        """Return the cosine similarity of each row with its row."""
        import torch

        return (torch.as_tensor(embeddings1) * torch.as_tensor(embeddings2)).sum(dim=1)


def corpus_task(documents: Mapping[str, str], split: Split) -> AbsTaskRetrieval:
    """Return the mteb task of a split over a corpus; it can score any number of models and instructions."""
    corpus = tuple(Document(name, "", text) for name, text in documents.items())
    return mteb_task(Collection("finalists", corpus, {split.name: split}, "", ""), split.name)


def score_with_mteb(
    encoder: Encoder, cache: EmbeddingCache, task: AbsTaskRetrieval, *, query_prefix: str, passage_prefix: str
) -> float:
    """Return a task's nDCG@10, as ``mteb.evaluate`` scores it, on stored vectors."""
    cached = CachedEncoder(encoder, cache, query_prefix=query_prefix, passage_prefix=passage_prefix)
    return evaluate_with_mteb(cached, task)["ndcg_at_10"]
