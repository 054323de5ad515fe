"""Search the corpus of a run with its model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stm_agent.errors import ConfigError, RunError
from stm_agent.evaluate.cache import EmbeddingCache, encode_queries


def search_run(run: Path, words: str, top: int) -> list[dict[str, Any]]:
    """Return the ``top`` passages for ``words``, best first: rank, id, cosine score and text.

    Raises:
        ConfigError: The query is empty.
        RunError: The run has no model yet.
    """
    if not words.strip():
        raise ConfigError("the query is empty; type the words to search for")
    if not (run / "model" / "modules.json").exists() or not (run / "dev" / "corpus.jsonl").exists():
        raise RunError(f"run {run.name} has no model yet; run its optimize command again to resume it")
    from stm_agent.backbone.encoder import TextEncoder
    from stm_agent.backbone.load import load_model
    from stm_agent.domain.collection import read_beir
    from stm_agent.evaluate.ranking import rank

    model = load_model(str(run / "model"))
    texts = read_beir(run / "dev").texts
    encoder = TextEncoder(model)
    cache = EmbeddingCache(run.parent / ".cache" / "vectors")
    passages = cache.encode(encoder, list(texts.values()), prefix=model.prompts.get("document") or "")
    query = encode_queries(None, encoder, [words], prefix=model.prompts.get("query") or "")
    scores = rank(["query"], query, list(texts), passages, k=top)["query"]
    best = sorted(scores.items(), key=lambda item: -item[1])[:top]
    return [{"id": key, "score": value, "text": texts[key]} for key, value in best]
