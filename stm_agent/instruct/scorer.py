"""Score an instruction: the queries are encoded again, the corpus only if the passage instruction changed."""

from __future__ import annotations

from collections.abc import Mapping

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.collection import Split
from stm_agent.evaluate.cache import EmbeddingCache, encode_queries
from stm_agent.evaluate.corpus import encode_corpus
from stm_agent.evaluate.encoder import Encoder
from stm_agent.evaluate.metrics import Run, Scores, score
from stm_agent.evaluate.ranking import rank
from stm_agent.evaluate.vectors import CorpusVectors

DEPTH = 10
"""Passages ranked for each query: what nDCG@10 needs."""


class InstructionScorer:
    """One model, one corpus, one set of judged queries; any number of instructions."""

    def __init__(
        self,
        encoder: Encoder,
        cache: EmbeddingCache,
        documents: Mapping[str, str],
        split: Split,
        incumbent: Instruction,
    ) -> None:
        """Take the model and the data; encode the corpus with the incumbent's passage prefix unless it is cached."""
        self.encoder, self.cache, self.split, self.incumbent = encoder, cache, split, incumbent
        self.documents = documents
        self._ids = list(documents)
        self._passages: dict[str, CorpusVectors] = {}
        self._vectors(incumbent.passage_prefix)

    def run(self, instruction: Instruction, k: int = DEPTH) -> Run:
        """Return the ranking of every query, ``k`` deep."""
        texts = list(self.split.queries.values())
        queries = encode_queries(self.cache, self.encoder, texts, prefix=instruction.query_prefix)
        passages = self._vectors(instruction.passage_prefix)
        return rank(list(self.split.queries), queries, self._ids, passages, k=k, ignored_ids=self.split.ignored_ids)

    def score(self, instruction: Instruction) -> Scores:
        """Return nDCG@10 of every query."""
        return score(self.run(instruction), self.split.qrels)

    def among(self, documents: Mapping[str, str]) -> InstructionScorer:
        """Return a scorer of the same queries over a part of the corpus, whose vectors are cached."""
        return InstructionScorer(self.encoder, self.cache, documents, self.split, self.incumbent)

    def _vectors(self, prefix: str) -> CorpusVectors:
        # Reading a whole corpus from the cache for every instruction costs more than ranking it.
        if prefix not in self._passages:
            self._passages[prefix] = encode_corpus(
                self.cache, self.encoder, list(self.documents.values()), prefix=prefix
            )
        return self._passages[prefix]
