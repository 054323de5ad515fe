"""A ready-made encoder as teacher: its vectors of the training texts, and a map from the student's space into its own.

A contrastive step only shows which of a few dozen passages belongs to a query. A teacher gives every text a position in
a whole space, so the same number of steps teaches more (EmbedDistill, Kim et al. 2023, arXiv 2301.12005). The map is
part of the loss alone: the student keeps its own space and dimension, and the trained model needs no teacher.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stm_agent.train.data import Rows

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

FITTED = 2000
"""Largest number of texts that the first map is fitted on."""
RIDGE = 1e-3
"""Ridge penalty on the map, relative to the mean over texts and inputs."""


Teacher = Callable[[Sequence[str]], NDArray[np.float32]]
"""Makes ``[texts, dimension]`` float32 vectors of plain texts."""


@dataclass(frozen=True)
class Lesson:
    """The teacher's vectors of every cell that a plan of batches uses.

    Attributes:
        texts: Each distinct text once, as the student reads it, prefix included.
        vectors: What the teacher makes of it without the prefix, ``[texts, teacher dimension]`` float32.
        cells: Number of the text in each cell, ``[rows, columns]`` int64; -1 in rows that no batch uses.
    """

    texts: list[str]
    vectors: Tensor
    cells: Tensor

    def targets(self, rows: Tensor) -> list[Tensor]:
        """Return the teacher's vectors of some rows, one ``[rows, teacher dimension]`` for each column."""
        return [self.vectors[column] for column in self.cells[rows.cpu()].T]

    def scores(self, rows: Tensor) -> Tensor:
        """Return the teacher's cosines of each row's query (first column) with its passages, ``[rows, passages]``."""
        query, *passages = (nn.functional.normalize(vectors, dim=1) for vectors in self.targets(rows))
        return torch.stack([(query * passage).sum(dim=1) for passage in passages], dim=1)


def prepare_lesson(
    rows: Rows,
    batches: Iterable[Sequence[int]],
    teacher: Teacher,
    *,
    query_prefixes: Sequence[str],
    passage_prefix: str,
) -> Lesson:
    """Let the teacher encode every distinct text of the planned batches, without its prefix.

    Args:
        rows: All rows.
        batches: Row numbers of the planned batches.
        teacher: Computes the vectors.
        query_prefixes: Texts that can stand in front of a query.
        passage_prefix: Text in front of a passage.
    """
    # The longest first, since one prefix may be the beginning of another.
    longest_first = sorted(query_prefixes, key=len, reverse=True)
    used = sorted({row for batch in batches for row in batch})
    numbers: dict[str, int] = {}
    plain: list[str] = []
    cells = torch.full((max(map(len, rows.columns.values())), len(rows.columns)), -1)
    for column_number, (name, column) in enumerate(rows.columns.items()):
        prefixes = longest_first if name in ("query", "alias") else [passage_prefix]
        for row in used:
            text = column[row]
            if text not in numbers:
                numbers[text] = len(plain)
                plain.append(text.removeprefix(next((prefix for prefix in prefixes if text.startswith(prefix)), "")))
            cells[row, column_number] = numbers[text]
    return Lesson(list(numbers), torch.from_numpy(teacher(plain)), cells)


MAP = "teacher_map.safetensors"
"""Name of the trained map in an expert's folder; an expert that continues from that one begins with it."""


def first_map(model: SentenceTransformer, lesson: Lesson, start: Path | None, seed: int) -> nn.Linear:
    """Return the map that the expert at ``start`` ended with; without one, a fitted map."""
    from safetensors.torch import load_file

    path = start.parent / MAP if start else None
    if path is None or not path.is_file():
        return fit_map(model, lesson, seed)
    state = load_file(path)
    outputs, inputs = state["weight"].shape
    layer = nn.Linear(inputs, outputs)
    layer.load_state_dict(state)
    return layer.to(model.device)


def save_map(mapping: nn.Linear, folder: Path) -> None:
    """Write the trained map beside the adapter, for experts that continue from it."""
    from safetensors.torch import save_file

    save_file({name: tensor.detach().cpu() for name, tensor in mapping.state_dict().items()}, folder / MAP)


def fit_map(model: SentenceTransformer, lesson: Lesson, seed: int) -> nn.Linear:
    """Return the ridge regression from the student's vectors to the teacher's, as a layer to be trained further.

    With a random map, the first hundred steps would mostly train the map.
    """
    order = np.random.default_rng(seed).permutation(len(lesson.texts))[:FITTED]
    student = model.encode([lesson.texts[number] for number in order], convert_to_tensor=True, show_progress_bar=False)
    inputs = torch.cat([student.float().cpu(), torch.ones(len(order), 1)], dim=1).double()
    gram = inputs.T @ inputs + RIDGE * len(order) / inputs.shape[1] * torch.eye(inputs.shape[1]).double()
    solved = torch.linalg.solve(gram, inputs.T @ lesson.vectors[torch.from_numpy(order)].double()).float()
    layer = nn.Linear(student.shape[1], lesson.vectors.shape[1])
    with torch.no_grad():
        layer.weight.copy_(solved[:-1].T)
        layer.bias.copy_(solved[-1])
    return layer.to(model.device)
