"""Traces: the origin and result of every candidate, append-only, one JSON line each."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NotRequired, TypedDict, cast

from stm_agent.backbone.instruction import Instruction
from stm_agent.errors import ConfigError
from stm_agent.files import append_jsonl, content_hash, read_jsonl

SCHEMA = 2


@dataclass(frozen=True)
class Trace:
    """One candidate that was tried.

    Attributes:
        lever: The lever it belongs to: ``instruction`` or ``program``.
        text: The candidate itself; for a program, the instructions of its signature.
        origin: Where it comes from: ``none``, ``seed:<id>``, ``pool``, ``reflection``, ``demonstrations``, ``copro``,
            ``mipro``, ``workspace``, or ``search`` for a program that a search of the run found.
        model: Start of the identity of the model it was scored with.
        parent: Trial it was made from.
        passage: The passage instruction used with it.
        mean: Mean score on the search half of dev; None if it was refused before scoring.
        passages: Passages it was scored on.
        per_query: nDCG@10 of each query.
        top: Best passages of each query.
        messages: The LLM's whole chat.
        answer: Its raw answer.
        shown: Examples it was shown.
        tokens: Tokens of that call.
        usd: Price of that call.
        seconds: Waiting for the LLM and scoring, together.
        program: File of the generator's program, for a ``program`` trial.
    """

    lever: str
    text: str
    origin: str
    model: str
    parent: str | None = None
    passage: str = ""
    mean: float | None = None
    passages: int = 0
    per_query: dict[str, float] = field(default_factory=dict)
    top: dict[str, list[str]] = field(default_factory=dict)
    messages: list[dict[str, str]] = field(default_factory=list)
    answer: str = ""
    shown: list[dict[str, object]] = field(default_factory=list)
    tokens: int = 0
    usd: float = 0.0
    seconds: float = 0.0
    program: str = ""


EMPTY = asdict(Trace("", "", "", ""))


class TrialResult(TypedDict):
    """What was tried, and what became of it.

    Attributes:
        trial: Its name.
        full: nDCG@10 over the whole corpus by mteb; None: not measured.
        accepted: Whether it was accepted.
        reason: Why, or why not; empty: nothing was decided.
    """

    trial: str
    text: str
    passage: str
    origin: str
    parent: str | None
    mean: float | None
    full: float | None
    accepted: bool
    reason: str


class Trial(TrialResult):
    """A :class:`Trace` as it is read back, with its last decision; ``time``: older files have none."""

    lever: str
    model: str
    passages: int
    per_query: dict[str, float]
    top: dict[str, list[str]]
    messages: list[dict[str, str]]
    answer: str
    shown: list[dict[str, object]]
    tokens: int
    usd: float
    seconds: float
    program: str
    time: NotRequired[str]


class TrialChat(TrialResult):
    """A trial as chat messages, for use elsewhere.

    Attributes:
        messages: OpenAI's format: the instruction as system and a query as user message, as instruction-tuned embedding
            servers expect.
        encoded: The same as one string.
        written_by: The chat with the answer that the trial was read from; empty if no LLM wrote it.
    """

    messages: list[dict[str, str]]
    encoded: str
    written_by: list[dict[str, str]]


class TraceStore:
    """The trace file of a run; a resumed search does not write its old trials again."""

    def __init__(self, path: Path) -> None:
        """Open the file; it is created with the first trial."""
        self.path = path
        entries = read_jsonl(path)
        self._names: dict[str, str] = {entry["key"]: entry["trial"] for entry in entries if entry["event"] == "trial"}
        self._decided = {(entry["trial"], entry["reason"]) for entry in entries if entry["event"] == "decision"}
        self._final = {entry["trial"] for entry in entries if entry["event"] == "final"}
        self._described = {name for entry in entries if entry["event"] == "texts" for name in entry["passages"]}

    def add(self, trace: Trace) -> str:
        """Write a trial; return its name, ``i0001`` and so on."""
        # Without its cost, since a call that was answered from the cache is the same trial.
        content = [trace.lever, trace.text, trace.passage, trace.origin, trace.model, trace.parent, trace.answer]
        key = content_hash([*content, trace.mean, trace.passages])
        if key in self._names:
            return self._names[key]
        trial = f"{trace.lever[0]}{len(self._names) + 1:04d}"
        self._names[key] = trial
        append_jsonl(
            self.path, {"schema": SCHEMA, "event": "trial", "trial": trial, "key": key, "time": _now(), **asdict(trace)}
        )
        return trial

    def finalist(self, trial: str, *, full: float, passages: int) -> None:
        """Write a finalist's score over the whole corpus, as scored by mteb."""
        if trial not in self._final:
            self._final.add(trial)
            append_jsonl(
                self.path,
                {"schema": SCHEMA, "event": "final", "trial": trial, "full": full, "of": passages, "time": _now()},
            )

    def describe(self, queries: Mapping[str, str], passages: Mapping[str, str]) -> None:
        """Write the texts of queries, and the beginnings of the passages that trials name, each once."""
        new = {name: text for name, text in passages.items() if name not in self._described}
        if new:
            self._described.update(new)
            append_jsonl(self.path, {"schema": SCHEMA, "event": "texts", "queries": dict(queries), "passages": new})

    def decide(self, trial: str, *, accepted: bool, reason: str) -> None:
        """Write whether a trial was accepted, and why."""
        if (trial, reason) in self._decided:
            return
        self._decided.add((trial, reason))
        entry = {"schema": SCHEMA, "event": "decision", "trial": trial, "accepted": accepted, "reason": reason}
        append_jsonl(self.path, {**entry, "time": _now()})


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def read_traces(path: Path) -> list[Trial]:
    """Return a run's trials in order, each with its last decision, and finalists with their score ``full``."""
    trials: dict[str, Trial] = {}
    for entry in read_jsonl(path):
        name = entry.get("trial", "")
        if entry["event"] == "trial":
            # Older files have fewer fields.
            trials[name] = cast("Trial", {**EMPTY, **entry, "full": None, "accepted": False, "reason": ""})
        elif entry["event"] == "final" and name in trials:
            trials[name]["full"] = entry["full"]
        elif entry["event"] == "decision" and name in trials:
            trials[name]["accepted"], trials[name]["reason"] = entry["accepted"], entry["reason"]
    return list(trials.values())


def read_texts(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Return the queries and the passages' beginnings that a run's trials name."""
    queries: dict[str, str] = {}
    passages: dict[str, str] = {}
    for entry in read_jsonl(path):
        if entry["event"] == "texts":
            queries.update(entry["queries"])
            passages.update(entry["passages"])
    return queries, passages


def find_trace(traces: Sequence[Trial], trial: str) -> Trial:
    """Return one trial by name.

    Raises:
        ConfigError: The run has no trial of this name.
    """
    for trace in traces:
        if trace["trial"] == trial:
            return trace
    names = ", ".join(trace["trial"] for trace in traces[:8]) or "none"
    raise ConfigError(f"this run has no trial '{trial}'; it has {names}")


def children_of(traces: Sequence[Trial]) -> dict[str | None, list[Trial]]:
    """Return the trials made from each trial, in order; trials without a parent are under None."""
    names = {trace["trial"] for trace in traces}
    children: dict[str | None, list[Trial]] = {}
    for trace in traces:
        children.setdefault(trace["parent"] if trace["parent"] in names else None, []).append(trace)
    return children


def changes(trace: Trial, parent: Trial) -> dict[str, float]:
    """Return each query's gain (above 0) or loss against the parent, largest first; unchanged queries are left out."""
    before = parent["per_query"]
    differences = {query: value - before.get(query, 0.0) for query, value in trace["per_query"].items()}
    order = sorted(differences, key=lambda query: (-abs(differences[query]), query))
    return {query: round(differences[query], 4) for query in order if abs(differences[query]) > 1e-9}


def chat_of(trace: Trial, example: str) -> TrialChat:
    """Return a trial as chat messages: the LLM's chat that produced it, and the text that a retriever reads.

    Args:
        trace: The trial.
        example: A query that completes the retriever's text.
    """
    system = [{"role": "system", "content": trace["text"]}] if trace["text"] else []
    answer = [{"role": "assistant", "content": trace["answer"]}] if trace["answer"] else []
    return {
        "messages": [*system, {"role": "user", "content": example}],
        "encoded": Instruction(trace["text"]).query_prefix + example,
        "written_by": [*trace["messages"], *answer],
        "trial": trace["trial"],
        "text": trace["text"],
        "passage": trace["passage"],
        "origin": trace["origin"],
        "parent": trace["parent"],
        "mean": trace["mean"],
        "full": trace["full"],
        "accepted": trace["accepted"],
        "reason": trace["reason"],
    }


def exported(trace: Trial, *, plain: bool, example: str = "{query}") -> str:
    """Return a trial for other tools: JSON as from :func:`chat_of`, or plain text."""
    whole = chat_of(trace, example)
    if not plain:
        return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"
    chat = [f"[{message['role']}]\n{message['content']}" for message in whole["written_by"]]
    return "\n\n".join([*chat, f"[instruction]\n{trace['text']}", f"[encoded]\n{whole['encoded']}"]) + "\n"


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


def import_traces(run: Path, stage: Path) -> dict[str, str]:
    """Copy the trials of a stage's trace file into a run's, each once; return stage's trial name -> run's.

    Args:
        run: The run's trace file.
        stage: A trace file that a job wrote.
    """
    store = TraceStore(run)
    names: dict[str, str] = {}
    for entry in read_jsonl(stage):
        if entry["event"] == "trial":
            fields = {name: entry[name] for name in EMPTY if name in entry}
            fields["parent"] = names.get(entry["parent"]) if entry.get("parent") else None
            names[entry["trial"]] = store.add(Trace(**fields))
        elif entry["event"] == "final":
            store.finalist(names[entry["trial"]], full=entry["full"], passages=entry["of"])
        elif entry["event"] == "decision":
            store.decide(names[entry["trial"]], accepted=entry["accepted"], reason=entry["reason"])
        elif entry["event"] == "texts":
            store.describe(entry["queries"], entry["passages"])
    return names
