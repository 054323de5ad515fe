"""Search the corpus of a run with its model."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

from stm_agent.errors import ConfigError, RunError
from stm_agent.evaluate.cache import EmbeddingCache, encode_queries
from stm_agent.evaluate.fusion import FUSION
from stm_agent.files import read_json


class FoundPassage(TypedDict):
    """A passage that a search found."""

    id: str
    score: float
    text: str


def search_run(run: Path, words: str, top: int, *, fused: bool = False) -> list[FoundPassage]:
    """Return the ``top`` passages for ``words``, best first: id, score and text.

    Args:
        run: Folder of a finished run.
        words: The query.
        top: Number of passages.
        fused: Rank by the model and BM25 together, with the weight that the run chose on dev; scores lie in [0, 1].
            Otherwise by the model alone; scores are cosines.

    Raises:
        ConfigError: The query is empty.
        RunError: The run has no model yet, or no weight to fuse with.
    """
    if not words.strip():
        raise ConfigError("the query is empty; type the words to search for")
    if not (run / "model" / "modules.json").exists() or not (run / "dev" / "corpus.jsonl").exists():
        raise RunError(f"run {run.name} has no model yet; run its optimize command again to resume it")
    from stm_agent.backbone.opened import open_model
    from stm_agent.backbone.prompts import passage_prompt, query_prompt
    from stm_agent.domain.beir import read_beir
    from stm_agent.evaluate.baselines import bm25_run
    from stm_agent.evaluate.corpus import encode_corpus
    from stm_agent.evaluate.fusion import fused_scores
    from stm_agent.evaluate.ranking import rank
    from stm_agent.evaluate.scoring import DEPTH

    model = open_model(str(run / "model"))
    texts = read_beir(run / "dev").texts
    cache = EmbeddingCache(run.parent / ".cache" / "vectors")
    passages = encode_corpus(cache, model.encoder, list(texts.values()), prefix=passage_prompt(model.prompts))
    query = encode_queries(None, model.encoder, [words], prefix=query_prompt(model.prompts))
    scores = rank(["query"], query, list(texts), passages, k=max(top, DEPTH))["query"]
    if fused:
        lexical = bm25_run(texts, {"query": words}, k=max(top, DEPTH))
        scores = fused_scores(scores, lexical["query"], _weight(run))
    best = sorted(scores.items(), key=lambda item: -item[1])[:top]
    return [{"id": key, "score": value, "text": texts[key]} for key, value in best]


def _weight(run: Path) -> float:
    path = run / FUSION
    if not path.is_file():
        raise RunError(f"run {run.name} has no weight for BM25; leave out --fused, or run its optimize command again")
    return float(read_json(path)["weight"])
