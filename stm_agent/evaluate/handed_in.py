"""Results that can be handed in: mteb's own cache of results of one model, and its ``ModelMeta`` as Python text.

In the loop mteb's cache of results is never used, since it can return another model's score. Here it is the product: a
folder with the results of the final model alone, under the content hash of its weights as revision.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stm_agent.evaluate.cache import EmbeddingCache
from stm_agent.evaluate.cached import CachedEncoder
from stm_agent.evaluate.encoder import Encoder
from stm_agent.evaluate.tasks import evaluate_with_mteb
from stm_agent.files import write_atomic

if TYPE_CHECKING:
    from mteb.abstasks import AbsTaskRetrieval

META = "model_meta.py"


@dataclass(frozen=True, kw_only=True)
class HandedIn:
    """The model whose results are handed in.

    Attributes:
        name: ``organisation/model``; the results lie under it.
        revision: Content hash of the exported folder.
        adapted_from: Id of the start on the Hub; None: it is not from there.
        parameters: Number of parameters.
        dimension: Length of a vector.
        max_tokens: Longest text.
        instructed: Whether queries or passages have a prefix.
        languages: Codes of the corpus's languages, such as ``eng-Latn``; empty: not known.
    """

    name: str
    revision: str
    adapted_from: str | None
    parameters: int
    dimension: int
    max_tokens: int
    instructed: bool
    languages: tuple[str, ...] = ()

    def meta_fields(self) -> dict[str, object]:
        """Return the fields of ``ModelMeta``; what only its owner knows, such as a licence, is None."""
        return {
            "name": self.name,
            "revision": self.revision,
            "release_date": None,
            "languages": list(self.languages) or None,
            "n_parameters": self.parameters,
            "memory_usage_mb": round(self.parameters * 4 / 2**20, 1),
            "max_tokens": self.max_tokens,
            "embed_dim": self.dimension,
            "license": None,
            "open_weights": True,
            "public_training_code": None,
            "public_training_data": None,
            "framework": ["Sentence Transformers", "PyTorch"],
            "similarity_fn_name": "cosine",
            "use_instructions": self.instructed,
            "training_datasets": None,
            "adapted_from": self.adapted_from,
        }


def hand_in(
    model: HandedIn,
    encoder: Encoder,
    cache: EmbeddingCache,
    task: AbsTaskRetrieval,
    prefixes: tuple[str, str],
    target: Path,
) -> dict[str, float]:
    """Score a model by ``mteb.evaluate`` into a ``mteb.ResultCache``, and write ``model_meta.py`` beside it.

    Args:
        model: The model.
        encoder: The same, open.
        cache: Stored vectors, so that no text is encoded twice.
        task: The task; see :func:`stm_agent.evaluate.tasks.mteb_task`.
        prefixes: In front of a query, and of a passage.
        target: Folder of the cache.

    Returns:
        nDCG@10, Recall@100 and MRR@10.
    """
    from mteb.models import ModelMeta

    query, passage = prefixes
    cached = CachedEncoder(encoder, cache, query_prefix=query, passage_prefix=passage)
    cached.mteb_model_meta = ModelMeta.model_validate({"loader": None, **model.meta_fields()})
    scores = evaluate_with_mteb(cached, task, results=target)
    write_atomic(target / META, meta_text(model))
    return scores


def meta_text(model: HandedIn) -> str:
    """Return the model's ``ModelMeta`` as the Python text that mteb's repository asks for."""
    fields = "".join(f"    {name}={value!r},\n" for name, value in model.meta_fields().items())
    name = "".join(letter if letter.isalnum() else "_" for letter in model.name.rpartition("/")[2])
    return (
        "from mteb.models import ModelMeta, sentence_transformers_loader\n\n"
        f"model_{name} = ModelMeta(\n    loader=sentence_transformers_loader,\n{fields})\n"
    )
