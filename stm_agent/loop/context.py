"""The context: everything the levers share while one run goes on, and the one way a model is scored on dev."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.build import build_collection, build_domain_data
from stm_agent.domain.collection import Collection, Split
from stm_agent.domain.data import DomainData
from stm_agent.domain.firewall import Firewall
from stm_agent.domain.spec import DomainSpec
from stm_agent.evaluate.cache import EmbeddingCache, encode_through
from stm_agent.evaluate.metrics import Scores, score
from stm_agent.evaluate.ranking import rank
from stm_agent.files import append_jsonl, read_jsonl, sha256_text
from stm_agent.loop.events import Observer
from stm_agent.loop.ledger import SCHEMA, RunFolder
from stm_agent.memory import PeakMemory
from stm_agent.stage import StageStore

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from stm_agent.backbone.encoder import TextEncoder
    from stm_agent.evaluate.encoder import Encoder
    from stm_agent.llm.budget import Budget
    from stm_agent.llm.client import LlmClient
    from stm_agent.merge.delta import LoraDelta


@dataclass(frozen=True)
class Rating:
    """A model's dev scores: on the domain, and the mean nDCG@10 over the general guard tasks."""

    domain: Scores
    general: float


@dataclass
class RunContext:
    """One run's shared things. Test judgements are behind ``firewall`` and nowhere else."""

    spec: DomainSpec
    seed: int
    run: RunFolder
    store: StageStore
    cache: EmbeddingCache
    budget: Budget
    observer: Observer
    data: DomainData
    guards: tuple[Collection, ...]
    firewall: Firewall
    generator: LlmClient
    reflection: LlmClient
    program: Path
    workspace: Path
    memory: PeakMemory = field(default_factory=PeakMemory)

    @property
    def dev(self) -> Split:
        """The only judged split the levers may read."""
        return self.firewall.dev

    @property
    def documents(self) -> Mapping[str, str]:
        """The scored corpus: document id -> text."""
        return self.data.collection.texts

    @contextmanager
    def timed(self, name: str, text: str) -> Iterator[None]:
        """Announce a stage and keep its wall time; a run that was interrupted adds up all its processes."""
        self.observer({"kind": "stage", "name": name, "text": text})
        started = time.monotonic()
        try:
            yield
        finally:
            seconds = round(time.monotonic() - started, 3)
            append_jsonl(self.run.seconds, {"schema": SCHEMA, "name": name, "seconds": seconds})

    def seconds(self) -> dict[str, float]:
        """Return the wall time of every kind of stage, over all processes that worked on this run."""
        total: dict[str, float] = {}
        for entry in read_jsonl(self.run.seconds):
            total[entry["name"]] = total.get(entry["name"], 0.0) + entry["seconds"]
        return total

    def note(self, name: str, text: str) -> None:
        """Tell a counted warning or a skipped lever, and keep it in the ledger."""
        self.observer({"kind": "note", "name": name, "text": text})
        self.run.ledger.record("note", name=name, text=text)

    def decide(self, lever: str, text: str, **data: object) -> None:
        """Tell and keep one keep-or-roll-back decision."""
        self.observer({"kind": "decision", "name": lever, "text": text})
        self.run.ledger.record("decision", lever=lever, text=text, **data)

    def backbone(self) -> SentenceTransformer:
        """Load the untouched backbone, packed for speed."""
        from stm_agent.backbone.load import load_backbone

        return load_backbone(self.spec.backbone)

    def encoder(self, delta: LoraDelta | None = None) -> TextEncoder:
        """Return the backbone with ``delta`` folded into its weights, as an encoder."""
        from stm_agent.backbone.encoder import TextEncoder
        from stm_agent.backbone.network import network_of
        from stm_agent.merge.delta import fold

        model = self.backbone()
        if delta is not None:
            fold(network_of(model), delta)
        return TextEncoder(model)

    def scores(self, encoder: Encoder, split: Split, instruction: Instruction) -> Scores:
        """Score one split of the domain's collection, from cached vectors where they are there."""
        return score_split(self.cache, encoder, self.documents, split, instruction)

    def rate(self, encoder: Encoder, instruction: Instruction) -> Rating:
        """Score the dev split and the guards. Guards get no instruction: they ask what general use would see."""
        plain = instruction.unsaid()
        general = [
            score_split(self.cache, encoder, guard.texts, guard.splits["dev"], plain).ndcg_at_10
            for guard in self.guards
        ]
        mean = sum(general) / len(general) if general else 0.0
        return Rating(self.scores(encoder, self.dev, instruction), mean)

    def probe(self, encoder: Encoder, instruction: Instruction) -> Scores:
        """Score dev on the probes' smaller corpus: comparable between probes, not with a rating."""
        return score_split(self.cache, encoder, self._probed, self.dev, instruction)

    @cached_property
    def _probed(self) -> Mapping[str, str]:
        count = self.spec.loop.probe_documents
        judged = {document for grades in self.dev.qrels.values() for document in grades}
        order = sorted(self.documents, key=lambda key: (key not in judged, sha256_text(key)))
        return {key: self.documents[key] for key in (order[: max(count, len(judged))] if count else order)}


def score_split(
    cache: EmbeddingCache | None, encoder: Encoder, documents: Mapping[str, str], split: Split, instruction: Instruction
) -> Scores:
    """Encode, rank and score one split; nDCG@10, Recall@100 and MRR@10 over its queries. None caches nothing."""
    encode = encode_through(cache, encoder)
    passages = encode(list(documents.values()), prefix=instruction.passage_prefix)
    queries = encode(list(split.queries.values()), prefix=instruction.query_prefix)
    run = rank(list(split.queries), queries, list(documents), passages, k=100)
    return score(run, split.qrels)


def hold_out_test(material: DomainData, ledger: Path) -> tuple[DomainData, Firewall]:
    """Take the test split out of the material; from here on only the firewall can open it."""
    collection = material.collection
    firewall = Firewall(collection, ledger)
    visible = {name: split for name, split in collection.splits.items() if name != "test"}
    return dataclasses.replace(material, collection=dataclasses.replace(collection, splits=visible)), firewall


def load_domain_data(spec: DomainSpec, workspace: Path) -> tuple[DomainData, tuple[Collection, ...]]:
    """Build the domain's material and its guard collections."""
    material = build_domain_data(spec.collection, workspace)
    return material, tuple(build_collection(guard, workspace) for guard in spec.general)
