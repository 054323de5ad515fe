"""Full models as deltas: safetensors folders read, merged and written one weight at a time."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from stm_agent.errors import ConfigError, DataError
from stm_agent.files import read_json
from stm_agent.merge.delta import CAUSAL, Delta, finite, whole
from stm_agent.merge.rewrite import rewrite

if TYPE_CHECKING:
    from torch import Tensor

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
NOT_OF_THE_MODEL = ("README.md", "recipe.json", "mergekit.yaml", "adapter/*", "onnx/*", "openvino/*", "*.bin", ".git/*")
"""Files of a base's folder that would tell of other weights than the merged ones."""


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
            DataError: A file is broken, or one of several is missing.
        """
        from safetensors import safe_open

        if (self.place / INDEX).is_file():
            found = {name: self.place / file for name, file in read_json(self.place / INDEX)["weight_map"].items()}
            if lost := sorted(path.name for path in set(found.values()) if not path.is_file()):
                raise DataError(f"{self.place} lacks {lost[0]}, which its {INDEX} names; download it again")
            return found
        if not (self.place / SINGLE).is_file():
            raise ConfigError(f"{self.folder} has no {SINGLE}; give a model folder saved as safetensors")
        with whole(self.place / SINGLE) as path, safe_open(path, framework="pt") as stored:
            return dict.fromkeys(stored.keys(), self.place / SINGLE)

    @cached_property
    def names(self) -> Mapping[str, str]:
        """Name in the files of each weight, by its name in the bare network."""
        return {name.removeprefix(CAUSAL): name for name in self.files}

    def tensor(self, name: str, rows: slice | None = None) -> Tensor:
        """Read one weight by its name in the bare network, or some of its rows."""
        from safetensors import safe_open

        stored = self.names[name]
        with whole(self.files[stored]) as path, safe_open(path, framework="pt") as file:
            weight: Tensor = (
                file.get_tensor(stored) if rows is None or not self.shapes[name] else file.get_slice(stored)[rows]
            )
        return weight

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of every weight, from the files' headers."""
        from safetensors import safe_open

        found: dict[str, tuple[int, ...]] = {}
        for path in sorted(set(self.files.values())):
            with whole(path), safe_open(path, framework="pt") as file:
                for stored in file.keys():  # noqa: SIM118 - no dict
                    found[stored.removeprefix(CAUSAL)] = tuple(file.get_slice(stored).get_shape())
        return found


@dataclass(frozen=True)
class WeightDelta(Delta):
    """A full model as what it adds to its base.

    Attributes:
        expert: Its weights.
        base: The base's.
    """

    expert: Weights
    base: Weights
    splits: ClassVar[bool] = True

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Name and shape of every weight."""
        return self.expert.shapes

    def matrix(self, name: str) -> Tensor:
        """Return expert minus base, float32.

        Raises:
            DataError: A weight is not finite.
        """
        return self._of(name, self.expert.tensor(name), self.base.tensor(name))

    def rows(self, name: str, first: int, count: int) -> Tensor:
        """Return rows of expert minus base, float32, of which no more is read.

        Raises:
            DataError: A weight is not finite.
        """
        part = slice(first, first + count)
        return self._of(name, self.expert.tensor(name, part), self.base.tensor(name, part))

    def _of(self, name: str, expert: Tensor, base: Tensor) -> Tensor:
        base = base.float()
        delta = expert.float() - base
        if not finite(delta):
            place = self.expert.folder if finite(base) else self.base.folder
            raise DataError(f"{place}: {name} holds NaN or infinite weights; train or download it again")
        return delta


def write_merged(base: Weights, delta: Delta, folder: Path) -> None:
    """Write ``base`` plus a delta as a model folder, weight by weight into files named and split as the base's are.

    Args:
        base: Where configuration, tokenizer and unchanged weights come from; its other files that belong to the
            model are copied.
        delta: What the merge adds.
        folder: An empty folder.

    Raises:
        ConfigError: The delta changes a weight that the base lacks, or has in another shape.
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


def _write_file(source: Path, base: Weights, delta: Delta, target: Path) -> None:
    """Write one weights file: its changed weights anew, all else as it is."""
    changed = delta.shapes
    known = {stored: name for name, stored in base.names.items() if base.files[stored] == source and name in changed}

    kinds = {stored: base.tensor(name) for stored, name in known.items()}

    def change(stored: str, raw: Tensor, first: int) -> None:
        kind = kinds[stored]
        delta.add_to(raw.view(kind.dtype).view(-1, *kind.shape[1:]), known[stored], first)

    rewrite(source, target, known.keys(), change, whole=not delta.splits)
