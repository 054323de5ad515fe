"""The modules of a network that get a LoRA adapter, whatever its architecture calls them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stm_agent.errors import BackboneError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def lora_targets(network: PreTrainedModel, *, embeddings: bool) -> list[str]:
    """Return the names of all linear layers in the network's blocks.

    A block is an entry of a module list, so its name contains a number; poolers and heads are outside of blocks.

    Args:
        network: A transformers model without adapters.
        embeddings: Include the token embedding.

    Raises:
        BackboneError: The network has no linear layer in a block.
    """
    from torch import nn

    modules = dict(network.named_modules())
    linear = [name for name, module in modules.items() if isinstance(module, nn.Linear) and _in_block(name)]
    if not linear:
        raise BackboneError(
            f"a {network.config.model_type} has no linear layer that LoRA could adapt; use another model"
        )
    words = network.get_input_embeddings() if embeddings else None
    return linear + [name for name, module in modules.items() if module is words]


def _in_block(name: str) -> bool:
    return any(part.isdigit() for part in name.split("."))
