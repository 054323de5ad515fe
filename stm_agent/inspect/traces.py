"""Traces: how every candidate came to be, append-only, one JSON line each."""

from __future__ import annotations

import datetime
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from stm_agent.errors import ConfigError
from stm_agent.files import append_jsonl, content_hash, read_jsonl

SCHEMA = 1


@dataclass(frozen=True)
class Trace:
    """One tried candidate.

    Attributes:
        lever: Which lever it moves.
        text: The candidate itself.
        origin: ``none``, ``seed:<id>`` or ``reflection``.
        model: Start of the identity of the model it was scored with.
        parent: Trial it was made from.
        mean: Mean score on the searching half of dev; None where it was refused before scoring.
        per_query: nDCG@10 of each query.
        messages: The reflecting LLM's whole chat.
        answer: Its raw answer.
        tokens: Tokens of that call.
        usd: Price of that call.
        reason: Why it was refused, if it was.
    """

    lever: str
    text: str
    origin: str
    model: str
    parent: str | None = None
    mean: float | None = None
    per_query: dict[str, float] = field(default_factory=dict)
    messages: list[dict[str, str]] = field(default_factory=list)
    answer: str = ""
    tokens: int = 0
    usd: float = 0.0
    reason: str = ""


class TraceStore:
    """The trace file of a run. A resumed search meets its old trials and does not write them twice."""

    def __init__(self, path: Path) -> None:
        """Open the file, or begin one."""
        self.path = path
        entries = read_jsonl(path)
        self._known: dict[str, str] = {entry["key"]: entry["trial"] for entry in entries if entry["event"] == "trial"}
        self._decided = {(entry["trial"], entry["reason"]) for entry in entries if entry["event"] == "decision"}

    def add(self, trace: Trace) -> str:
        """Write a trial; return its name, ``i0001`` and so on."""
        # Cost is left out of the key: a call answered from the cache is the same trial.
        key = content_hash([trace.lever, trace.text, trace.origin, trace.model, trace.parent, trace.mean, trace.answer])
        if key in self._known:
            return self._known[key]
        trial = f"{trace.lever[0]}{len(self._known) + 1:04d}"
        self._known[key] = trial
        append_jsonl(
            self.path, {"schema": SCHEMA, "event": "trial", "trial": trial, "key": key, "time": _now(), **asdict(trace)}
        )
        return trial

    def decide(self, trial: str, *, accepted: bool, reason: str) -> None:
        """Write what became of a trial."""
        if (trial, reason) in self._decided:
            return
        self._decided.add((trial, reason))
        entry = {"schema": SCHEMA, "event": "decision", "trial": trial, "accepted": accepted, "reason": reason}
        append_jsonl(self.path, {**entry, "time": _now()})


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def read_traces(path: Path) -> list[dict[str, Any]]:
    """Return a run's trials in order, each with its last decision (``accepted``, ``reason``)."""
    trials: dict[str, dict[str, Any]] = {}
    for entry in read_jsonl(path):
        if entry["event"] == "trial":
            trials[entry["trial"]] = {**entry, "accepted": False}
        elif entry["trial"] in trials:
            trials[entry["trial"]].update(accepted=entry["accepted"], reason=entry["reason"])
    return list(trials.values())


def find_trace(traces: list[dict[str, Any]], trial: str) -> dict[str, Any]:
    """Return one trial by name.

    Raises:
        ConfigError: There is none.
    """
    for trace in traces:
        if trace["trial"] == trial:
            return trace
    names = ", ".join(trace["trial"] for trace in traces[:8]) or "none"
    raise ConfigError(f"there is no trial '{trial}' in this run; it has {names}")


def children_of(traces: list[dict[str, Any]]) -> dict[str | None, list[dict[str, Any]]]:
    """Return the trials made from each trial, in order; those made from none under None."""
    names = {trace["trial"] for trace in traces}
    children: dict[str | None, list[dict[str, Any]]] = {}
    for trace in traces:
        children.setdefault(trace["parent"] if trace["parent"] in names else None, []).append(trace)
    return children


def exported(trace: dict[str, Any], *, plain: bool) -> str:
    """Return a trial as others read it: OpenAI chat JSON with what came of it, or the chat as plain text.

    A trial that no LLM made has no chat; its text alone is exported.
    """
    answer = [{"role": "assistant", "content": trace["answer"]}] if trace["answer"] else []
    chat = [*trace["messages"], *answer]
    if plain:
        told = "\n\n".join(f"[{message['role']}]\n{message['content']}" for message in chat)
        return f"{told}\n\n[instruction]\n{trace['text']}\n" if chat else f"{trace['text']}\n"
    kept = {name: trace[name] for name in ("trial", "text", "origin", "parent", "mean", "accepted", "reason")}
    return json.dumps({"messages": chat, **kept}, indent=2, ensure_ascii=False) + "\n"


def word_diff(old: str, new: str) -> list[tuple[str, str]]:
    """Return the words of two texts as (mark, words): `` `` kept, ``-`` gone, ``+`` new."""
    import difflib

    before, after = old.split(), new.split()
    parts: list[tuple[str, str]] = []
    for kind, a, b, c, d in difflib.SequenceMatcher(a=before, b=after, autojunk=False).get_opcodes():
        if kind == "equal":
            parts.append((" ", " ".join(before[a:b])))
            continue
        parts += [(mark, " ".join(words)) for mark, words in (("-", before[a:b]), ("+", after[c:d])) if words]
    return parts
