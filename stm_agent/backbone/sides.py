"""Models whose queries are encoded by other weights than their passages, as modules of sentence-transformers.

The folder is a plain one: a ``Router`` with a ``query`` and a ``document`` route. ``encode_query`` takes the first,
``encode_document`` and ``encode`` the second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from stm_agent.backbone.encoder import TextEncoder

QUERY, DOCUMENT = "query", "document"
"""Routes, as sentence-transformers names them."""


def join_sides(documents: SentenceTransformer, queries: SentenceTransformer) -> SentenceTransformer:
    """Return one model of two; neither has a packed forward, and both have the same dimension."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Router

    # One module in both routes would be saved once and read as two.
    parts: dict[str, list[Any]] = {QUERY: [*queries.children()], DOCUMENT: [*documents.children()]}
    router = Router(parts, default_route=DOCUMENT)
    joined = SentenceTransformer(modules=[router], device=str(documents.device))
    joined.similarity_fn_name = "cosine"
    return joined.eval()


def split_sides(model: SentenceTransformer) -> tuple[SentenceTransformer, SentenceTransformer] | None:
    """Return the models of passages and of queries that :func:`join_sides` joined; None if the model has one side."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Router

    first = model[0]
    if not isinstance(first, Router) or set(first.sub_modules) != {QUERY, DOCUMENT}:
        return None
    sides = []
    for route in (DOCUMENT, QUERY):
        modules: list[Any] = [*first.sub_modules[route].children()]
        side = SentenceTransformer(modules=modules, device=str(model.device))
        side.prompts, side.similarity_fn_name = dict(model.prompts), model.similarity_fn_name
        sides.append(side.eval())
    return sides[0], sides[1]


def encoder_of(model: SentenceTransformer) -> TextEncoder:
    """Return a loaded model as an encoder; of a model with two sides, one that encodes queries apart."""
    from stm_agent.backbone.encoder import TextEncoder, TwoSidedEncoder

    sides = split_sides(model)
    if sides is None:
        return TextEncoder(model)
    return TwoSidedEncoder(*(TextEncoder(side) for side in sides))
