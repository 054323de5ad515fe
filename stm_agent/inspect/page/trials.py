"""Trials in detail: the text against its parent's, the chat as it was sent, what the LLM was shown, scores and cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

from stm_agent.inspect.page.record import RunRecord, Values
from stm_agent.traces import Trial, changes, word_diff

SHOWN_CHANGES = 12
"""Queries that a trial is shown with, those that changed most against its parent first."""
LONGEST_TEXT = 12_000
"""Characters of one message or answer that are shown; the whole is in ``traces.jsonl``."""
MOST_WORDS = 4_000
"""Words of both texts up to which their difference is found word by word; beyond it both are shown whole."""


class Message(TypedDict):
    """One message of a chat."""

    role: str
    content: str


class QueryChange(TypedDict):
    """A query whose score differs from the parent's, with the passage that each found first."""

    query: str
    before: float
    after: float
    first_before: str
    first_after: str


class TrialView(TypedDict):
    """One trial of an instruction or a program.

    Attributes:
        words: Mark (`` `` kept, ``-`` gone, ``+`` new) and words against the parent; empty without a parent.
        passage: Text in front of passages.
        passage_words: The same as ``words`` of it; empty also if neither has such a text.
        fields: Scores and cost, as name and value.
    """

    text: str
    passage: str
    parent: str | None
    words: list[tuple[str, str]]
    passage_words: list[tuple[str, str]]
    chat: list[Message]
    shown: list[dict[str, str]]
    fields: list[tuple[str, str]]
    won: int
    lost: int
    changes: list[QueryChange]
    address: str


NO_TRIALS: dict[str, TrialView] = {}


def trials(record: RunRecord) -> dict[str, TrialView]:
    """Return the details of every dot that has any, by the dot's id."""
    traces = {trace["trial"]: trace for trace in record.traces}
    found = {
        f"{trace['lever']}:{trace['trial']}": _trial(trace, traces.get(trace["parent"] or ""), record.texts)
        for trace in record.traces
    }
    found |= {f"expert:{entry['name']}": _plain(_expert(entry)) for entry in record.events("expert")}
    merges = enumerate(record.events("merge"), 1)
    return found | {f"merge:{number}": _plain(_merge(entry)) for number, entry in merges}


def _trial(trace: Trial, parent: Trial | None, texts: tuple[Mapping[str, str], Mapping[str, str]]) -> TrialView:
    moved = changes(trace, parent) if parent and trace["per_query"] and parent["per_query"] else {}
    chat = [Message(role=message["role"], content=_cut(message["content"])) for message in trace["messages"]]
    if trace["answer"]:
        chat.append(Message(role="answer", content=_cut(trace["answer"])))
    return {
        "text": _cut(trace["text"]),
        "passage": _cut(trace["passage"]),
        "parent": trace["parent"],
        "words": _words(trace["text"], parent["text"]) if parent else [],
        "passage_words": _words(trace["passage"], parent["passage"]) if parent else [],
        "chat": chat,
        "shown": [_example(example) for example in trace["shown"]],
        "fields": _fields(trace),
        "won": sum(change > 0 for change in moved.values()),
        "lost": sum(change < 0 for change in moved.values()),
        "changes": [_change(query, trace, parent, texts) for query in list(moved)[:SHOWN_CHANGES] if parent],
        "address": trace["trial"],
    }


def _example(example: Values) -> dict[str, str]:
    """Return an example that the reflecting LLM was shown, the query first."""
    known = [name for name in ("query", "score", "wanted", "instead", "why") if name in example]
    values = {name: example[name] for name in (*known, *example)}
    texts = {name: f"{value:.3f}" if isinstance(value, float) else str(value) for name, value in values.items()}
    return {name: _cut(text) for name, text in texts.items()}


def _words(text: str, parent: str) -> list[tuple[str, str]]:
    if len(text.split()) + len(parent.split()) > MOST_WORDS:
        return [("-", _cut(parent)), ("+", _cut(text))]
    return word_diff(parent, text)


def _change(query: str, trace: Trial, parent: Trial, texts: tuple[Mapping[str, str], Mapping[str, str]]) -> QueryChange:
    queries, passages = texts

    def first(row: Trial) -> str:
        name, *_ = row["top"].get(query) or [""]
        return passages.get(name, name)

    return {
        "query": queries.get(query, query),
        "before": parent["per_query"].get(query, 0.0),
        "after": trace["per_query"][query],
        "first_before": first(parent),
        "first_after": first(trace),
    }


def _fields(trace: Trial) -> list[tuple[str, str]]:
    fields = [("origin", trace["origin"])]
    if trace["mean"] is not None:
        passages = f" over {trace['passages']:,} passages" if trace["passages"] else ""
        fields.append(("nDCG@10 in the search", f"{trace['mean']:.4f}{passages}"))
    if trace["full"] is not None:
        fields.append(("nDCG@10 by mteb", f"{trace['full']:.4f}"))
    fields.append(("cost", f"{trace['tokens']:,} tokens, {trace['usd']:.4f} USD, {trace['seconds']:.2f} s"))
    return [*fields, ("program", trace["program"])] if trace["program"] else fields


def _plain(fields: list[tuple[str, str]]) -> TrialView:
    """Return a trial without text: an expert or a merge."""
    return {
        "text": "",
        "passage": "",
        "parent": None,
        "words": [],
        "passage_words": [],
        "chat": [],
        "shown": [],
        "fields": fields,
        "won": 0,
        "lost": 0,
        "changes": [],
        "address": "",
    }


def _expert(entry: Values) -> list[tuple[str, str]]:
    kinds = ", ".join(f"{number:,} {kind}" for kind, number in sorted(entry.get("negatives", {}).items()))
    return [
        ("variant", entry["variant"]),
        ("steps", f"{entry['steps']:,}"),
        ("pairs", f"{entry['pairs']:,}"),
        ("hard negatives", kinds or "none"),
        ("nDCG@10 on the search half", f"{entry['search']:.4f}"),
        ("general tasks", f"{entry['general']:.4f}"),
        ("stage", entry["folder"]),
    ]


def _merge(entry: Values) -> list[tuple[str, str]]:
    named = zip(entry["experts"], entry["weights"], strict=True)
    surrogate, method = entry.get("surrogate"), entry.get("method", {})
    return [
        ("weights", ", ".join(f"{name} {weight:.3f}" for name, weight in named)),
        ("method", str(method.get("method", "task-arithmetic"))),
        ("nDCG@10 on the search half", f"{entry['dev']:.4f}"),
        ("guess of the surrogate", "none" if surrogate is None else f"{surrogate:.4f}"),
        ("general tasks", f"{entry['general']:.4f}"),
        ("keeps the forgetting budget", "yes" if entry.get("allowed", True) else "no"),
    ]


def _cut(text: str) -> str:
    rest = len(text) - LONGEST_TEXT
    return text if rest <= 0 else f"{text[:LONGEST_TEXT]} [... {rest:,} more characters are in traces.jsonl]"
