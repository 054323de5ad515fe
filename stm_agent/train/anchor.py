"""The backbone's own vectors as an anchor: training may move away from them only as far as it pays.

The distance is that of EmbedDistill (Kim et al. 2023, arXiv 2301.12005) without a map, with the untrained model as the
teacher. It keeps what a good encoder knows beyond the training pairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stm_agent.train.data import Rows
from stm_agent.train.request import TrainingRequest
from stm_agent.train.teacher import Lesson, prepare_lesson

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def prepare_anchor(
    model: SentenceTransformer, rows: Rows, plan: Iterable[Sequence[int]], request: TrainingRequest
) -> Lesson:
    """Return the backbone's vectors of every text of the planned batches, prefixes included.

    Args:
        model: The model in training, before its first step. A new adapter changes nothing yet, so it is the backbone.
        rows: All rows.
        plan: The batches that will be used.
        request: Backbone, and the adapter that training continues from, if any.
    """
    from stm_agent.backbone.load import load_backbone

    origin = model if request.start is None else load_backbone(request.backbone)

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = origin.encode(list(texts), prompt="", normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(vectors, dtype=np.float32)

    # The texts keep their prefixes, with which the backbone is used too.
    return prepare_lesson(rows, plan, encode, query_prefixes=(), passage_prefix="")
