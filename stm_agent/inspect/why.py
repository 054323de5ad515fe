"""Why a run's model is what it is: back to the looks, merge, experts, sources, programs and prompts it came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict, cast

from stm_agent.errors import StorageError
from stm_agent.files import read_json
from stm_agent.inspect.runs import read_report
from stm_agent.loop.history import ACTION
from stm_agent.loop.ledger import Ledger
from stm_agent.loop.looks import ChallengerRow
from stm_agent.loop.planning import PLAN
from stm_agent.loop.query_map import LEVER as QUERY_MAP
from stm_agent.loop.query_map import MAPPED
from stm_agent.loop.report_rows import Report
from stm_agent.merge.query_start import INCUMBENT
from stm_agent.traces import Trial, read_traces


class ReasonRow(TypedDict):
    """A reason as JSON, with those of its parts."""

    text: str
    parts: list[ReasonRow]


class ListedExpert(TypedDict, total=False):
    """What is read of an expert of a domain, whose fields differ between versions."""

    name: str
    start: str | None
    sources: list[str]


class Entry(TypedDict, total=False):
    """What is read of an entry of the ledger; each event has some of it."""

    event: str
    what: str
    challenger: ChallengerRow
    reason: str
    lever: str
    kept: bool
    text: str
    experts: list[str]
    dev: float
    name: str
    folder: str
    variant: str
    label: str
    held: int
    gain: float
    kept_step: int
    steps: int
    pairs: int
    search: float
    start: str
    sources: list[str]
    negatives: dict[str, int]
    action: dict[str, Any]
    number: int
    by: str
    model: str
    trial: str


@dataclass(frozen=True)
class Reason:
    """A part of the model, and the parts that it was made of.

    Attributes:
        text: What it is, and why, in one line.
        parts: What it came from.
    """

    text: str
    parts: tuple[Reason, ...] = ()

    def to_json(self) -> ReasonRow:
        """Return the reason and its parts as JSON values."""
        return {"text": self.text, "parts": [part.to_json() for part in self.parts]}


@dataclass(frozen=True)
class _Record:
    """What a run's folder holds."""

    report: Report
    ledger: tuple[Entry, ...]
    traces: tuple[Trial, ...]
    experts: Mapping[str, ListedExpert]
    trained: Mapping[str, Entry] = field(default_factory=dict)

    def events(self, name: str) -> Iterator[Entry]:
        """Yield the ledger's entries of one event."""
        return (entry for entry in self.ledger if entry["event"] == name)


def why(run: Path) -> Reason:
    """Walk back from the exported model of a run to what it came from.

    Args:
        run: The run's folder.

    Raises:
        RunError: The run has no report yet, or another version wrote its ledger.
    """
    ledger = tuple(cast("Entry", entry) for entry in Ledger(run / "ledger.jsonl").entries())
    record = _Record(
        report=read_report(run),
        ledger=ledger,
        traces=tuple(read_traces(run / "traces.jsonl")),
        experts={expert["name"]: expert for expert in _listed(run)},
        trained={entry["name"]: entry for entry in ledger if entry["event"] == "expert"},
    )
    report = record.report
    parts = [*_looks(record), *_taken(record), *_query_map(record), *_merge(record)]
    parts += [*_experts(record), *_instruction(record)]
    return Reason(f"model of run {report['run']}: {report['model_label']}", tuple(parts))


def reason_lines(reason: Reason, depth: int = 0) -> Iterator[str]:
    """Yield a reason and its parts as indented lines."""
    yield "  " * depth + reason.text
    for part in reason.parts:
        yield from reason_lines(part, depth + 1)


def _listed(run: Path) -> list[ListedExpert]:
    """Return the experts of the domain as the run worked with it: planned, or as in its file."""
    try:
        domain = read_json(run / PLAN)["spec"]
    except StorageError:
        domain = read_json(run / "run.json")["identity"]["domain"]
    experts: list[ListedExpert] = list(domain.get("experts", ()))
    return experts


def _looks(record: _Record) -> Iterator[Reason]:
    for look in record.events("look"):
        if look["what"] == "model":
            yield Reason(f"look at the accept half: {look['challenger']['label']} {look['reason']}")
    decisions = [entry for entry in record.events("decision") if entry["lever"] == "confirmation"]
    if decisions and not decisions[-1]["kept"]:
        yield Reason(decisions[-1]["text"])


def _taken(record: _Record, label: str | None = None) -> Iterator[Reason]:
    """Yield when the search half preferred a model; None: the exported one."""
    label = label or record.report["model_label"]
    taken = [
        entry
        for entry in record.events("decision")
        if entry["lever"] in ("merge", "start", QUERY_MAP) and entry.get("kept") and f": {label} " in entry["text"]
    ]
    yield from (Reason(f"taken on the search half: {entry['text']}") for entry in taken[-1:])


def _query_map(record: _Record) -> Iterator[Reason]:
    """Yield how the map on query vectors was trained, and when the model without it was taken."""
    label = record.report["model_label"]
    for entry in [entry for entry in record.events(QUERY_MAP) if entry["label"] == label][-1:]:
        text = (
            f"map on query vectors: {entry['kept_step']} of {entry['steps']} steps, {entry['gain']:+.4f} on "
            f"{entry['held']:,} held-out train queries, {entry['search']:.4f} on the search half"
        )
        yield Reason(text, tuple(_taken(record, label.removesuffix(MAPPED))))


def _merge(record: _Record) -> Iterator[Reason]:
    """Yield the search that the weights come from, if the model is a merge."""
    weights = record.report["weights"]
    encoded = [entry for entry in record.events("merge") if set(weights) <= set(entry["experts"])]
    if len(weights) < 2 or not encoded:
        return
    newest = [entry for entry in encoded if entry["experts"] == encoded[-1]["experts"]]
    best = max(entry["dev"] for entry in newest)
    experts = ", ".join(newest[-1]["experts"])
    yield Reason(f"merge search over {experts}: {len(newest)} merges encoded, the best {best:.4f} on the search half")


def _experts(record: _Record) -> Iterator[Reason]:
    """Yield the experts of the model, those of the side of passages first."""
    weights = dict(record.report["weights"])
    for name in _passage_experts(record, set(weights)):
        yield _expert(record, name, "encodes the passages, and is where the experts of queries start")
    for name, weight in weights.items():
        yield _expert(record, name, f"weight {weight:.2f}")


def _passage_experts(record: _Record, shown: set[str]) -> list[str]:
    """Return the experts of the side of passages, if the exported model has one side for queries."""
    label = record.report["model_label"]
    looks = [look for look in record.events("look") if look.get("challenger", {}).get("label") == label]
    if not looks or not looks[-1]["challenger"]["queries"]:
        return []
    challenger = looks[-1]["challenger"]
    used = zip(challenger["adapters"], challenger["weights"], strict=True)
    folders = {Path(adapter).parent.name for adapter, weight in used if weight}
    return [name for name, entry in record.trained.items() if entry["folder"] in folders and name not in shown]


def _expert(record: _Record, name: str, role: str) -> Reason:
    entry = record.trained.get(name)
    if name == INCUMBENT:
        return Reason(f"{name}, {role}: the model that encodes the passages")
    if entry is None:
        return Reason(f"expert {name}, {role}")
    text = (
        f"expert {name}, {role}: {entry['variant']}, {entry['steps']} steps on {entry['pairs']:,} pairs, "
        f"{entry['search']:.4f} on the search half"
    )
    stem, _, round_ = name.partition("@")
    spec: ListedExpert = record.experts.get(stem.split(" ")[0].rstrip("+"), {})
    parts = _decision(record, spec.get("name", stem), int(round_ or 1), len(stem) - len(stem.rstrip("+")))
    if spec.get("start"):
        parts.append(Reason(f"starts from expert {spec['start']}"))
    if entry.get("start"):
        raced = [row for row in record.events("start") if row["model"] == entry["start"]]
        scores = "".join(f", {row['search']:.4f} on the search half without adaptation" for row in raced[:1])
        decided = (_decided(row) for row in record.events(ACTION) if row["action"].get("model") == entry["start"])
        parts.append(Reason(f"stands on another start, {entry['start']}{scores}", tuple(decided)[:1]))
    # Ledgers of earlier versions name no sources.
    parts += [_source(record, source) for source in entry.get("sources", spec.get("sources", ()))]
    if entry["negatives"]:
        kinds = ", ".join(f"{number:,} {kind}" for kind, number in sorted(entry["negatives"].items()))
        parts.append(Reason(f"hard negatives: {kinds}", tuple(_programs(record, entry["negatives"]))))
    return Reason(text, tuple(parts))


def _decision(record: _Record, expert: str, round_: int, again: int) -> list[Reason]:
    """Return the decision to train an expert: of a round's several, the one that its name counts."""
    reasons = []
    for entry in record.events(ACTION):
        action = entry["action"]
        # An expert for a slice has the name of the slice.
        name = action.get("expert") or f"slice-{action.get('by', '').lower()}-{action.get('slice', '')}"
        stem = name.partition("@")[0].split(" ")[0].rstrip("+")
        if stem == expert and action["round"] == round_:
            reasons.append(_decided(entry))
    return reasons[again : again + 1] or reasons


def _decided(entry: Entry) -> Reason:
    return Reason(f"decision {entry['number']}, {entry['action']['kind']}, by {entry['by']}: {entry['reason']}")


def _source(record: _Record, source: str) -> Reason:
    if source != "written":
        return Reason(f"source {source}")
    programs = [trace for trace in _writers(record) if "queries" in trace["program"]]
    return Reason("source written, by the generator", tuple(_trial(record, trace) for trace in programs))


def _programs(record: _Record, negatives: Mapping[str, int]) -> Iterator[Reason]:
    if negatives.get("synthetic"):
        for trace in _writers(record):
            if "queries" not in trace["program"]:
                yield _trial(record, trace)


def _writers(record: _Record) -> list[Trial]:
    """Return the trials of the programs that wrote data; a search of a program has trials of candidates beside them."""
    wrote = {entry["trial"] for entry in record.events("written")}
    return [trace for trace in record.traces if trace["lever"] == "program" and trace["trial"] in wrote]


def _instruction(record: _Record) -> Iterator[Reason]:
    text = record.report["instruction"]
    if not text:
        return
    looks = [
        Reason(f"look at the accept half: {look['reason']}")
        for look in record.events("look")
        if look["what"] == "instruction" and look["challenger"]["instruction"]["query"] == text
    ]
    trials = [trace for trace in record.traces if trace["lever"] == "instruction" and trace["text"] == text]
    accepted = [trace for trace in trials if trace["accepted"]] or trials
    yield Reason(f"instruction '{text}'", (*looks, *(_trial(record, trace) for trace in accepted[:1])))


def _trial(record: _Record, trace: Trial) -> Reason:
    """Return a trial with the one it was made from, back to a seed or a file of the workspace."""
    parents = [other for other in record.traces if other["trial"] == trace["parent"]]
    score = "" if trace["mean"] is None else f", {trace['mean']:.4f}"
    about = trace["program"] if trace["lever"] == "program" else f"'{trace['text']}'"
    reason = f": {trace['reason']}" if trace["reason"] else ""
    text = f"trial {trace['trial']} from {trace['origin']}{score}: {about}{reason}"
    return Reason(text, tuple(_trial(record, parent) for parent in parents))
