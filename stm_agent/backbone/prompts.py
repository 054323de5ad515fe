"""The prompts a sentence-transformers checkpoint brings: the texts in front of its queries and its passages."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

logger = logging.getLogger(__name__)

Prompts = Mapping[str, str | None]
PASSAGE_NAMES = ("document", "passage", "corpus")
"""Names of the passages' prompt, in the order in which sentence-transformers looks for them."""


def query_prompt(prompts: Prompts) -> str:
    """Return the text in front of a query; empty if the checkpoint has none."""
    return prompts.get("query") or ""


def passage_prompt(prompts: Prompts) -> str:
    """Return the text in front of a passage: the first of :data:`PASSAGE_NAMES` that is not empty.

    sentence-transformers adds an empty ``document`` prompt to every model, which would hide a prompt named ``passage``.
    """
    return next((text for name in PASSAGE_NAMES if (text := prompts.get(name))), "")


def adopt_passage_prompt(model: SentenceTransformer, name: str) -> None:
    """Rename the passages' prompt to ``document``, in place: the one name that mteb and our own code look for.

    Args:
        model: A loaded model.
        name: Its name, for the log line that is written if the prompt had another name.
    """
    text = passage_prompt(model.prompts)
    if text and not model.prompts.get("document"):
        source = next(key for key in PASSAGE_NAMES if model.prompts.get(key))
        logger.info("%s names the prompt of its passages '%s', not 'document'; it is used: %r", name, source, text)
        others = {key: prompt for key, prompt in model.prompts.items() if key != source}
        model.prompts = {**others, "document": text}
