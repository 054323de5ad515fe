"""The words that BM25 indexes: bm25s's own, of every script."""

from __future__ import annotations

from collections.abc import Sequence

from stm_agent.domain.letters import bigrams, canonical, word_pattern

RULES = "english stop words and stems, NFC without vowel points, words with their marks, bigrams of unspaced scripts"
"""What decides the words, for keys of stored indexes; change it with the rules."""


def keywords(texts: Sequence[str]) -> list[list[str]]:
    """Return the words of each text as BM25 counts them: lower case, no English stop words, Snowball stems.

    Scripts without spaces between words give letter bigrams. Of ASCII text the words are exactly those of
    ``bm25s.tokenize``.
    """
    import bm25s
    import Stemmer

    parts = [bigrams(canonical(text)) for text in texts]
    words_of_texts: list[list[str]] = bm25s.tokenize(
        [spaced for spaced, _ in parts],
        token_pattern=word_pattern(),
        stopwords="en",
        stemmer=Stemmer.Stemmer("english"),
        show_progress=False,
        return_ids=False,
    )
    return [[*words, *pairs] for words, (_, pairs) in zip(words_of_texts, parts, strict=True)]
