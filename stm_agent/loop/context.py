"""The objects that all levers of one run share, and the one way in which levers run jobs and rate models."""

from __future__ import annotations

import dataclasses
import math
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from stm_agent.backbone.instruction import Instruction
from stm_agent.backbone.memory_errors import memory_errors
from stm_agent.clock import RunClock
from stm_agent.domain.collection import Split
from stm_agent.domain.data import DomainData
from stm_agent.domain.firewall import Firewall
from stm_agent.domain.spec import BackboneSpec, DomainSpec
from stm_agent.errors import StmAgentError
from stm_agent.evaluate.bm25 import Bm25Index
from stm_agent.evaluate.cache import EmbeddingCache
from stm_agent.evaluate.encoder import EncoderSource
from stm_agent.evaluate.metrics import Run, Scores
from stm_agent.evaluate.proof import PROOF_DOCUMENTS, PROOF_QUERIES
from stm_agent.evaluate.scoring import (
    ScoredTask,
    ScoringJob,
    dense_run,
    encoding_of,
    mean_ndcg,
    read_first,
    read_scores,
)
from stm_agent.evaluate.subcorpus import subcorpus
from stm_agent.execute.inline import Executor
from stm_agent.execute.manifest import read_manifest
from stm_agent.files import sha256_text
from stm_agent.job import Job
from stm_agent.llm.access import LlmAccess
from stm_agent.loop.events import Observer
from stm_agent.loop.failures import BUDGET, MINUTES, NEVER_CAUGHT, Failure, failure_kind
from stm_agent.loop.gate import Gate
from stm_agent.loop.recorder import Recorder
from stm_agent.loop.run_plan import RunPlan, Speed
from stm_agent.loop.runs import RunFolder
from stm_agent.loop.state import Expert, RatedModel
from stm_agent.loop.stopping import StopSignal
from stm_agent.memory import PeakMemory
from stm_agent.merge.adapted import AdaptedModel
from stm_agent.merge.job import Rating

HARD = 20
"""Passages that each retriever gives for each query to a part of the corpus."""

FOR_LEVERS = 0.9
"""Share of the minutes after which no lever starts, at the latest: the rest is for export and test."""


@dataclass(kw_only=True)
class RunContext(Recorder):
    """State and services shared by the levers of one run. Only ``firewall`` holds test judgements.

    Attributes:
        spec: The domain.
        seed: Seed of batches, searches and tests.
        run: The run's folder, locked.
        executor: Where jobs run.
        cache: Folder of cached vectors.
        observer: Receives events.
        clock: Wall time over all processes of the run.
        stop: Request to stop.
        minutes: Ceiling on that time, in minutes; None: no ceiling.
        data: Corpus, dev and training data, without test.
        guards: General tasks that show forgetting.
        held_guards: The same tasks with queries that no lever is scored on, for the report.
        firewall: Holds test back.
        own_backbone: The domain's backbone before a user named starts; its learning rates were chosen for it.
        finished_before: Whether the run was finished once and continues with a raised budget.
        gate: The cut dev set and its tests.
        generator: The LLM that writes.
        reflection: The LLM that reflects on instructions.
        workspace: Folder with ``programs/`` and ``prompts/``.
        memory: Peak memory.
        failures: Levers that were lost.
        warnings: Degradations so far.
        notes: Remarks so far.
        plan: What the run works with where the domain left it open; None: nothing was left open.
        trained: Experts so far, including those of an unfinished round.
        speed: Encoding speed of the backbone on this machine; None: not measured yet.
        ending: Seconds that export and test take, about; 0: not estimated.
        spared: Seconds of these that they do not take while passages keep the vectors they have.
        encoded: Texts and seconds of all scorings.
        stage_seconds: Seconds that the stages took which this process used, whoever built them.
    """

    spec: DomainSpec
    seed: int
    run: RunFolder
    executor: Executor
    cache: Path
    observer: Observer
    clock: RunClock
    stop: StopSignal
    minutes: float | None
    data: DomainData
    guards: tuple[ScoredTask, ...]
    held_guards: tuple[ScoredTask, ...]
    firewall: Firewall
    own_backbone: BackboneSpec
    finished_before: bool
    gate: Gate
    generator: LlmAccess
    reflection: LlmAccess
    workspace: Path
    memory: PeakMemory = field(default_factory=PeakMemory)
    failures: list[Failure] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    plan: RunPlan | None = None
    trained: list[Expert] = field(default_factory=list)
    speed: Speed | None = None
    ending: float = 0.0
    spared: float = 0.0
    encoded: tuple[int, float] = (0, 0.0)
    stage_seconds: float = 0.0

    # --- what is scored ---

    @property
    def documents(self) -> Mapping[str, str]:
        """The whole corpus: document id -> text."""
        return self.dev.documents

    @cached_property
    def dev(self) -> ScoredTask:
        """The whole corpus with all dev queries: the only judged split the levers may read."""
        return ScoredTask("dev", self.data.collection.texts, self.firewall.dev)

    @cached_property
    def lexical(self) -> Bm25Index:
        """BM25 over the whole corpus, indexed once a process."""
        return Bm25Index(self.documents)

    @cached_property
    def search(self) -> ScoredTask:
        """The search half of dev over the searched part of the corpus: what levers choose on."""
        split = self.firewall.dev.only(self.gate.halves.search, "dev-search")
        with self.clock.working():
            runs, size = self.rankings(split, dense=True), self.spec.loop.search_documents
            return ScoredTask("search", subcorpus(self.documents, split, runs, HARD, size=size), split)

    def searched(self, name: str, size: int, queries: int | None = None) -> ScoredTask:
        """Return the search half, or some of its queries, over fewer passages: judged and hard for BM25 first."""
        split = self.search.split
        if queries is not None:
            split = split.only(sorted(split.queries, key=sha256_text)[:queries], split.name)
        part = subcorpus(self.search.documents, split, self.rankings(split, dense=False), HARD, size=size)
        return ScoredTask(name, part, split)

    def rankings(self, split: Split, *, dense: bool) -> Iterator[Run]:
        """Yield what BM25, and the start if asked for, ranks first for each query of a split."""
        yield self.lexical.run(split.queries, HARD, split.ignored_ids)
        if dense:
            encoder = self.backbone.open()
            instruction = Instruction.none(encoder.model.prompts)
            yield dense_run(EmbeddingCache(self.cache), encoder, self.documents, split, instruction, HARD)

    @cached_property
    def accept(self) -> ScoredTask:
        """The accept half of dev over the whole corpus: what a confirmation is tested on."""
        return ScoredTask("accept", self.documents, self.firewall.dev.only(self.gate.halves.accept, "dev-accept"))

    @cached_property
    def probed(self) -> ScoredTask:
        """What probes are scored on: comparable between probes, not with a rating."""
        return self.searched("probe", self.spec.loop.probe_documents)

    @cached_property
    def proved(self) -> ScoredTask:
        """What an exported folder is scored on in a process of its own."""
        return self.searched("proof", PROOF_DOCUMENTS, PROOF_QUERIES)

    def rate(self, model: EncoderSource, instruction: Instruction) -> Rating:
        """Score the search half and the guards. Guards get no instruction, as in general use of the model."""
        plain = instruction.unsaid()
        tasks = ((self.search, instruction), *((guard, plain) for guard in self.guards))
        scores = self._scores(ScoringJob(model, tasks, self.cache))
        return Rating(scores[self.search.name], mean_ndcg([scores[guard.name] for guard in self.guards]))

    def accept_scores(self, rated: RatedModel) -> Mapping[str, float]:
        """Return nDCG@10 of each query of the accept half over the whole corpus; only the gate may ask."""
        return self.score(rated.model, self.accept, rated.instruction).per_query

    def score(self, model: EncoderSource, task: ScoredTask, instruction: Instruction) -> Scores:
        """Score one task."""
        return self._scores(self.scoring_job(model, task, instruction))[task.name]

    def scoring_job(self, model: EncoderSource, task: ScoredTask, instruction: Instruction) -> ScoringJob:
        """Return the job of :meth:`score`."""
        return ScoringJob(model, ((task, instruction),), self.cache)

    def first_documents(self, model: EncoderSource, task: ScoredTask, instruction: Instruction) -> dict[str, list[str]]:
        """Return the first documents of each query of a task that was scored before."""
        return read_first(self.build(self.scoring_job(model, task, instruction)), task.name)

    def _scores(self, job: ScoringJob) -> dict[str, Scores]:
        folder = self.build(job)
        texts, seconds = encoding_of(folder)
        self.encoded = (self.encoded[0] + texts, self.encoded[1] + seconds)
        return read_scores(folder)

    @property
    def backbone(self) -> AdaptedModel:
        """The model before adaptation."""
        return AdaptedModel(self.spec.backbone)

    # --- running jobs ---

    def build(self, job: Job) -> Path:
        """Return the folder of a job, built if necessary, and record it."""
        with self.clock.working(), memory_errors(f"running stage {job.kind}"):
            (folder,) = self.executor.run([job])
        self.stage_seconds += float(read_manifest(folder)["seconds"])
        self.run.ledger.record("stage", name=job.kind, folder=folder.name)
        return folder

    def expect(self, jobs: Iterable[Job]) -> None:
        """Let the executor start jobs that will be asked for soon; inline, ``jobs`` is not even read."""
        with self.clock.working():
            self.executor.expect(jobs)

    @contextmanager
    def attempt(self, lever: str) -> Iterator[list[Exception]]:
        """Run a lever whose failure costs the lever, not the run; the failure is recorded and shown.

        Yields:
            A list that holds the error after the block, if there was one.

        Raises:
            StopRequested: A stop was asked for.
            StorageError: Nothing can be written any more.
        """
        caught: list[Exception] = []
        try:
            yield caught
        except NEVER_CAUGHT:
            raise
        except Exception as error:
            # A library or a user's program may raise anything; hours of work must not be lost because of it.
            caught.append(error)
            self.fail(lever, error)

    def fail(self, lever: str, error: Exception) -> None:
        """Record a lost lever."""
        message = " ".join(str(error).split()) or type(error).__name__
        reason = message if isinstance(error, StmAgentError) else f"{type(error).__name__}: {message}"
        failure = Failure(lever, failure_kind(error), reason)
        if failure not in self.failures:
            self.failures.append(failure)
        trace = "" if isinstance(error, StmAgentError) else "".join(traceback.format_exception(error))[-4000:]
        text = f"{lever} failed, the run continues without it: {reason}"
        self.observer({"kind": "failure", "name": lever, "text": text})
        self.run.ledger.record("failure", **dataclasses.asdict(failure), traceback=trace)

    def seconds_left(self) -> float:
        """Return the seconds that levers have left, less what export and test take; infinite without a ceiling."""
        if self.minutes is None:
            return math.inf
        seconds = self.minutes * 60
        return min(seconds * FOR_LEVERS, seconds - self.ending + self.spared) - self.clock.seconds()

    def has_time(self, lever: str, needed: float = 0.0) -> bool:
        """Return whether there is time for a lever; if not, record it as lost to the budget of minutes.

        Args:
            lever: Its name.
            needed: Seconds that it needs; 0: not known.

        A lever that an earlier process of the run started in time is repeated whatever the clock says, so that finished
        stages are not thrown away by a resume.
        """
        left = self.seconds_left()
        in_time = left > needed
        if in_time or self.run.ledger.repeats("started", lever=lever):
            self.run.ledger.record("started", lever=lever)
            return True
        # The minutes of a planned run decide its steps, so that more of them make another run.
        planned = self.run.identity.get("flags", {}).get("minutes")
        more = "plan a longer run with a higher --budget-minutes" if planned else "raise --budget-minutes to continue"
        spent = "is spent" if left <= 0 else "leaves too little time for it"
        reason = f"budget of {self.minutes:g} minutes {spent}; {more}"
        failure = Failure(lever, MINUTES if planned else BUDGET, reason)
        if failure not in self.failures:
            self.failures.append(failure)
            self.observer({"kind": "failure", "name": lever, "text": f"{lever} skipped: {reason}"})
            self.run.ledger.record("failure", **dataclasses.asdict(failure), traceback="")
        return False
