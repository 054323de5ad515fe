"""Full models as deltas: safetensors folders read, merged and written one weight at a time."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from stm_agent.errors import ConfigError, DataError
from stm_agent.files import read_json
from stm_agent.merge.interface import Delta, is_finite, readable
from stm_agent.merge.names import bare_name, is_buffer, unshared_heads
from stm_agent.merge.rewrite import rewrite

if TYPE_CHECKING:
    from torch import Tensor

HEAD_WEIGHT = "lm_head.weight"
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
NOT_OF_THE_MODEL = ("README.md", "recipe.json", "mergekit.yaml", "adapter/*", "onnx/*", "openvino/*", "*.bin", ".git/*")
"""Files of a base's folder that describe or hold the base's weights, not the merged ones."""


@dataclass(frozen=True)
class StateDictReader:
    """The weights of a model folder, read from disk one by one.

    Attributes:
        folder: A transformers or sentence-transformers folder with safetensors.
    """

    folder: Path

    @cached_property
    def network_folder(self) -> Path:
        """Folder of the network itself, which in some sentence-transformers folders is a subfolder."""
        modules = self.folder / "modules.json"
        inside = read_json(modules)[0]["path"] if modules.is_file() else ""
        return self.folder / inside

    @cached_property
    def files(self) -> Mapping[str, Path]:
        """File of each weight, by its name in the files.

        Raises:
            ConfigError: The folder has no safetensors.
            DataError: A file is broken, or one of several is missing.
        """
        from safetensors import safe_open

        if (self.network_folder / INDEX).is_file():
            weight_map = read_json(self.network_folder / INDEX)["weight_map"]
            files = {name: self.network_folder / file for name, file in weight_map.items()}
            if missing := sorted(path.name for path in set(files.values()) if not path.is_file()):
                raise DataError(f"{self.network_folder} lacks {missing[0]}, which its {INDEX} names; download it again")
            return files
        if not (self.network_folder / SINGLE).is_file():
            raise ConfigError(f"{self.folder} has no {SINGLE}; give a model folder saved as safetensors")
        with readable(self.network_folder / SINGLE) as path, safe_open(path, framework="pt") as stored:
            return dict.fromkeys(stored.keys(), self.network_folder / SINGLE)

    @cached_property
    def names(self) -> Mapping[str, str]:
        """Name in the files of each weight, by its name in the bare network."""
        return {bare_name(name): name for name in self.files}

    def tensor(self, name: str, rows: slice | None = None) -> Tensor:
        """Read one weight by its name in the bare network, or some of its rows."""
        from safetensors import safe_open

        stored = self.names[name]
        with readable(self.files[stored]) as path, safe_open(path, framework="pt") as file:
            weight: Tensor = (
                file.get_tensor(stored) if rows is None or not self.shapes[name] else file.get_slice(stored)[rows]
            )
        return weight

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of every weight, from the files' headers; buffers, which loading computes, are left out."""
        from safetensors import safe_open

        shapes: dict[str, tuple[int, ...]] = {}
        for path in sorted(set(self.files.values())):
            with readable(path), safe_open(path, framework="pt") as file:
                for stored in file.keys():  # noqa: SIM118 - no dict
                    name, shape = bare_name(stored), tuple(file.get_slice(stored).get_shape())
                    if not is_buffer(name, shape):
                        shapes[name] = shape
        return shapes

    @property
    def has_tied_head(self) -> bool:
        """Whether the stored head of a language model is a copy of its token embedding."""
        import torch

        if HEAD_WEIGHT not in self.shapes:
            return True
        alike = [name for name in self.shapes if "emb" in name and self.shapes[name] == self.shapes[HEAD_WEIGHT]]
        return any(torch.equal(self.tensor(name), self.tensor(HEAD_WEIGHT)) for name in alike)


def left_out(models: Sequence[StateDictReader]) -> frozenset[str]:
    """Return the heads' weights that some models lack; these stay as they are in the base, since no vector needs them.

    Raises:
        ConfigError: Of language models without sentence-transformers' modules, one has a head of its own and another
            ties its head to its embedding, so that merging would change what they generate.
    """
    names = unshared_heads([model.shapes for model in models])
    for model in models:
        if HEAD_WEIGHT in names and not (model.folder / "modules.json").is_file() and not model.has_tied_head:
            raise ConfigError(
                f"{model.folder} has a {HEAD_WEIGHT} of its own and others tie theirs to the embedding; "
                "save all of them with a head, or all without"
            )
    return names


@dataclass(frozen=True)
class WeightDelta(Delta):
    """A full model as a delta: its weights minus those of its base.

    Attributes:
        expert: Weights of the model.
        base: Weights of its base.
        without: Names of weights that are not merged.
    """

    expert: StateDictReader
    base: StateDictReader
    without: frozenset[str] = frozenset()

    @property
    def splits(self) -> bool:
        """Rows are read without the rest of a matrix."""
        return True

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Name and shape of every weight that is merged."""
        return {name: shape for name, shape in self.expert.shapes.items() if name not in self.without}

    def matrix(self, name: str) -> Tensor:
        """Return expert minus base, float32.

        Raises:
            DataError: A weight is not finite.
        """
        return self._of(name, self.expert.tensor(name), self.base.tensor(name))

    def rows(self, name: str, first: int, count: int) -> Tensor:
        """Return rows of expert minus base, float32; only these are read.

        Raises:
            DataError: A weight is not finite.
        """
        part = slice(first, first + count)
        return self._of(name, self.expert.tensor(name, part), self.base.tensor(name, part))

    def _of(self, name: str, expert: Tensor, base: Tensor) -> Tensor:
        base = base.float()
        delta = expert.float() - base
        if not is_finite(delta):
            folder = self.expert.folder if is_finite(base) else self.base.folder
            raise DataError(f"{folder}: {name} holds NaN or infinite weights; train or download it again")
        return delta


def write_merged(base: StateDictReader, delta: Delta, folder: Path) -> None:
    """Write ``base`` plus a delta as a model folder, weight by weight, into files named and split like the base's.

    Args:
        base: Source of configuration, tokenizer and unchanged weights; its other files that belong to the model are
            copied.
        delta: What the merge adds.
        folder: An empty folder.

    Raises:
        ConfigError: The delta changes a weight that the base lacks, or that has another shape there.
    """
    for name, shape in delta.shapes.items():
        if base.shapes.get(name) != shape:
            has = "lacks" if name not in base.shapes else f"has as {base.shapes[name]}"
            raise ConfigError(f"the experts change {name} {shape}, which {base.folder} {has}; name the experts' base")
    weights = set(base.files.values())
    for path in sorted(base.folder.rglob("*")):
        name = path.relative_to(base.folder).as_posix()
        if not path.is_file() or any(fnmatchcase(name, pattern) for pattern in NOT_OF_THE_MODEL):
            continue
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if path in weights:
            _write_file(path, base, delta, target)
        else:
            shutil.copyfile(path, target)


def _write_file(source: Path, base: StateDictReader, delta: Delta, target: Path) -> None:
    """Write one weights file: changed weights with the delta added, everything else copied."""
    changed = {
        stored: name for name, stored in base.names.items() if base.files[stored] == source and name in delta.shapes
    }
    tensors = {stored: base.tensor(name) for stored, name in changed.items()}

    def change(stored: str, raw: Tensor, first: int) -> None:
        like = tensors[stored]
        delta.add_to(raw.view(like.dtype).view(-1, *like.shape[1:]), changed[stored], first)

    rewrite(source, target, changed.keys(), change, whole=not delta.splits)
