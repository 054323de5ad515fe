"""Score an instruction: the queries are encoded again, the corpus is not."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from stm_agent.domain.collection import Split
from stm_agent.evaluate.cache import EmbeddingCache
from stm_agent.evaluate.encoder import Encoder
from stm_agent.evaluate.metrics import Run, Scores, score
from stm_agent.evaluate.ranking import rank
from stm_agent.instruct.instruction import Instruction


class InstructionScorer:
    """One model, one corpus, one set of judged queries; any number of query instructions."""

    def __init__(
        self,
        encoder: Encoder,
        cache: EmbeddingCache,
        documents: Mapping[str, str],
        split: Split,
        incumbent: Instruction,
    ) -> None:
        """Encode the corpus once, with the incumbent's passage prefix, or find it in the cache."""
        self.encoder, self.cache, self.split, self.incumbent = encoder, cache, split, incumbent
        self.documents = documents
        self._ids = list(documents)
        self._passages = cache.encode(encoder, list(documents.values()), prefix=incumbent.passage_prefix)

    def run(self, instruction: Instruction) -> Run:
        """Return the ranking of every query, 10 deep."""
        prefix = self.incumbent.saying(instruction.query, instruction.origin).query_prefix
        queries = self.cache.encode(self.encoder, list(self.split.queries.values()), prefix=prefix)
        return rank(list(self.split.queries), np.asarray(queries), self._ids, self._passages, k=10)

    def score(self, instruction: Instruction) -> Scores:
        """Return nDCG@10 of every query."""
        return score(self.run(instruction), self.split.qrels)
