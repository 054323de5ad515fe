"""Training pairs of a corpus alone: titles with their texts, and sentences with the passages they were taken from.

A sentence as the query of its own passage is the inverse cloze task (Lee et al. 2019, arXiv 1906.00300). Passages that
are relevant to dev or test queries take part, since the corpus is what a retriever searches; the queries of dev and
test do not.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from stm_agent.domain.collection import Document
from stm_agent.domain.data import DomainData, Pair
from stm_agent.domain.groups import Trait, representatives
from stm_agent.domain.held import HeldQueries
from stm_agent.domain.spec import SENTENCES, TITLES, UNLABELLED
from stm_agent.domain.text import draw, normalise

logger = logging.getLogger(__name__)

WORDS, LETTERS = 4, 8
"""Fewest words of a sentence that can be a query, and fewest letters in a script without spaces."""
REMAINING = 2
"""Fewest other sentences that a passage must have left."""

_ENDS = re.compile(r"(?<=[.!?])\s+|(?<=[\u3002\uff01\uff1f\u0964])\s*|\n+")
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


@dataclass(frozen=True)
class Unlabelled:
    """Pairs of one source made of a corpus.

    Attributes:
        pairs: The pairs; those of one group are never each other's negatives.
        groups: Group -> ids of the documents that are never a negative of its pairs.
        left_out: Documents without a pair, by reason.
    """

    pairs: tuple[Pair, ...]
    groups: Mapping[str, frozenset[str]]
    left_out: Mapping[str, int]


def unlabelled(data: DomainData, source: str) -> Unlabelled:
    """Return a source's pairs; made once for each ``data``, with a log line of what was left out.

    Args:
        data: The domain's data; a document that belongs to a group of it has its pair in that group.
        source: ``titles`` or ``sentences``.
    """
    made: dict[str, Unlabelled] = data.__dict__.setdefault("_unlabelled", {})
    if source not in made:
        made[source] = _make(data, source)
        for reason, count in made[source].left_out.items():
            logger.info("%s: source %s: %d documents: %s", data.collection.name, source, count, reason)
    return made[source]


def pairs_of_source(data: DomainData, source: str) -> tuple[Pair, ...]:
    """Return the pairs of a source, one of the collection's own or one made of its corpus; empty if unknown."""
    return unlabelled(data, source).pairs if source in UNLABELLED else data.sources.get(source, ())


def with_unlabelled(data: DomainData, sources: Iterable[str]) -> DomainData:
    """Return the data with the pairs and groups of those ``sources`` that are made of the corpus."""
    made = {source: unlabelled(data, source) for source in dict.fromkeys(sources) if source in UNLABELLED}
    if not made:
        return data
    groups = dict(data.groups)
    for one in made.values():
        for group, documents in one.groups.items():
            groups[group] = groups.get(group, frozenset()) | documents
    pairs = {source: one.pairs for source, one in made.items()}
    return dataclasses.replace(data, sources={**data.sources, **pairs}, groups=groups)


def _make(data: DomainData, source: str) -> Unlabelled:
    collection = data.collection
    cut: Callable[[Document], tuple[str, str] | str] = {TITLES: _title, SENTENCES: _sentence}[source]
    held = data.held or HeldQueries.of(collection)
    group_of = _groups(data, by_title=source == TITLES)
    left_out: Counter[str] = Counter()
    pairs: list[Pair] = []
    members: dict[str, set[str]] = {}
    for document in collection.documents:
        made = cut(document)
        if isinstance(made, str):
            left_out[made] += 1
        elif held.has(made[0]):
            left_out["nearly a dev or test query"] += 1
        else:
            group = group_of[document.id]
            pairs.append(Pair(f"{source}:{document.id}", made[0], made[1], source, group))
            members.setdefault(group, set())
    for document in collection.documents:
        if (group := group_of[document.id]) in members:
            members[group].add(document.id)
    groups = {group: frozenset(documents) for group, documents in members.items()}
    return Unlabelled(tuple(pairs), groups, dict(left_out))


def _title(document: Document) -> tuple[str, str] | str:
    title, text = document.title.strip(), document.text.strip()
    if not title:
        return "no title"
    if not text:
        return "no text"
    return "the title is the text" if normalise(title) == normalise(text) else (title, text)


def _sentence(document: Document) -> tuple[str, str] | str:
    sentences = [part.strip() for part in _ENDS.split(document.text) if part.strip()]
    long_enough = [sentence for sentence in sentences if _is_long_enough(sentence)]
    if not long_enough:
        return "no sentence is long enough"
    chosen = long_enough[draw(f"sentence:{document.id}", len(long_enough))]
    others = [sentence for sentence in sentences if sentence != chosen]
    if len(others) < REMAINING:
        return "too few sentences"
    return chosen, " ".join(part for part in (document.title.strip(), *others) if part)


def _is_long_enough(sentence: str) -> bool:
    return len(sentence.split()) >= WORDS or len(_UNSPACED.findall(sentence)) >= LETTERS


def _groups(data: DomainData, *, by_title: bool) -> dict[str, str]:
    """Return the group of each document: that of train queries it is relevant to, else one of its own.

    Documents with one text, or with one title if titles are the queries, share a group.
    """
    documents = data.collection.documents
    first = representatives({document.id: _traits(document, by_title) for document in documents})
    judged: dict[str, str] = {}
    for group in sorted(data.groups):
        for name in sorted(data.groups[group] & first.keys()):
            judged.setdefault(first[name], group)
    return {name: judged.get(same, f"document {same}") for name, same in first.items()}


def _traits(document: Document, by_title: bool) -> Iterator[Trait]:
    """Yield what makes two documents one: the text and, if titles are the queries, the title."""
    yield "text", normalise(document.text) or document.text
    if by_title and (title := normalise(document.title)):
        yield "title", title
