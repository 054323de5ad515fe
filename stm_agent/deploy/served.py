"""A loaded model that encodes queries and passages as the run scored them: instruction, pooling, side, length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from stm_agent.deploy.product import Product

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

    from stm_agent.backbone.encoder import TextEncoder

InputType = Literal["query", "passage"]
Vectors = NDArray[np.float32]


class ServedModel:
    """A product in memory.

    Attributes:
        product: What was loaded.
        encoder: Encoder of passages; of a model with two sides also of queries.
        prefixes: Text in front of each query and of each passage.
    """

    def __init__(self, product: Product) -> None:
        """Load a product.

        Raises:
            BackboneError: It cannot be loaded.
        """
        from stm_agent.backbone.opened import open_model
        from stm_agent.backbone.prompts import passage_prompt, query_prompt

        model = open_model(product.source)
        self.product = product
        self.encoder = model.encoder
        # A large corpus is found in the shards that the run stored.
        self.encoder.vector_format = product.vectors
        self.prefixes: dict[InputType, str] = {
            "query": query_prompt(model.prompts),
            "passage": passage_prompt(model.prompts),
        }
        self._counter = _counter_of(model.tokenizer)

    @property
    def name(self) -> str:
        """Name by which clients ask for the model."""
        return self.product.name

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self.encoder.dimension

    @property
    def dimensions(self) -> tuple[int, ...]:
        """Lengths of vectors that clients may ask for, the whole included."""
        return tuple(sorted({*(size for size in self.product.dimensions if size < self.dimension), self.dimension}))

    @property
    def asymmetric(self) -> bool:
        """Whether a query and a passage of the same text have different vectors."""
        return self._encoder("query") is not self._encoder("passage") or len(set(self.prefixes.values())) > 1

    def encode(self, texts: Sequence[tuple[InputType, str]]) -> Vectors:
        """Return ``[texts, dimension]`` float32, L2-normalised, of queries and passages together."""
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        for encoder in dict.fromkeys((self._encoder("query"), self._encoder("passage"))):
            rows = [row for row, (side, _) in enumerate(texts) if self._encoder(side) is encoder]
            if rows:
                # The prefix is part of the text here, so that both kinds share a batch.
                vectors[rows] = encoder.encode([self.prefixes[texts[row][0]] + texts[row][1] for row in rows])
        return vectors

    def tokens(self, texts: Sequence[tuple[InputType, str]]) -> list[int]:
        """Return the tokens of each text with its prefix and special tokens, before anything is cut off."""
        whole = [self.prefixes[side] + text for side, text in texts]
        return [len(encoding.ids) for encoding in self._counter.encode_batch_fast(whole)]

    @property
    def max_tokens(self) -> int | None:
        """Tokens of a text that the model reads; None: all of them."""
        return int(self.encoder.model.max_seq_length) if self.encoder.model.max_seq_length else None

    def _encoder(self, side: InputType) -> TextEncoder:
        from stm_agent.backbone.encoder import TwoSidedEncoder

        if side == "query" and isinstance(self.encoder, TwoSidedEncoder):
            return self.encoder.query_encoder
        return self.encoder


def _counter_of(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    """Return a copy of a fast tokenizer that cuts nothing; a short text costs it a tenth of transformers' own call."""
    from tokenizers import Tokenizer

    counter: Tokenizer = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    counter.no_truncation()
    counter.no_padding()
    return counter
