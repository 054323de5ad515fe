"""The profile of a collection: what its data and this machine allow, measured before anything is encoded."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from stm_agent.domain.collection import Collection, Split
from stm_agent.domain.data import DomainData
from stm_agent.domain.measures import (
    Leakage,
    duplicates,
    keyword_share,
    leakage,
    models_at_hand,
    sample,
    token_counter,
)
from stm_agent.domain.reading import Reading, reading_of
from stm_agent.domain.scripts import LanguageProfile
from stm_agent.machine import Machine, this_machine

LENGTHS = (64, 96, 128, 192, 256, 384, 512)
"""Lengths of a text in tokens that a plan chooses from."""
LONGEST_ON_CPU = 256
"""Tokens: time rises with the length, and rankings hardly gain beyond (see ``max_length_for``)."""
FITTING = 0.95
"""Share of the passages that must fit a length."""
DIMENSION = 384
"""Numbers of a vector of the embedded encoder, for the estimate of memory."""
TOKENS_PER_SECOND = 2500
"""Tokens that all-MiniLM-L6-v2 encodes a second and core in float32, about (one core of a 2024 server)."""
GPU_TOKENS_PER_SECOND = 200_000
"""The same on a data-centre GPU, about."""


@dataclass(frozen=True, kw_only=True)
class SplitFacts:
    """Size of one split.

    Attributes:
        queries: Judged queries.
        judgements: Judged pairs of query and document.
        relevant_per_query: Mean number of relevant documents of a query.
    """

    queries: int
    judgements: int
    relevant_per_query: float


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What is known about a collection before a run.

    Attributes:
        name: The collection's.
        documents: Passages in the corpus.
        splits: Sizes by split.
        train_pairs: Training pairs of all sources; of a bare collection, relevant pairs of its train split.
        dev_queries: Queries of the dev split; 0: none.
        passage_tokens_p50: Tokens of the median passage, special tokens included.
        passage_tokens_p95: Tokens that 95 % of the passages do not exceed.
        passage_tokens_max: Tokens of the longest passage.
        query_tokens_p50: Tokens of the median query.
        query_tokens_p95: Tokens that 95 % of the queries do not exceed.
        query_tokens_max: Tokens of the longest query.
        tokens: What was counted.
        fitting: Length in tokens -> share of the passages that fit it.
        query_fitting: The same of the queries.
        has_titles: Share of the documents whose title is not empty and not their text.
        exact_duplicates: Documents whose text repeats an earlier one.
        near_duplicates: Further documents that nearly repeat an earlier one.
        leakage: What two splits share, as ``train-dev``, ``train-test`` and ``dev-test``.
        scripts: Share of the letters by script, of a sample.
        languages: Languages of Latin script that occur.
        keyword_share: Share of the queries' words that BM25 can match in their positives; None: unknown.
        machine: What this machine has.
        models: Models at hand and their state.
        notes: What was left out or changed while reading, one line each.
        reading: How the embedded encoder's tokenizer reads the passages; None: it is not on this machine.
    """

    name: str
    documents: int
    splits: Mapping[str, SplitFacts]
    train_pairs: int
    dev_queries: int
    passage_tokens_p50: int
    passage_tokens_p95: int
    passage_tokens_max: int
    query_tokens_p50: int
    query_tokens_p95: int
    query_tokens_max: int
    tokens: str
    fitting: Mapping[int, float]
    query_fitting: Mapping[int, float]
    has_titles: float
    exact_duplicates: int
    near_duplicates: int
    leakage: Mapping[str, Leakage]
    scripts: Mapping[str, float]
    languages: tuple[str, ...]
    keyword_share: float | None
    machine: Machine
    models: Mapping[str, str]
    notes: tuple[str, ...] = ()
    reading: Reading | None = None

    @property
    def encoding_minutes(self) -> float:
        """Minutes to encode the corpus once with the embedded encoder on this machine, about."""
        tokens = self.documents * min(self.passage_tokens_p50, max_length_for(self)[0])
        speed = GPU_TOKENS_PER_SECOND if self.machine.gpu else TOKENS_PER_SECOND * self.machine.cores
        return tokens / speed / 60

    @property
    def vectors_gib(self) -> float:
        """Memory of the corpus's vectors in float32 with the embedded encoder, in GiB."""
        return self.documents * DIMENSION * 4 / 2**30

    def to_json(self) -> dict[str, object]:
        """Return all facts, and what follows from them, as JSON values."""
        length, reason = max_length_for(self)
        derived = {"encoding_minutes": round(self.encoding_minutes, 1), "vectors_gib": round(self.vectors_gib, 3)}
        return {**dataclasses.asdict(self), **derived, "max_length": length, "max_length_reason": reason}


def profile(data: Collection | DomainData, machine: Machine | None = None) -> Profile:
    """Measure a collection; nothing is encoded and nothing is fetched.

    Lengths, scripts and words in common are measured on samples, duplicates and leakage on everything, by hashing. A
    corpus of 100,000 passages of 100 words takes about half a minute.

    Args:
        data: A collection, or a domain's data with its training pairs.
        machine: The machine to plan for; None: this one.
    """
    collection = data.collection if isinstance(data, DomainData) else data
    texts = collection.texts
    passages = list(texts.values())
    queries = [text for split in collection.splits.values() for text in split.queries.values()]
    count, tokens = token_counter()
    passage_counts, query_counts = sorted(count(sample(passages))), sorted(count(sample(queries)))
    exact, near = duplicates(passages)
    languages = LanguageProfile.of(sample(passages, 400))
    return Profile(
        name=collection.name,
        documents=len(passages),
        splits={name: _facts(split) for name, split in sorted(collection.splits.items())},
        train_pairs=_train_pairs(data),
        dev_queries=len(collection.splits["dev"].queries) if "dev" in collection.splits else 0,
        passage_tokens_p50=_quantile(passage_counts, 0.5),
        passage_tokens_p95=_quantile(passage_counts, FITTING),
        passage_tokens_max=_quantile(passage_counts, 1.0),
        query_tokens_p50=_quantile(query_counts, 0.5),
        query_tokens_p95=_quantile(query_counts, FITTING),
        query_tokens_max=_quantile(query_counts, 1.0),
        tokens=tokens,
        fitting={length: _share_within(passage_counts, length) for length in LENGTHS},
        query_fitting={length: _share_within(query_counts, length) for length in LENGTHS},
        has_titles=_share_with_title(collection),
        exact_duplicates=exact,
        near_duplicates=near,
        leakage=_leakages(collection),
        scripts=dict(sorted(languages.scripts.items(), key=lambda item: -item[1])),
        languages=tuple(sorted(languages.languages)),
        keyword_share=_keyword_share(collection.splits, texts),
        machine=machine or this_machine(),
        models=models_at_hand(),
        notes=(*collection.notes, *(data.splits.notes if isinstance(data, DomainData) else ())),
        reading=reading_of(passages),
    )


def max_length_for(profile: Profile) -> tuple[int, str]:
    """Return the length in tokens that a model should read of a text, and why, in one line.

    It is the smallest of :data:`LENGTHS` that 95 % of the passages, and of the queries, fit; on a CPU at most 256.
    """
    lengths = LENGTHS if profile.machine.gpu else [length for length in LENGTHS if length <= LONGEST_ON_CPU]
    needed = max(profile.passage_tokens_p95, profile.query_tokens_p95)
    longest = lengths[-1]
    if needed <= longest:
        length = next(length for length in lengths if needed <= length)
        both = " and of queries" if profile.query_tokens_p95 > profile.passage_tokens_p95 else ""
        return length, f"max_length {length}: 95 % of passages{both} fit"
    queries = profile.query_fitting[longest]
    cut = f" and {queries:.0%} of queries" if queries < FITTING else ""
    return longest, f"max_length {longest}: {profile.fitting[longest]:.0%} of passages{cut} fit, the others are cut"


def _quantile(counts: Sequence[int], share: float) -> int:
    """Return the smallest of sorted counts that ``share`` of them do not exceed; 0 of none."""
    if not counts:
        return 0
    return counts[math.ceil(len(counts) * share) - 1]


def _share_within(counts: Sequence[int], length: int) -> float:
    return sum(count <= length for count in counts) / len(counts) if counts else 1.0


def _facts(split: Split) -> SplitFacts:
    grades = [grade for row in split.qrels.values() for grade in row.values()]
    relevant = sum(grade > 0 for grade in grades)
    mean = round(relevant / max(1, len(split.queries)), 2)
    return SplitFacts(queries=len(split.queries), judgements=len(grades), relevant_per_query=mean)


def _train_pairs(data: Collection | DomainData) -> int:
    if isinstance(data, DomainData):
        return sum(len(pairs) for pairs in data.sources.values())
    train = data.splits.get("train")
    return sum(grade > 0 for row in train.qrels.values() for grade in row.values()) if train else 0


def _share_with_title(collection: Collection) -> float:
    titled = sum(
        bool(document.title.strip()) and document.title.strip() != document.text.strip()
        for document in collection.documents
    )
    return titled / max(1, len(collection.documents))


def _leakages(collection: Collection) -> dict[str, Leakage]:
    splits = collection.splits
    return {
        f"{first}-{second}": leakage(splits[first], splits[second], collection.same_text)
        for first, second in combinations(("train", "dev", "test"), 2)
        if first in splits and second in splits
    }


def _keyword_share(splits: Mapping[str, Split], texts: Mapping[str, str]) -> float | None:
    """Measure on dev, else on train: test stays unread where it can."""
    judged = next((splits[name] for name in ("dev", "train", *splits) if name in splits), None)
    return keyword_share(judged, texts) if judged else None
