"""Clean what LLMs wrote: the text that was asked for, without thoughts, wrappers, labels and remarks around it.

One place for whole and streamed answers. Whether the cleaned text can be used is decided in
:mod:`stm_agent.llm.checking`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Literal

Kind = Literal["query", "passage", "instruction"]
TEXT_RULES = 2
"""Version of the rules of cleaning and checking: part of the key of every stage that stores texts of an LLM."""

_THOUGHT = r"(?:think|thinking|thought|reasoning)"
_CLOSED_THOUGHT = re.compile(rf"<{_THOUGHT}>.*?</{_THOUGHT}>", re.DOTALL | re.IGNORECASE)
_END_OF_THOUGHT = re.compile(rf"^.*</{_THOUGHT}>", re.DOTALL | re.IGNORECASE)
_OPEN_THOUGHT = re.compile(rf"<{_THOUGHT}>.*$", re.DOTALL | re.IGNORECASE)
_BEGUN_TAG = re.compile(r"</?[a-z]{0,9}$", re.IGNORECASE)
_FENCE = re.compile(r"```[\w-]*[ \t]*\n?(.*?)(?:```|$)", re.DOTALL)
_WHAT = (
    r"quer(?:y|ies)|passages?|negatives?|answers?|texts?|questions?|instructions?|examples?|documents?|outputs?|"
    r"responses?|paragraphs?|versions?|sentences?|rewrites?"
)
_QUALIFIER = (
    r"hard|search|user|new|example|written|generated|short|near|similar|other|another|final|possible|my|your|the|a|an|"
    r"relevant|retrieval|better|improved|output|sample|one|negative"
)
_LABEL = re.compile(
    rf"^[#>*_`\s]*(?:(?:{_QUALIFIER})[\s_-]+){{0,3}}(?:{_WHAT})(?:[\s_-]+\d+)?[*_`\s]*[:\uff1a][*_`]*\s*",
    re.IGNORECASE,
)
_FOREIGN_LABEL = re.compile(
    r"^[#>*\s]*(?:查询|查詢|问题|問題|段落|クエリ|質問|検索クエリ|검색어|질문|запрос|вопрос|requête|pregunta|consulta|"
    r"anfrage|suchanfrage|frage|domanda)\s*\**[:\uff1a]\**\s*",
    re.IGNORECASE,
)
_INTERJECTION = re.compile(
    r"^(?:sure(?: thing)?|certainly|of course|okay|ok|absolutely|great|alright|no problem|got it)"
    r"(?:!|[,.:]?\s*\n|[,.]\s+(?=here|below|the following|this is)|[,.]?\s+(?=here(?:'s|\u2019s| is| are)\b))\s*",
    re.IGNORECASE,
)
_PREAMBLE = re.compile(
    rf"^(?:here(?:'s|\u2019s| is| are)|below (?:is|are)|the following (?:is|are))(?:"
    rf"[^\n:\uff1a]{{0,120}}?\b(?:{_WHAT})\b[^\n:\uff1a]{{0,60}}[:\uff1a]\s*|[^\n:\uff1a]{{0,120}}[:\uff1a]\s*\n\s*\n)"
    rf"|^this is [^\n:\uff1a]{{0,60}}\b(?:{_WHAT})\b[^\n:\uff1a]{{0,60}}[:\uff1a]\s*(?:\n|(?=\"))",
    re.IGNORECASE,
)
_REMARK = re.compile(
    r"^\W*(?:note|explanation|reasoning|rationale|why this works)\b[^\n]{0,20}:"
    r"|^\W*(?:let me know|i hope this|feel free)\b|hard negative|does(?: not|n't) answer the query",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"^\s*(?:\(?\d{1,2}[.):]|[-*•\u2013])\s+")
_AROUND = (
    *(("**", "**"), ("__", "__"), ("*", "*")),
    *zip("\"'“„«「『\u2018`", "\"'”“»」』\u2019`", strict=True),
)
"""Marks of emphasis and quotes, before and behind a text."""
_KEYS = ("query", "passage", "hard_negative", "negative", "instruction", "text", "answer", "content", "question")


def without_thoughts(text: str) -> str:
    """Return an answer without its thoughts; one that never ends its thought is empty.

    Some chat templates open the thought themselves, so that only its end is in the answer.
    """
    text = _CLOSED_THOUGHT.sub("", text)
    text = _END_OF_THOUGHT.sub("", text)
    return _OPEN_THOUGHT.sub("", text).strip()


def visible_text(received: str) -> str:
    """Return what can be shown of a streamed answer so far: no thoughts, and no tag that has only begun."""
    return _BEGUN_TAG.sub("", without_thoughts(received)).rstrip()


def clean_text(text: str, kind: Kind) -> str:
    """Return the text that was asked for.

    Thoughts, code fences, JSON objects, preambles ("Here is ..."), labels ("Query:"), numbers, remarks at the end and
    quotes around it are taken away. A passage keeps its paragraphs; a query or an instruction is one line.

    Args:
        text: The whole answer.
        kind: What was asked for.
    """
    text = without_thoughts(text)
    steps: tuple[Callable[[str], str], ...] = (_unfence, _unwrap_json, _without_preamble, _unquote)
    previous = None
    while previous != text:
        previous = text
        for step in steps:
            text = step(text).strip()
    text = _first_line(text) if kind != "passage" else _first_passage(_without_remarks(text))
    return _unquote(_without_preamble(text)).strip()


def text_lines(text: str) -> list[str]:
    """Return the texts of an answer that lists several, one on a line, each cleaned; empty lines are left out."""
    lines = [clean_text(line, "instruction") for line in _unfence(without_thoughts(text)).splitlines()]
    return [line for line in lines if line and not line.endswith(":")]


def _unfence(text: str) -> str:
    match = _FENCE.search(text) if "```" in text else None
    return match.group(1) if match and match.group(1).strip() else text.replace("```", "")


def _unwrap_json(text: str) -> str:
    if text[:1] not in "{[" or not text:
        return text
    try:
        inner = _from_json(json.loads(text))
    except ValueError:
        return text
    return inner if inner is not None else text


def _from_json(value: object) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return _from_json(value[0]) if value else None
    if isinstance(value, dict):
        named = [value[key] for key in _KEYS if isinstance(value.get(key), str)]
        texts = named or [entry for entry in value.values() if isinstance(entry, str)]
        return texts[0] if texts else None
    return None


def _without_preamble(text: str) -> str:
    for pattern in (_INTERJECTION, _PREAMBLE, _LABEL, _FOREIGN_LABEL):
        rest = pattern.sub("", text, count=1)
        # A text that is nothing but a label says what the LLM wrote, so it is left for the check to refuse.
        text = rest if rest.strip() else text
    return text


def _unquote(text: str) -> str:
    text = text.strip()
    for first, last in _AROUND:
        inner = text[len(first) : -len(last)]
        if inner and text.startswith(first) and text.endswith(last) and first not in inner and last not in inner:
            return inner.strip()
    # A quote that is never closed: the answer was cut, or only its first line is wanted.
    return text[1:].strip() if text[:1] in '"“„«' and not any(mark in text[1:] for mark in '"”“»') else text


def _first_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return _NUMBER.sub("", lines[0]).strip() if lines else ""


def _first_passage(text: str) -> str:
    """Return a passage whole; of several passages in a numbered list the first, without its number."""
    lines = [line for line in text.splitlines() if line.strip()]
    numbered = [bool(_NUMBER.match(line)) for line in lines]
    if not lines or not numbered[0]:
        return text
    first = _NUMBER.sub("", lines[0]).strip()
    # A list of short points is a passage of its own.
    several = any(numbered[1:]) and len(first.split()) < 8
    return text if several else first if any(numbered[1:]) else "\n".join([first, *lines[1:]])


def _without_remarks(text: str) -> str:
    paragraphs = re.split(r"\n\s*\n", text)
    while len(paragraphs) > 1 and _REMARK.search(paragraphs[-1]):
        paragraphs.pop()
    return "\n\n".join(paragraphs)
