"""A sentence-transformers model run by torch and transformers alone.

Importing sentence-transformers takes longer than all the rest of a server's start: it brings trainers, data sets and
scikit-learn. These modules compute the same vectors (``tests/backbone/test_lean.py``) and have the same identity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stm_agent.backbone.packing import packed_hidden, packed_tokens
from stm_agent.backbone.runtime import Run

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Features = dict[str, Tensor]
"""What modules pass on: ``input_ids``, ``attention_mask``, ``token_embeddings``, ``sentence_embedding``."""
PoolingMode = Literal["cls", "mean", "lasttoken"]


class LeanTransformer(nn.Module):
    """Tokenizer and network.

    Attributes:
        model: The network, a transformers model.
        tokenizer: Its tokenizer; ``model_max_length`` is where it cuts.
    """

    def __init__(self, network: nn.Module, tokenizer: PreTrainedTokenizerBase) -> None:
        """Join them."""
        super().__init__()
        self.model, self.tokenizer = network, tokenizer

    def forward(self, features: Features) -> Features:
        """Fill ``token_embeddings`` ``[texts, longest, hidden]``."""
        return {**features, "token_embeddings": self.model(**features).last_hidden_state}

    def wrap(self, *, causal: bool) -> None:
        """Give the module the packed forward, in place."""
        packed: Any = self
        packed.__class__ = LeanPacked
        packed.causal = causal

    def unwrap(self) -> None:
        """Give the plain forward back, in place."""
        self.__class__ = LeanTransformer


class LeanPacked(LeanTransformer):
    """The same with a packed forward.

    Attributes:
        causal: Whether a token sees only what stands before it.
    """

    causal: bool

    def forward(self, features: Features) -> Features:
        """Fill ``token_embeddings`` ``[texts, longest, hidden]``; zeros where a text is padded."""
        run = partial(packed_hidden, self.model)
        tokens, _ = packed_tokens(self.model, features, run, causal=self.causal)
        return {**features, "token_embeddings": tokens}


class LeanSession(LeanTransformer):
    """A module whose network runs in another library.

    Attributes:
        run: The session.
        identity: Hash of the files that decide its vectors.
    """

    def __init__(self, shell: nn.Module, tokenizer: PreTrainedTokenizerBase, run: Run, identity: str) -> None:
        """Join them; ``shell`` has the network's config."""
        super().__init__(shell, tokenizer)
        self.run, self.identity = run, identity

    def forward(self, features: Features) -> Features:
        """Fill ``token_embeddings`` ``[texts, longest, hidden]``."""
        return {**features, "token_embeddings": self.run(features["input_ids"], features["attention_mask"])}


class Pooling(nn.Module):
    """The vector of a text from those of its tokens."""

    def __init__(self, dimension: int, mode: PoolingMode) -> None:
        """Pool vectors of this length."""
        super().__init__()
        self.dimension, self.mode = dimension, mode

    def get_config_dict(self) -> dict[str, object]:
        """Return what sentence-transformers' module of this name returns: it is part of a model's identity."""
        return {"embedding_dimension": self.dimension, "pooling_mode": self.mode, "include_prompt": True}

    def forward(self, features: Features) -> Features:
        """Fill ``sentence_embedding`` ``[texts, dimension]``."""
        tokens, mask = features["token_embeddings"], features["attention_mask"]
        if self.mode == "mean":
            weights = mask.unsqueeze(-1).to(tokens.dtype)
            total = (tokens * weights).sum(dim=1, dtype=torch.float32)
            pooled = (total / weights.sum(dim=1, dtype=torch.float32).clamp(min=1e-9)).to(tokens.dtype)
        else:
            # The first and the last token of a text, wherever its padding is.
            places = mask if self.mode == "cls" else mask * torch.arange(1, mask.shape[1] + 1, device=mask.device)
            chosen = places.argmax(dim=1)
            rows = torch.arange(len(chosen), device=mask.device)
            pooled = tokens[rows, chosen] * mask[rows, chosen].unsqueeze(-1).to(tokens.dtype)
        return {**features, "sentence_embedding": pooled}


class Dense(nn.Module):
    """A linear map of a text's vector, and its activation."""

    def __init__(self, config: Mapping[str, Any], activation: nn.Module) -> None:
        """Make the map that a config describes; its weights are loaded afterwards."""
        super().__init__()
        self.config, self.activation, self.dimension = dict(config), activation, int(config["out_features"])
        self.linear = nn.Linear(config["in_features"], config["out_features"], bias=config["bias"])

    def get_config_dict(self) -> dict[str, object]:
        """Return what sentence-transformers' module of this name returns."""
        return self.config

    def forward(self, features: Features) -> Features:
        """Map ``sentence_embedding``."""
        return {**features, "sentence_embedding": self.activation(self.linear(features["sentence_embedding"]))}


class Normalize(nn.Module):
    """Vectors of length 1."""

    def get_config_dict(self) -> dict[str, object]:
        """Return what sentence-transformers' module of this name returns."""
        return {"module_input_name": "sentence_embedding", "module_output_name": "sentence_embedding"}

    def forward(self, features: Features) -> Features:
        """Normalise ``sentence_embedding``."""
        return {**features, "sentence_embedding": nn.functional.normalize(features["sentence_embedding"], dim=-1)}


class LeanModel(nn.Sequential):
    """Modules from tokens to vectors, the first one with network and tokenizer.

    Attributes:
        prompts: Name -> text in front of a query or a passage.
        dimension: Length of a vector.
    """

    def __init__(self, modules: Sequence[nn.Module], prompts: Mapping[str, str], dimension: int) -> None:
        """Chain the modules."""
        super().__init__(*modules)
        self.prompts, self.dimension = dict(prompts), dimension

    @property
    def tokenizer(self) -> Any:  # noqa: ANN401 - as sentence-transformers' own models
        """The tokenizer."""
        return self[0].tokenizer

    @property
    def max_seq_length(self) -> int | None:
        """Tokens of a text that are read; None: all of them."""
        longest: int | None = self.tokenizer.model_max_length
        return longest

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the network."""
        return next(self.parameters()).dtype

    def get_embedding_dimension(self) -> int:
        """Return the length of a vector."""
        return self.dimension

    @torch.inference_mode()
    def encode(
        self,
        texts: Sequence[str],
        *,
        prompt: str = "",
        normalize_embeddings: bool = False,
        batch_size: int | None = None,
        convert_to_numpy: bool = True,
        show_progress_bar: bool = False,
    ) -> NDArray[np.float32]:
        """Return ``[texts, dimension]`` float32 of one batch; the last three are SentenceTransformer's, and ignored."""
        whole = [prompt + text for text in texts]
        features = dict(self.tokenizer(whole, padding=True, truncation="longest_first", return_tensors="pt"))
        vectors: Tensor = self({name: value.to(self.device) for name, value in features.items()})["sentence_embedding"]
        if normalize_embeddings:
            vectors = nn.functional.normalize(vectors, dim=-1)
        return vectors.float().cpu().numpy()
