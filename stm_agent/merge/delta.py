"""LoRA adapters as weight deltas, and their exact linear combination.

An adapter changes a weight by ``B @ A * alpha / r``. A weighted sum of such deltas is again a low-rank
product: stack the ``A`` and the ``w_i * B_i``. No full weight is formed, ranks and alphas may differ,
and the result is the sum itself, where averaging A and B apart would not be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stm_agent.errors import ConfigError, DataError
from stm_agent.files import read_json, write_json

if TYPE_CHECKING:
    from torch import Tensor, nn

PREFIX = "base_model.model."
UNSUPPORTED = ("use_dora", "use_rslora", "modules_to_save", "rank_pattern", "alpha_pattern")


@dataclass(frozen=True)
class LoraDelta:
    """What an adapter adds to its base.

    Attributes:
        modules: Module name -> (A ``[r, in]``, B ``[out, r]``) float32, the scale folded into B. For a token
            embedding ``in`` is the vocabulary and the delta of its weight is the transpose, ``(B A)^T``.
        embeddings: Names of the modules that are token embeddings.
    """

    modules: Mapping[str, tuple[Tensor, Tensor]]
    embeddings: frozenset[str] = frozenset()

    @property
    def rank(self) -> int:
        """Largest rank of a module."""
        return max(a.shape[0] for a, _ in self.modules.values())


def load_delta(folder: Path) -> LoraDelta:
    """Read a peft adapter folder.

    Raises:
        ConfigError: It is no LoRA adapter, or of a kind that is not linear in its weights.
        DataError: Its weights are incomplete or not finite.
    """
    from safetensors.torch import load_file

    if not (folder / "adapter_config.json").is_file() or not (folder / "adapter_model.safetensors").is_file():
        raise ConfigError(f"{folder} is no LoRA adapter: it needs adapter_config.json and adapter_model.safetensors")
    config = read_json(folder / "adapter_config.json")
    odd = [name for name in UNSUPPORTED if config.get(name)]
    if config.get("peft_type") != "LORA" or odd or config.get("bias", "none") != "none":
        raise ConfigError(
            f"adapter {folder} uses {', '.join(odd) or config.get('peft_type')}; only plain LoRA can be merged"
        )
    scale = config["lora_alpha"] / config["r"]
    halves: dict[str, dict[str, Tensor]] = {}
    embeddings = set()
    for name, tensor in load_file(folder / "adapter_model.safetensors").items():
        module, _, half = name.removeprefix(PREFIX).partition(".lora_")
        halves.setdefault(module, {})[half.removeprefix("embedding_")[:1]] = tensor.float()
        if half.startswith("embedding_"):
            embeddings.add(module)
    pairs = {module: _pair(folder, module, pair, scale) for module, pair in sorted(halves.items())}
    return LoraDelta(pairs, frozenset(embeddings))


def _pair(folder: Path, module: str, halves: Mapping[str, Tensor], scale: float) -> tuple[Tensor, Tensor]:
    if set(halves) != {"A", "B"}:
        raise DataError(f"adapter {folder}: module {module} lacks one of lora_A and lora_B; train or save it again")
    a, b = halves["A"], halves["B"]
    if not (a.isfinite().all() and b.isfinite().all()):
        raise DataError(f"adapter {folder}: module {module} holds NaN or infinite weights; train it again")
    return a, b * scale


def save_delta(delta: LoraDelta, folder: Path, *, base: str) -> None:
    """Write a delta as a peft adapter whose alpha is its rank.

    Args:
        delta: The delta; modules of a smaller rank are filled up with zeros.
        folder: Where to write; made if it is not there.
        base: Name or path of the base model, for peft's config.
    """
    import torch
    from peft import LoraConfig
    from safetensors.torch import save_file

    rank, tensors = delta.rank, {}
    for module, (a, b) in delta.modules.items():
        pad = rank - a.shape[0]
        full = torch.nn.functional.pad(a, (0, 0, 0, pad)), torch.nn.functional.pad(b, (0, pad))
        kind = "embedding_" if module in delta.embeddings else ""
        for half, tensor in zip("AB", full, strict=True):
            suffix = "" if kind else ".weight"
            tensors[f"{PREFIX}{module}.lora_{kind}{half}{suffix}"] = tensor.contiguous()
    config = LoraConfig(
        r=rank,
        lora_alpha=rank,
        target_modules=sorted(delta.modules),
        base_model_name_or_path=base,
        inference_mode=True,
    )
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    plain = {name: sorted(value) if isinstance(value, set) else value for name, value in config.to_dict().items()}
    write_json(folder / "adapter_config.json", plain)


def combine(deltas: Sequence[LoraDelta], weights: Sequence[float]) -> LoraDelta:
    """Return the exact weighted sum of deltas by stacking.

    Raises:
        ConfigError: The numbers of deltas and weights differ, all weights are 0, or the adapters belong to other bases.
    """
    import torch

    if len(deltas) != len(weights):
        raise ConfigError(f"{len(deltas)} adapters and {len(weights)} weights; give one weight for each adapter")
    parts = [(delta, weight) for delta, weight in zip(deltas, weights, strict=True) if weight]
    if not parts:
        raise ConfigError("all merge weights are 0, that is the base model; give at least one other weight")
    first = deltas[0].modules
    for number, delta in enumerate(deltas[1:], 2):
        _same_base(first, delta.modules, number)
    return LoraDelta(
        {
            module: (
                torch.cat([delta.modules[module][0] for delta, _ in parts]),
                torch.cat([delta.modules[module][1] * weight for delta, weight in parts], dim=1),
            )
            for module in first
        },
        deltas[0].embeddings,
    )


def _same_base(first: Mapping[str, tuple[Any, Any]], other: Mapping[str, tuple[Any, Any]], number: int) -> None:
    odd = sorted(first.keys() ^ other.keys())
    if odd:
        raise ConfigError(
            f"adapter {number} and adapter 1 adapt other modules (for one {odd[0]}); retrain with the same targets"
        )
    for module, (a, b) in first.items():
        theirs = other[module]
        if a.shape[1] != theirs[0].shape[1] or b.shape[0] != theirs[1].shape[0]:
            raise ConfigError(f"adapter {number} is of another base model than adapter 1: {module} has another shape")


def fold(network: nn.Module, delta: LoraDelta) -> None:
    """Add a delta to a network's weights, in place.

    Raises:
        ConfigError: A module of the delta is not in the network, or has another shape.
    """
    import torch

    modules = dict(network.named_modules())
    for name, (a, b) in delta.modules.items():
        if name not in modules:
            raise ConfigError(f"the adapter adapts {name}, which the base model lacks; use the base it was trained on")
        weight = modules[name].weight
        product = b @ a
        change = product.T if isinstance(modules[name], torch.nn.Embedding) else product
        if change.shape != weight.shape:
            raise ConfigError(
                f"the adapter's {name} is {tuple(change.shape)}, the base's {tuple(weight.shape)}; use its own base"
            )
        with torch.no_grad():
            weight += change.to(weight.device, weight.dtype)
