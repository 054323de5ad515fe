"""How attention is computed: FlashAttention 2 where a GPU has it, else torch's own scaled-dot-product attention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stm_agent.domain.backbone_spec import Kernel
from stm_agent.errors import BackboneError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

FLASH = "flash_attention_2"
"""The name that transformers gives to FlashAttention 2."""


def attention_kernel(kernel: Kernel, device: str, dtype: torch.dtype) -> str | None:
    """Return the implementation that transformers is asked for; None: its own choice, which is torch's attention.

    Args:
        kernel: What the domain asks for.
        device: ``cpu`` or ``cuda``.
        dtype: Number format of the weights.

    Raises:
        BackboneError: FlashAttention is asked for, and the machine or the number format does not allow it.
    """
    fault = flash_fault(device, dtype) if kernel in ("auto", "flash") else None
    if kernel == "auto":
        return None if fault else FLASH
    if kernel != "flash":
        return kernel
    if fault:
        raise BackboneError(f"kernel flash {fault}; or set kernel: auto")
    return FLASH


def flash_fault(device: str, dtype: torch.dtype) -> str | None:
    """Return why FlashAttention 2 cannot be used, and the fix; None if it can."""
    import torch
    from transformers.utils.import_utils import is_flash_attn_2_available

    if device != "cuda":
        return "needs a GPU, and torch finds none"
    if dtype not in (torch.bfloat16, torch.float16):
        return f"needs numbers in half precision, not {str(dtype).removeprefix('torch.')}: set dtype: bfloat16"
    if not is_flash_attn_2_available():
        return "needs the package flash-attn: python -m pip install flash-attn"
    return None


def uses_flash(network: PreTrainedModel) -> bool:
    """Return whether a network was loaded with FlashAttention."""
    return getattr(network.config, "_attn_implementation", None) == FLASH


def set_module_direction(network: Any, *, causal: bool) -> None:  # noqa: ANN401 - torch types no attribute of a module
    """Tell every attention module its direction, in place.

    FlashAttention gets no mask that could say so and asks the module, while masks follow the config.
    """
    for module in network.modules():
        if isinstance(getattr(module, "is_causal", None), bool):
            module.is_causal = causal
