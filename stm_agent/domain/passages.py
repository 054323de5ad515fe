"""Documents cut at sentence ends into passages that fit the window of every start."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain, repeat

from stm_agent.domain.collection import Document
from stm_agent.domain.text import normalise
from stm_agent.files import sha256_text

PASSAGE_TOKENS = 128
"""Tokens of a passage with its title, at most: the window of the shortest start, and about the 100 words of a passage
in DPR (Karpukhin et al. 2020). It is the same for every start, so that another start costs no queries again."""
SPECIAL_TOKENS = 2
"""Tokens that a model puts around a text."""
PART_PASSAGES = 10
"""Passages of a document that are split together: a longer document counts as several, or one book would be a split."""
FEWEST_TOKENS = 16
"""Tokens of a passage that a query can be written for."""
_TITLE_TOKENS = 32
_IDEOGRAPHIC_ENDS = "\u3002\uff01\uff1f"
_SENTENCE_END = re.compile(
    rf"([.!?\u2026\u061f\u06d4\u0964][\"'\u201d\u2019\u00bb)\]]*)\s+|([{_IDEOGRAPHIC_ENDS}][\u201d\u300d\u300f]*)"
)
_WORD = re.compile(r"[A-Za-z]+|\d|[^\sA-Za-z\d]")
_LETTERS_PER_TOKEN = 6


@dataclass(frozen=True, kw_only=True)
class Passages:
    """The passages of a corpus.

    Attributes:
        documents: The passages; the id is the document's, ``#`` and the number of the passage in it from 1.
        document_of: Passage id -> id of the document it was cut from.
        part_of: Passage id -> the document, or the part of a long one, that falls into one split.
    """

    documents: tuple[Document, ...]
    document_of: Mapping[str, str]
    part_of: Mapping[str, str]

    @property
    def texts(self) -> dict[str, str]:
        """Passage id -> title and text."""
        return {passage.id: passage.full for passage in self.documents}


def cut_passages(documents: Iterable[Document], *, tokens: int = PASSAGE_TOKENS) -> Passages:
    """Cut every document into passages of at most about ``tokens`` tokens, all of about one length.

    A passage ends where a sentence does; a sentence that is longer itself is cut between words or, in a script without
    spaces, between letters.
    """
    tokens -= SPECIAL_TOKENS
    passages: list[Document] = []
    document_of: dict[str, str] = {}
    part_of: dict[str, str] = {}
    for document in documents:
        # A title stands before each passage, and leaves at least half of it to the text.
        room = tokens - min(rough_tokens(document.title), tokens // 2) if document.title else tokens
        title = document.title if rough_tokens(document.title) <= tokens // 2 else document.title[: 2 * _TITLE_TOKENS]
        for number, text in enumerate(_cut(document.text, room), 1):
            key = f"{document.id}#{number}"
            passages.append(Document(key, title, text))
            document_of[key] = document.id
            part_of[key] = f"{document.id}#{(number - 1) // PART_PASSAGES}"
    return Passages(documents=tuple(passages), document_of=document_of, part_of=part_of)


def rough_tokens(text: str) -> int:
    """Estimate the tokens of a text, rather too many than too few; the same on every machine.

    A tokenizer would decide ids, and with them which queries were paid for, by what happens to be installed.
    """
    return sum(math.ceil(len(piece) / _LETTERS_PER_TOKEN) for piece in _WORD.findall(text))


def draw_passages(passages: Passages, count: int, seed: int) -> dict[str, str]:
    """Return passages that queries are to be written for: one of each part of a document, then a second one, and so on.

    Of passages with one text the first is drawn. Left out are passages that are too short, and those whose text
    occurs in more than two parts, such as a licence: a query for them would tie all documents together.

    Returns:
        Passage id -> title and text, at most ``count``.
    """
    texts = passages.texts
    bodies = {passage.id: normalise(passage.text) for passage in passages.documents}
    parts: dict[str, set[str]] = {}
    first: dict[str, str] = {}
    for key, body in bodies.items():
        parts.setdefault(body, set()).add(passages.part_of[key])
        first.setdefault(body, key)
    usable = [
        passage.id
        for passage in passages.documents
        if first[bodies[passage.id]] == passage.id
        and len(parts[bodies[passage.id]]) <= 2
        and rough_tokens(passage.text) >= FEWEST_TOKENS
    ]
    ordered = sorted(usable, key=lambda key: sha256_text(f"{seed} {key}"))
    taken: dict[str, int] = {}
    turns: dict[str, int] = {}
    for key in ordered:
        turns[key] = taken.get(passages.part_of[key], 0)
        taken[passages.part_of[key]] = turns[key] + 1
    # Sorting is stable: within a turn the order by hash stays.
    chosen = sorted(ordered, key=lambda key: turns[key])[:count]
    return {key: texts[key] for key in chosen}


def _cut(text: str, tokens: int) -> list[str]:
    pieces = [
        (sentence, rough_tokens(sentence), begins)
        for block in text.split("\n")
        for sentence, begins in zip(_sentences(block, tokens), chain([True], repeat(False)), strict=False)
    ]
    total = sum(size for _, size, _ in pieces)
    target = total / max(1, math.ceil(total / tokens))
    passages: list[str] = []
    current, held = "", 0
    for piece, size, begins in pieces:
        if current and (held + size > tokens or held >= target):
            passages.append(current)
            current, held = "", 0
        separator = "\n" if begins else "" if current.endswith(tuple(_IDEOGRAPHIC_ENDS)) else " "
        current = f"{current}{separator}{piece}" if current else piece
        held += size
    return [*passages, current] if current else passages


def _sentences(block: str, tokens: int) -> list[str]:
    """Return the sentences of a block; longer ones are cut."""
    sentences = _SENTENCE_END.sub(r"\1\2\n", block).split("\n")
    return [piece for sentence in sentences if sentence.strip() for piece in _shortened(sentence.strip(), tokens)]


def _shortened(sentence: str, tokens: int) -> list[str]:
    pieces = []
    while rough_tokens(sentence) > tokens:
        # No token has more letters than this.
        low, high = 1, min(len(sentence) - 1, tokens * (_LETTERS_PER_TOKEN + 1))
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if rough_tokens(sentence[:middle]) <= tokens else (low, middle - 1)
        space = sentence.rfind(" ", low // 2, low + 1)
        end = space if space > 0 else low
        pieces.append(sentence[:end].strip())
        sentence = sentence[end:].strip()
    return [*pieces, sentence] if sentence else pieces
