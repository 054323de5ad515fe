"""LoRA adapters as deltas: read, written, folded into a network and combined exactly.

An adapter changes a weight by ``B @ A * alpha / r``. A weighted sum of such deltas is again a low-rank product: stack
the ``A`` and the ``w_i * B_i``. No full weight is formed, and ranks and alphas may differ. Averaging A and B separately
would give another result than the sum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stm_agent.errors import ConfigError, DataError
from stm_agent.files import write_json
from stm_agent.merge.adapter_config import read_adapter_config, scaling_of
from stm_agent.merge.interface import Delta, check_same_base, is_finite, readable
from stm_agent.merge.names import bare_name

if TYPE_CHECKING:
    from torch import Tensor, nn

PREFIX = "base_model.model."


@dataclass(frozen=True)
class LoraDelta(Delta):
    """What an adapter adds to its base.

    Attributes:
        modules: Module name -> (A ``[r, in]``, B ``[out, r]``) float32, with the scale in B. For a token embedding
            ``in`` is the vocabulary, and the delta of its weight is the transpose, ``(B A)^T``.
        embeddings: Names of the modules that are token embeddings.
    """

    modules: Mapping[str, tuple[Tensor, Tensor]]
    embeddings: frozenset[str] = frozenset()

    @property
    def splits(self) -> bool:
        """Rows of ``B A`` need only the same rows of ``B``."""
        return True

    @property
    def rank(self) -> int:
        """Largest rank of a module."""
        return max(a.shape[0] for a, _ in self.modules.values())

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Name and shape of each changed weight."""
        return {f"{module}.weight": self._shape(module) for module in self.modules}

    def _shape(self, module: str) -> tuple[int, ...]:
        a, b = self.modules[module]
        shape = (b.shape[0], a.shape[1])
        return shape[::-1] if module in self.embeddings else shape

    def matrix(self, name: str) -> Tensor:
        """Return ``B A``, or its transpose for a token embedding."""
        module = name.removesuffix(".weight")
        a, b = self.modules[module]
        product = b @ a
        return product.T if module in self.embeddings else product

    def add_to(self, weight: Tensor, name: str, first: int = 0) -> None:
        """Add ``B A``, or its rows from ``first``, in place; for float32 weights no copy of their size is made."""
        import torch

        module = name.removesuffix(".weight")
        a, b = (half.to(weight.device) for half in self.modules[module])
        left, right = (a.T, b.T) if module in self.embeddings else (b, a)
        rows = left[first : first + len(weight)]
        if weight.dtype == torch.float32:
            weight.addmm_(rows, right)
        else:
            weight.add_((rows @ right).to(weight.dtype))


def load_delta(folder: Path) -> LoraDelta:
    """Read a peft adapter folder.

    Raises:
        ConfigError: The folder holds no LoRA adapter, or one that is not linear in its weights.
        DataError: Its file is broken, or its weights are incomplete or not finite.
    """
    from safetensors.torch import load_file

    config = read_adapter_config(folder)
    with readable(folder / "adapter_model.safetensors") as path:
        tensors = load_file(path)
    halves: dict[str, dict[str, Tensor]] = {}
    embeddings = set()
    for name, tensor in tensors.items():
        if name.endswith(".base_layer.weight"):
            # peft saves an adapted token embedding with its base, which the adapter does not change.
            continue
        module, lora, half = name.removeprefix(PREFIX).partition(".lora_")
        if not lora:
            raise ConfigError(
                f"adapter {folder} holds the whole weight {name}; save it with save_embedding_layers=False"
            )
        halves.setdefault(module, {})[half.removeprefix("embedding_")[:1]] = tensor.float()
        if half.startswith("embedding_"):
            embeddings.add(module)
    pairs = {module: _pair(folder, module, pair, scaling_of(config, module)) for module, pair in sorted(halves.items())}
    # The base is the bare network, whatever head the adapter was trained with.
    bare = {bare_name(module): pair for module, pair in pairs.items()}
    return LoraDelta(bare, frozenset(map(bare_name, embeddings)))


def _pair(
    folder: Path, module: str, halves: Mapping[str, Tensor], scaling: Callable[[int], float]
) -> tuple[Tensor, Tensor]:
    if set(halves) != {"A", "B"}:
        raise DataError(f"adapter {folder}: module {module} lacks one of lora_A and lora_B; train or save it again")
    a, b = halves["A"], halves["B"]
    if not (is_finite(a) and is_finite(b)):
        raise DataError(f"adapter {folder}: module {module} holds NaN or infinite weights; train it again")
    return a, b * scaling(a.shape[0])


def save_delta(delta: LoraDelta, folder: Path, *, base: str) -> None:
    """Write a delta as a peft adapter whose alpha is its rank.

    Args:
        delta: The delta; modules of a smaller rank are padded with zeros.
        folder: Where to write; created if it does not exist.
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


def combine(deltas: Sequence[LoraDelta], weights: Sequence[float] | Callable[[str], Sequence[float]]) -> LoraDelta:
    """Return the exact weighted sum of deltas by stacking.

    Args:
        deltas: Adapters of one base, of any ranks.
        weights: One for each adapter, or a function from the name of a weight to them.

    Raises:
        ConfigError: The numbers of deltas and weights differ, all weights are 0, or the adapters have different bases.
    """
    check_same_base(deltas)
    weights_of = weights if callable(weights) else lambda _name: weights
    stacked = {module: _stack(deltas, module, weights_of(f"{module}.weight")) for module in deltas[0].modules}
    return LoraDelta(stacked, deltas[0].embeddings)


def _stack(deltas: Sequence[LoraDelta], module: str, weights: Sequence[float]) -> tuple[Tensor, Tensor]:
    import torch

    if len(deltas) != len(weights):
        raise ConfigError(f"{len(deltas)} adapters and {len(weights)} weights; give one weight for each adapter")
    parts = [(*delta.modules[module], weight) for delta, weight in zip(deltas, weights, strict=True) if weight]
    if not parts:
        raise ConfigError("all merge weights are 0, that is the base model; give at least one other value")
    return torch.cat([a for a, _, _ in parts]), torch.cat([b * weight for _, b, weight in parts], dim=1)


def fold(network: nn.Module, delta: Delta) -> None:
    """Add a delta to a network's weights, in place, one matrix at a time.

    Raises:
        ConfigError: A weight of the delta is not in the network, or has another shape.
    """
    import torch

    weights = dict(network.named_parameters())
    for name, shape in delta.shapes.items():
        if name not in weights:
            raise ConfigError(f"the adapter adapts {name}, which the base model lacks; use the base it was trained on")
        weight = weights[name]
        if shape != weight.shape:
            raise ConfigError(f"the adapter's {name} is {shape}, the base's {tuple(weight.shape)}; use its own base")
        with torch.no_grad():
            delta.add_to(weight, name)
