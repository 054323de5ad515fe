"""Full models as deltas: safetensors folders read, merged and written one weight at a time."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from stm_agent.errors import ConfigError, DataError
from stm_agent.files import read_json, write_json
from stm_agent.merge.delta import Delta

if TYPE_CHECKING:
    from torch import Tensor

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
SHARD = 1 << 30
"""Bytes of a written file, at most; with one matrix of each expert the memory of a merge."""
CAUSAL = "model."
"""Prefix of the decoder's weights in a checkpoint that has a language-model head."""


@dataclass(frozen=True)
class Weights:
    """The weights of a model folder, read from disk when they are asked for.

    Attributes:
        folder: A transformers or sentence-transformers folder with safetensors.
    """

    folder: Path

    @cached_property
    def place(self) -> Path:
        """Folder of the network itself: in some sentence-transformers folders that is a subfolder."""
        modules = self.folder / "modules.json"
        inside = read_json(modules)[0]["path"] if modules.is_file() else ""
        return self.folder / inside

    @cached_property
    def files(self) -> Mapping[str, Path]:
        """File of each weight, by its name in the files.

        Raises:
            ConfigError: The folder has no safetensors.
        """
        from safetensors import safe_open

        if (self.place / INDEX).is_file():
            return {name: self.place / file for name, file in read_json(self.place / INDEX)["weight_map"].items()}
        if not (self.place / SINGLE).is_file():
            raise ConfigError(f"{self.folder} has no {SINGLE}; give a model folder saved as safetensors")
        with safe_open(self.place / SINGLE, framework="pt") as stored:
            return dict.fromkeys(stored.keys(), self.place / SINGLE)

    @cached_property
    def names(self) -> Mapping[str, str]:
        """Name in the files of each weight, by its name in the bare network."""
        return {name.removeprefix(CAUSAL): name for name in self.files}

    def tensor(self, name: str) -> Tensor:
        """Read one weight by its name in the bare network."""
        from safetensors import safe_open

        stored = self.names[name]
        with safe_open(self.files[stored], framework="pt") as file:
            weight: Tensor = file.get_tensor(stored)
        return weight

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of every weight, from the files' headers."""
        from safetensors import safe_open

        found: dict[str, tuple[int, ...]] = {}
        for path in sorted(set(self.files.values())):
            with safe_open(path, framework="pt") as file:
                for stored in file.keys():  # noqa: SIM118 - no dict
                    found[stored.removeprefix(CAUSAL)] = tuple(file.get_slice(stored).get_shape())
        return found


@dataclass(frozen=True)
class WeightDelta:
    """A full model as what it adds to its base.

    Attributes:
        expert: Its weights.
        base: The base's.
    """

    expert: Weights
    base: Weights

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Name and shape of every weight."""
        return self.expert.shapes

    def matrix(self, name: str) -> Tensor:
        """Return expert minus base, float32.

        Raises:
            DataError: A weight is not finite.
        """
        delta = self.expert.tensor(name).float() - self.base.tensor(name).float()
        if not bool(delta.isfinite().all()):
            raise DataError(f"{self.expert.folder}: {name} holds NaN or infinite weights; train it again")
        return delta


def write_merged(base: Weights, delta: Delta, folder: Path) -> None:
    """Write ``base`` plus a delta as a model folder; all other files are copied from the base.

    Args:
        base: Where configuration, tokenizer and unchanged weights come from.
        delta: What the merge adds.
        folder: An empty folder.

    Raises:
        ConfigError: The delta changes a weight that the base lacks.
    """
    lacking = sorted(delta.shapes.keys() - base.names.keys())
    if lacking:
        raise ConfigError(f"the experts change {lacking[0]}, which {base.folder} lacks; name the base of the experts")
    _copy_rest(base, folder)
    inside = folder / base.place.relative_to(base.folder)
    shards: list[dict[str, Tensor]] = [{}]
    names: list[list[str]] = []
    for name, weight in _merged(base, delta):
        if shards[-1] and _bytes(shards[-1]) + weight.nbytes > SHARD:
            names.append(_write_shard(inside, len(names), shards[-1]))
            shards[-1] = {}
        shards[-1][base.names[name]] = weight
    names.append(_write_shard(inside, len(names), shards[-1]))
    _write_index(inside, names)


def _merged(base: Weights, delta: Delta) -> Iterator[tuple[str, Tensor]]:
    changed = delta.shapes
    for name in base.names:
        weight = base.tensor(name)
        yield name, (weight.float() + delta.matrix(name)).to(weight.dtype) if name in changed else weight


def _bytes(shard: Mapping[str, Tensor]) -> int:
    return sum(weight.nbytes for weight in shard.values())


def _copy_rest(base: Weights, folder: Path) -> None:
    weights = set(base.files.values()) | {base.place / INDEX}
    for path in sorted(base.folder.rglob("*")):
        if path.is_file() and path not in weights:
            target = folder / path.relative_to(base.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def _write_shard(folder: Path, number: int, shard: Mapping[str, Tensor]) -> list[str]:
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file(dict(shard), folder / f"shard-{number}.safetensors", metadata={"format": "pt"})
    return list(shard)


def _write_index(folder: Path, names: list[list[str]]) -> None:
    """Give the shards the names transformers looks for."""
    if len(names) == 1:
        (folder / "shard-0.safetensors").rename(folder / SINGLE)
        return
    files: dict[str, str] = {}
    for number, own in enumerate(names):
        file = f"model-{number + 1:05d}-of-{len(names):05d}.safetensors"
        (folder / f"shard-{number}.safetensors").rename(folder / file)
        files |= dict.fromkeys(own, file)
    size = sum((folder / file).stat().st_size for file in set(files.values()))
    write_json(folder / INDEX, {"metadata": {"total_size": size}, "weight_map": files})
