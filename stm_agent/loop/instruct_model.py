"""The search for an instruction alone: any model, any judged collection, no training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from stm_agent.backbone.identity import source_identity
from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.beir import read_beir
from stm_agent.domain.collection import Collection
from stm_agent.domain.spec import InstructSpec
from stm_agent.errors import ConfigError, StopRequested
from stm_agent.evaluate.baselines import ReadyModel
from stm_agent.evaluate.scoring import ScoredTask, ScoringJob, read_scores
from stm_agent.execute.store import JobStore
from stm_agent.files import read_json, whole_folder, write_json
from stm_agent.instruct.job import RESULT, TRACES, FoundInstruction, InstructionJob, read_found
from stm_agent.job import numeric_versions
from stm_agent.llm.access import LlmAccess
from stm_agent.llm.options import DEFAULT_GENERATOR, LlmOptions
from stm_agent.loop.events import Observer
from stm_agent.loop.gate import Confirmation, Gate, GateSpec, GateState
from stm_agent.loop.halves import cut_dev
from stm_agent.loop.identity import Identity
from stm_agent.loop.instruct_report import InstructReport
from stm_agent.loop.instructing import written_candidates
from stm_agent.loop.prepare import CACHE, STAGES
from stm_agent.loop.runs import STOPPED, RunFolder, open_run
from stm_agent.loop.single import build_job
from stm_agent.loop.stopping import StoppableWatcher, StopSignal
from stm_agent.progress import watched_by
from stm_agent.traces import TraceStore, import_traces, read_traces

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


@dataclass(frozen=True, kw_only=True)
class InstructOptions:
    """Options of one search.

    Attributes:
        split: Judged queries; one part is searched on, the other accepts.
        task: One line: what a query is and what should be found.
        spec: Seeds, pool, optimiser and how they are scored.
        llm: The LLM that writes; None: seeds only.
        budget_usd: Ceiling on LLM money; None: no ceiling.
        seed: Seed of the search and of the test.
        alpha: One-sided error level.
    """

    split: str = "dev"
    task: str = "Given a query, find the passages that answer it."
    spec: InstructSpec = field(default_factory=InstructSpec)
    llm: LlmOptions | None = field(default_factory=lambda: LlmOptions(model=DEFAULT_GENERATOR))
    budget_usd: float | None = None
    seed: int = 0
    alpha: float = 0.05


@dataclass(frozen=True)
class _Accepted:
    winner: Instruction
    incumbent: Instruction
    outcome: Confirmation
    accepted: bool
    reason: str

    @property
    def instruction(self) -> Instruction:
        return self.winner if self.accepted else self.incumbent


def instruct_model(
    model: str, folder: Path, options: InstructOptions, *, workspace: Path, runs: Path, observer: Observer
) -> InstructReport:
    """Search an instruction for ``model`` on a BEIR folder; traces and result are in the run folder.

    The same call resumes a killed search and pays no LLM call twice.

    Raises:
        StopRequested: A stop was asked for; the trials so far are in the run's traces.
        ConfigError: The collection has no such split, or a file of ``prompts/`` cannot be used.
        BackboneError: The model cannot be loaded.
    """
    collection = read_beir(folder)
    if options.split not in collection.splits:
        raise ConfigError(
            f"{collection.name} has no split '{options.split}'; it has {', '.join(sorted(collection.splits))}"
        )
    seeds, framings = written_candidates(workspace, options.spec, options.task)
    run = open_run(runs, "instruct", _identity(model, collection, options, (*seeds, *framings)))
    try:
        if (finished := run.folder / RESULT).exists():
            stored: InstructReport = read_json(finished)
            return stored
        (run.folder / STOPPED).unlink(missing_ok=True)
        text = f"scoring instructions for {model} on {collection.name}"
        observer({"kind": "stage", "name": "instruct", "text": text})
        stop = StopSignal(run.folder)
        with stop.handling_signals(), watched_by(StoppableWatcher(observer, stop)):
            result = _search(model, collection, options, run, runs, seeds, framings, observer)
        write_json(finished, result)
        observer({"kind": "decision", "name": "instruct", "text": result["reason"]})
        return result
    finally:
        run.close()


def _search(
    model: str,
    collection: Collection,
    options: InstructOptions,
    run: RunFolder,
    runs: Path,
    seeds: Sequence[Instruction],
    framings: Sequence[Instruction],
    observer: Observer,
) -> InstructReport:
    split = collection.splits[options.split]
    gate = Gate(
        cut_dev(split, same_text=collection.same_text), GateSpec(alpha=options.alpha, looks=1, seed=options.seed)
    )
    observer({"kind": "warning" if gate.halves.small else "note", "name": "gate", "text": gate.halves.note})
    ready = ReadyModel(model)
    job = InstructionJob(
        model=ready,
        search=ScoredTask("search", collection.texts, split.only(gate.halves.search, "search")),
        seeds=tuple(seeds),
        framings=tuple(framings),
        incumbent=Instruction.none(ready.open().model.prompts),
        reflection=_access(options, run, runs),
        spec=options.spec,
        seed=options.seed,
        task=options.task,
        cache=runs / CACHE / "vectors",
    )
    try:
        stage = build_job(job, runs)
        found = read_found(stage)
        accepted = _accept(job, found, ScoredTask("dev", collection.texts, split), gate, options, runs)
    except StopRequested as stop:
        raise _stopped(stop, job, run, JobStore(runs / STAGES)) from stop
    names = import_traces(run.traces, stage / TRACES)
    TraceStore(run.traces).decide(names[found.trial], accepted=accepted.accepted, reason=accepted.reason)
    return _result(run.id, model, collection.name, options, found, accepted)


def _stopped(stop: StopRequested, job: InstructionJob, run: RunFolder, store: JobStore) -> StopRequested:
    """Store the trials so far in the run; return the stop with the best of them, which no test has accepted yet."""
    traces = (store.find(job) or store.checkpoints(job)) / TRACES
    import_traces(run.traces, traces)
    tried = [(trace["mean"], trace) for trace in read_traces(run.traces) if trace["mean"] is not None]
    about: dict[str, object] | None = None
    text = "no instruction was scored yet"
    if tried:
        mean, best = max(tried, key=lambda row: (row[0], -len(row[1]["text"] + row[1]["passage"])))
        about = {"trial": best["trial"], "text": best["text"], "passage": best["passage"], "mean": mean}
        framed = f" with passages '{best['passage']}'" if best["passage"] else ""
        text = (
            f"{len(tried)} instructions scored, the best so far is '{best['text'] or 'none'}'{framed} "
            f"(nDCG@10 {mean:.4f} on the search half, not accepted yet)"
        )
    write_json(run.folder / STOPPED, {"reason": str(stop), "tried": len(tried), "best": about})
    return StopRequested(f"{stop}; {text}; the same command resumes run {run.id}")


def write_instructed(model: SentenceTransformer, result: InstructReport, folder: Path) -> None:
    """Save a model with the accepted prefixes as its prompts, which ``encode_query`` and ``encode_document`` apply."""
    model.prompts = {**model.prompts, "query": result["query_prefix"], "document": result["passage_prefix"]}
    with whole_folder(folder) as partial:
        model.save(str(partial))


def _identity(
    model: str, collection: Collection, options: InstructOptions, candidates: tuple[Instruction, ...]
) -> Identity:
    return {
        "kind": "instruct",
        "model": source_identity(model),
        "collection": collection.content_hash,
        "candidates": [candidate.texts for candidate in candidates],
        "versions": numeric_versions(),
        "options": {
            "split": options.split,
            "task": options.task,
            "spec": options.spec.model_dump(mode="json"),
            "llm": options.llm.identity if options.llm else None,
            "seed": options.seed,
            "alpha": options.alpha,
        },
    }


def _access(options: InstructOptions, run: RunFolder, runs: Path) -> LlmAccess | None:
    if options.llm is None:
        return None
    return LlmAccess(
        options=options.llm, cache=runs / CACHE / "llm", ledger=run.llm_ledger, clock=None, usd=options.budget_usd
    )


def _accept(
    job: InstructionJob, found: FoundInstruction, dev: ScoredTask, gate: Gate, options: InstructOptions, runs: Path
) -> _Accepted:
    """Test the winner of the search against the incumbent on the accept half."""
    winner, incumbent = (
        read_scores(build_job(ScoringJob(job.model, ((dev, instruction),), job.cache), runs))["dev"].per_query
        for instruction in (found.winner, job.incumbent)
    )
    verdict = gate.consider(winner, incumbent, tried=found.tried, costly=True)
    outcome, _ = gate.confirm(winner, incumbent, GateState(), tried=found.tried, last=True)
    better = found.winner.texts != job.incumbent.texts
    accepted = better and verdict.accepted and outcome.confirmed and verdict.gain >= options.spec.min_effect
    if not better:
        reason = "the instruction stays as it was: nothing was better on the search half"
    else:
        framed = f" with passages '{found.winner.passage}'" if found.winner.passage else ""
        state = "accepted" if accepted else "not accepted"
        reason = f"{state} '{found.winner.query}'{framed}: {verdict.reason}; {outcome.reason}"
    if found.winner.texts != found.favourite.texts:
        reason += f"; the sub-corpus preferred '{found.favourite.query or 'none'}', the whole corpus decided"
    return _Accepted(found.winner, job.incumbent, outcome, accepted, reason)


def _result(
    run: str, model: str, collection: str, options: InstructOptions, found: FoundInstruction, accepted: _Accepted
) -> InstructReport:
    instruction = accepted.instruction
    return {
        "run": run,
        "model": model,
        "collection": collection,
        "split": options.split,
        "accepted": accepted.accepted,
        "instruction": instruction.query,
        "passage_instruction": instruction.passage,
        "origin": instruction.origin,
        "query_prefix": instruction.query_prefix,
        "passage_prefix": instruction.passage_prefix,
        "gain": asdict(accepted.outcome),
        "tried": found.tried,
        "finalists": [
            {
                "instruction": finalist.instruction.query,
                "passage_instruction": finalist.instruction.passage,
                "sub_corpus": finalist.inner,
                "whole_corpus": finalist.full,
            }
            for finalist in found.finalists
        ],
        "corpora_agree": found.winner.texts == found.favourite.texts,
        "reason": accepted.reason,
    }
