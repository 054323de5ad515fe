"""The backbone's part of the domain file."""

from __future__ import annotations

from typing import Literal

from stm_agent.domain.fields import Positive, Spec, Switch

Attention = Literal["bidirectional", "causal"]
Kernel = Literal["auto", "flash", "sdpa", "eager"]
VectorFormat = Literal["auto", "float32", "float16", "int8"]


class BackboneSpec(Spec):
    """The model before adaptation, and how it becomes an encoder.

    What is left out is the checkpoint's own where sentence-transformers saved it, else the value named here.

    Attributes:
        model: ``embedded:`` name, folder, ``.gguf`` file, or Hub name; of a decoder, an encoder, or a
            sentence-transformers checkpoint.
        layers: First layers kept; None: all.
        attention: ``bidirectional`` lets a token see what follows it; None: its own, else ``bidirectional``.
        pooling: How token vectors become one vector; None: its own, else ``mean``.
        max_length: Tokens of a text that are read; None: its own, else 48.
        eos: End every text with the end-of-sequence token; None: where ``pooling: lasttoken`` is asked for here;
            false: never.
        dtype: Number format of weights and vectors; ``auto``: bfloat16 on a GPU, float32 on a CPU, in a run ``mixed``
            if the CPU has instructions for it; ``mixed``: float32 with matrix products in bfloat16, of a training
            those with frozen weights.
        kernel: How attention is computed: ``flash`` by FlashAttention 2 (a GPU, half precision, the package
            ``flash-attn``), ``sdpa`` by torch, ``eager`` by plain products; ``auto``: ``flash`` if it can be used and
            passes the checks of loading, else ``sdpa``.
        vectors: Number format of stored vectors of a corpus; ``auto``: float16 in shards on disk above 1 GiB of
            float32, else float32 in memory. ``float32``, ``float16`` and ``int8`` keep the format at any size.
    """

    model: str
    layers: Positive | None = None
    attention: Attention | None = None
    pooling: Literal["mean", "lasttoken", "weightedmean"] | None = None
    max_length: Positive | None = None
    eos: Switch | None = None
    dtype: Literal["auto", "float32", "mixed", "bfloat16", "float16"] = "auto"
    kernel: Kernel = "auto"
    vectors: VectorFormat = "auto"

    @property
    def summary(self) -> str:
        """One line for plans and cards."""
        length = f"{self.max_length} tokens" if self.max_length else "default length"
        return (
            f"{self.model}, {self.layers or 'all'} layers, {self.attention or 'default'} attention, "
            f"{self.pooling or 'default'} pooling, {length}"
        )
