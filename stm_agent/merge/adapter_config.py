"""What a LoRA adapter's ``adapter_config.json`` says about its matrices, and which adapters can be merged at all."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Required, TypedDict

from stm_agent.errors import ConfigError
from stm_agent.files import read_json

UNSUPPORTED = (
    "use_dora",
    "modules_to_save",
    "lora_bias",
    "fan_in_fan_out",
    "layer_replication",
    "target_parameters",
    "trainable_token_indices",
    "alora_invocation_tokens",
    "use_qalora",
    "use_bdlora",
    "kasa_config",
    "arrow_config",
)
"""Options of peft that make an adapter more, or something else, than ``B A`` on a weight ``[out, in]``."""
BASE_UNCHANGED = (True, False, None, "gaussian", "eva", "orthogonal", "mica")
"""Initialisations of peft 0.21 that leave the base's weights alone. The others (PiSSA, OLoRA, CorDA, LoftQ, LoRA-GA)
take something out of the base, so that ``B A`` is not what the adapter adds to it."""


class AdapterConfig(TypedDict, total=False):
    """What is read here of ``adapter_config.json``, as peft writes it."""

    peft_type: str
    bias: str
    init_lora_weights: bool | str
    lora_alpha: Required[float]
    alpha_pattern: dict[str, float] | None
    use_rslora: bool


def read_adapter_config(folder: Path) -> AdapterConfig:
    """Return the configuration of a plain LoRA adapter.

    Raises:
        ConfigError: The folder does not hold an adapter, or one that is more than plain LoRA or something else.
    """
    if not (folder / "adapter_config.json").is_file() or not (folder / "adapter_model.safetensors").is_file():
        raise ConfigError(f"{folder} is not a LoRA adapter: it needs adapter_config.json and adapter_model.safetensors")
    config: AdapterConfig = read_json(folder / "adapter_config.json")
    unsupported = [name for name in UNSUPPORTED if config.get(name)]
    if config.get("peft_type") != "LORA" or unsupported or config.get("bias", "none") != "none":
        uses = ", ".join(unsupported) or config.get("peft_type")
        raise ConfigError(f"adapter {folder} uses {uses}; only plain LoRA can be merged")
    if (initialised := config.get("init_lora_weights")) not in BASE_UNCHANGED:
        raise ConfigError(
            f"adapter {folder} was initialised by {initialised}, which changes its base's weights; convert it to plain "
            "LoRA with path_initial_model_for_weight_conversion of peft's save_pretrained"
        )
    if not isinstance(config.get("lora_alpha"), int | float):
        raise ConfigError(f"adapter {folder}: adapter_config.json has no lora_alpha; save it again with peft")
    return config


def scaling_of(config: AdapterConfig, module: str) -> Callable[[int], float]:
    """Return the factor on B A as a function of the rank: alpha / r, or alpha / sqrt(r) in rsLoRA.

    A module may have its own alpha.
    """
    from peft.utils.other import get_pattern_key

    patterns = config.get("alpha_pattern") or {}
    alpha: float = patterns.get(get_pattern_key(list(patterns), module), config["lora_alpha"])
    return lambda rank: alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
