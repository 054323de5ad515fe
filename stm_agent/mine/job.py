"""The mining job: hard negatives of training pairs from a pool of passages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from stm_agent.backbone.instruction import NO_INSTRUCTION, Instruction
from stm_agent.domain.data import Pair
from stm_agent.domain.keywords import RULES as KEYWORD_RULES
from stm_agent.domain.spec import MineSpec
from stm_agent.evaluate.cache import EmbeddingCache
from stm_agent.evaluate.encoder import EncoderSource
from stm_agent.files import content_hash, write_json
from stm_agent.job import Job
from stm_agent.mine.negatives import mine
from stm_agent.mine.prompted import PromptedEncoder
from stm_agent.mine.store import save_negatives

RULES = 3
"""Raised when other candidates are refused than before, or more is written."""
DOUBTFUL, RELEVANT = "doubtful", "relevant"
"""Folders of the refused candidates that an audit may ask for."""


@dataclass(frozen=True, kw_only=True)
class MiningJob(Job):
    """Mines negatives and refuses those that may be relevant.

    Attributes:
        pairs: Training pairs.
        pool: Passage id -> text that is searched.
        groups: Group -> passages that are never a negative of its pairs.
        spec: Retrievers, depth and margin.
        miner: Encoder of the dense retriever and of the positive-aware filter; None: BM25 alone.
        instruction: What the miner's queries and passages have in front of them.
        cache: Folder of cached vectors; decides no number.
    """

    kind: ClassVar[str] = "mine"
    pairs: tuple[Pair, ...]
    pool: Mapping[str, str]
    groups: Mapping[str, frozenset[str]]
    spec: MineSpec
    miner: EncoderSource | None
    instruction: Instruction = NO_INSTRUCTION
    cache: Path

    def inputs(self) -> Mapping[str, object]:
        """Return what decides the negatives."""
        groups = {pair.group: sorted(self.groups.get(pair.group, ())) for pair in self.pairs}
        return {
            "rules": RULES,
            "words": KEYWORD_RULES,
            "spec": self.spec.model_dump(mode="json"),
            "pairs": content_hash([pair.content() for pair in self.pairs]),
            "pool": content_hash(dict(self.pool)),
            "groups": content_hash(groups),
            "miner": self.miner.source_key() if self.miner else None,
            "prefixes": [self.instruction.query_prefix, self.instruction.passage_prefix],
        }

    def build(self, folder: Path) -> None:
        """Write ``negatives/`` (a ``datasets`` folder) and ``counts.json`` (candidates refused, by reason).

        ``doubtful/negatives/`` has the candidates that score too near the positive, ``relevant/negatives/`` those that
        the data names as relevant.
        """
        prefixes, cache = (self.instruction.query_prefix, self.instruction.passage_prefix), EmbeddingCache(self.cache)
        encoder = PromptedEncoder(self.miner.open(), *prefixes, cache) if self.miner else None
        mined = mine(self.pairs, self.pool, self.groups, spec=self.spec, encoder=encoder)
        save_negatives(folder, self.pairs, mined.negatives)
        for name, refused in ((DOUBTFUL, mined.doubtful), (RELEVANT, mined.relevant)):
            save_negatives(folder / name, self.pairs, refused)
        write_json(folder / "counts.json", {"pairs": len(self.pairs), **mined.counts})
