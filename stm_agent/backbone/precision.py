"""Mixed precision on a CPU: float32 weights and bfloat16 matrix products, by torch's autocast.

It needs instructions for bfloat16 (AVX512-BF16 or AMX): without them torch emulates the products, which is slower than
float32. Pooling and the normalisation of vectors stay in float32.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext, suppress

from stm_agent.errors import BackboneError

MIXED = "mixed"
"""The number format's name in a domain file."""

WIDE = 256
"""Hidden size from which the products, and not the rest, take most of the time."""


def has_bfloat16_products() -> bool:
    """Return whether this machine's CPU has instructions for products in bfloat16."""
    import torch

    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def require_bfloat16_products() -> None:
    """Refuse mixed precision where the CPU would emulate it.

    Raises:
        BackboneError: The CPU has no instructions for bfloat16.
    """
    if not has_bfloat16_products():
        raise BackboneError("dtype mixed: this CPU has no instructions for bfloat16; set dtype: auto")


def mixed_pays(name: str) -> bool:
    """Return whether a model is encoded faster in mixed precision on this machine, by its width and the CPU."""
    import torch

    return not torch.cuda.is_available() and has_bfloat16_products() and _width(name) >= WIDE


def _width(name: str) -> int:
    """Return the hidden size of a model; 0 if its config does not say, which the loading of the model reports."""
    from transformers import AutoConfig

    from stm_agent.backbone.embedded import resolve_model

    with suppress(OSError, ValueError, BackboneError):
        return int(getattr(AutoConfig.from_pretrained(resolve_model(name)), "hidden_size", 0))
    return 0


def products(device: str, *, mixed: bool) -> AbstractContextManager[None]:
    """Return the context in which a model's forward is run."""
    import torch

    return torch.autocast(device, dtype=torch.bfloat16) if mixed else nullcontext()
