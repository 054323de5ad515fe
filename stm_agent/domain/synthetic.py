"""A collection made of documents and queries that an LLM wrote for them, split by document.

Its splits are marked as synthetic: that a query's passage is relevant, and no other passage is, is what the LLM was
asked for and nobody's judgement.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from stm_agent.domain.collection import Collection, Split
from stm_agent.domain.duplicates import near_duplicates
from stm_agent.domain.groups import representatives
from stm_agent.domain.passages import Passages
from stm_agent.domain.scripts import LanguageProfile
from stm_agent.domain.text import normalise
from stm_agent.errors import DataError
from stm_agent.files import sha256_text

SHARES = {"train": 0.4, "dev": 0.3, "test": 0.3}
"""Shares of the written queries. Dev and test are large, since they decide what can be shown; titles and sentences of
the passages can teach as well."""
FEWEST_QUERIES = 20
"""Usable queries below which nothing could be chosen on dev or shown on test."""
WAY_ON = "name a stronger --generator, or write queries by hand: stm-agent annotate"
REPEATED = "repeats another written query"
FOREIGN = "another language than its passage"
COPIED = "copied from its passage, which dev and test may not be"
"""A query that repeats its passage is found by any model that matches words: scores on such queries say nothing."""
TRAIN = "train"


@dataclass(frozen=True, kw_only=True)
class SyntheticCollection:
    """A collection of written queries, and what became of the others.

    Attributes:
        collection: Passages, and train, dev and test of the usable queries.
        left_out: Written queries that are not used, by reason.
        copied: Queries of train that are copied from their passage.
    """

    collection: Collection
    left_out: Mapping[str, int]
    copied: int = 0


def check_can_be_split(name: str, drawn: Mapping[str, str], passages: Passages) -> None:
    """Require that queries for the drawn passages could be split into train, dev and test; called before any is paid.

    Raises:
        DataError: There are too few passages, documents, or parts of long documents.
    """
    parts = {passages.part_of[key] for key in drawn}
    documents = len(set(passages.document_of.values()))
    if len(parts) < len(SHARES) or len(drawn) < FEWEST_QUERIES:
        raise DataError(
            f"corpus {name} gives {len(drawn)} passages for queries from {documents} document(s); train, dev and test "
            f"need {FEWEST_QUERIES} passages from {len(SHARES)} documents, or one document of many pages: add documents"
        )


def synthetic_collection(
    name: str,
    passages: Passages,
    written: Sequence[tuple[str, str]],
    *,
    writer: str,
    seed: int,
    refused: Mapping[str, int] | None = None,
    copied: Set[tuple[str, str]] = frozenset(),
    way_on: str = WAY_ON,
) -> SyntheticCollection:
    """Return the collection of a corpus and the queries written for its passages.

    All queries of a document, or of a part of a long one, fall into one split, together with those of documents that
    have a passage with the same text. A query that nearly repeats an earlier one is left out, in whichever splits the
    two would be; of passages with one text, all are relevant. Queries that are copied from their passage train, or are
    left out: they count as none of those that are needed.

    Args:
        name: Name of the corpus.
        passages: Its passages.
        written: (passage id, query) of each written query.
        writer: Name of the LLM.
        seed: Another seed gives other splits.
        refused: Texts of the LLM that were no queries, by reason; they are counted among those left out.
        copied: Those of ``written`` that are copied from their passage.
        way_on: What to do if too few are usable.

    Raises:
        DataError: Too few queries are usable.
    """
    usable, repeated = _usable(passages, written)
    copies = {query for query, entry in usable.items() if entry in copied}
    left_out = Counter(refused or {}) + Counter(repeated)
    if (count := len(usable) - len(copies)) < FEWEST_QUERIES:
        raise DataError(_too_few(name, count, left_out + Counter({COPIED: len(copies)}), way_on))
    splits = _splits(name, usable, copies, passages, seed)
    kept = len(copies & splits[TRAIN].queries.keys())
    collection = Collection(
        name=f"{name} (synthetic)",
        documents=passages.documents,
        splits=splits,
        licence="not stated",
        source=f"documents of {name}; queries written by {writer}, judged by nobody",
    )
    left_out += Counter({COPIED: len(copies) - kept})
    return SyntheticCollection(collection=collection, left_out=dict(left_out), copied=kept)


def _too_few(name: str, usable: int, left_out: Mapping[str, int], way_on: str) -> str:
    reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
    return (
        f"{usable} usable queries were written for corpus {name}, and {FEWEST_QUERIES} are needed"
        f"{f' (left out: {reasons})' if reasons else ''}; {way_on}"
    )


def _splits(
    name: str, usable: Mapping[str, tuple[str, str]], copies: Set[str], passages: Passages, seed: int
) -> dict[str, Split]:
    twins = _twins(passages)
    queries: dict[str, dict[str, str]] = {role: {} for role in SHARES}
    for role, group in _dealt(usable, copies, passages, twins, seed):
        queries[role] |= {query: usable[query][1] for query in group}
    if empty := [role for role in SHARES if not queries[role]]:
        raise DataError(
            f"the documents of corpus {name} share their passages{' or their queries copy them' if copies else ''}, so "
            f"that no query is left for {empty[0]}; remove copies of documents{f', or {WAY_ON}' if copies else ''}"
        )
    qrels = {query: dict.fromkeys(twins[passage], 1) for query, (passage, _) in usable.items()}
    return {
        role: Split(role, own, {query: qrels[query] for query in own}, synthetic=True) for role, own in queries.items()
    }


def _usable(
    passages: Passages, written: Sequence[tuple[str, str]]
) -> tuple[dict[str, tuple[str, str]], dict[str, int]]:
    """Return query id -> (passage id, query) of the usable queries, and the number of the others by reason."""
    texts, left_out, numbers = passages.texts, Counter[str](), Counter[str]()
    queries: dict[str, tuple[str, str]] = {}
    for passage, text in written:
        numbers[passage] += 1
        if LanguageProfile.of([texts[passage]]).is_foreign(text):
            left_out[FOREIGN] += 1
        else:
            queries[f"written:{passage}/{numbers[passage]}"] = passage, text
    names, first = list(queries), dict[str, str]()
    exact = {query for query, (_, text) in queries.items() if first.setdefault(normalise(text), query) != query}
    near = {names[position] for position in near_duplicates([text for _, text in queries.values()])}
    if repeated := exact | near:
        left_out[REPEATED] += len(repeated)
    return {query: entry for query, entry in queries.items() if query not in repeated}, dict(left_out)


def _twins(passages: Passages) -> dict[str, tuple[str, ...]]:
    """Return for each passage all passages with its text, itself included."""
    same: dict[str, list[str]] = {}
    for passage in passages.documents:
        same.setdefault(normalise(passage.text), []).append(passage.id)
    return {key: tuple(keys) for keys in same.values() for key in keys}


def _dealt(
    usable: Mapping[str, tuple[str, str]],
    copies: Set[str],
    passages: Passages,
    twins: Mapping[str, Sequence[str]],
    seed: int,
) -> list[tuple[str, list[str]]]:
    """Return (split, queries) of each group of documents: large groups first, each to the split that lacks most.

    Groups with copies alone come before them and train; copies of a group that falls into dev or test are left out.
    """
    traits: dict[str, list[tuple[str, str]]] = {}
    for passage, _ in usable.values():
        for twin in twins[passage]:
            traits.setdefault(passages.part_of[twin], []).append(("passage", passage))
    group_of = representatives(traits)
    groups: dict[str, list[str]] = {}
    for query, (passage, _) in usable.items():
        groups.setdefault(group_of[passages.part_of[passage]], []).append(query)
    counts, dealt = Counter[str](), []
    own = {name: [query for query in group if query not in copies] for name, group in groups.items()}
    order = sorted(groups, key=lambda name: (bool(own[name]), -len(groups[name]), sha256_text(f"{seed}:{name}")))
    for name in order:
        role = max(SHARES, key=lambda role: SHARES[role] * len(usable) - counts[role]) if own[name] else TRAIN
        kept = groups[name] if role == TRAIN else own[name]
        counts[role] += len(kept)
        dealt.append((role, kept))
    return dealt
