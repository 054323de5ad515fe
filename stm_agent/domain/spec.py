"""The domain file: frozen, every field documented with its unit and its "off" value, unknown keys refused."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from stm_agent.domain.audit_spec import AuditSpec
from stm_agent.domain.backbone_spec import Attention, BackboneSpec
from stm_agent.domain.collection_spec import (
    BeirCollection,
    CollectionSpec,
    HpoCollection,
    MtebCollection,
    PythonDocsCollection,
    WordNetCollection,
)
from stm_agent.domain.execution_spec import ExecutionSpec
from stm_agent.domain.fields import Count, Name, OpenShare, Positive, Real, Share, Spec, Switch
from stm_agent.domain.merge_spec import MergeSpec
from stm_agent.domain.starts import AUTO, auto_starts
from stm_agent.domain.synthesize_spec import SynthesizeSpec
from stm_agent.domain.teacher_spec import TeacherSpec
from stm_agent.domain.train_spec import ExpertSpec, NegativeSpec, TrainSpec

__all__ = [
    "WRITTEN",
    "Attention",
    "AuditSpec",
    "BackboneSpec",
    "BeirCollection",
    "CollectionSpec",
    "DomainSpec",
    "ExecutionSpec",
    "ExpertSpec",
    "HpoCollection",
    "InstructSpec",
    "LoopSpec",
    "MergeSpec",
    "MineSpec",
    "MtebCollection",
    "NegativeSpec",
    "PythonDocsCollection",
    "SynthesizeSpec",
    "TeacherSpec",
    "TrainSpec",
    "WordNetCollection",
]

WRITTEN = "written"
"""The source every domain has: queries written by the generator for the passages of the pool."""
TITLES, SENTENCES = "titles", "sentences"
UNLABELLED = (TITLES, SENTENCES)
"""Sources every domain has, made of the corpus alone; see :mod:`stm_agent.domain.unlabelled`."""


class MineSpec(Spec):
    """Hard-negative mining.

    Attributes:
        depth: Candidates each retriever gives for a pair.
        retrievers: Which retrievers are asked.
        margin: A candidate stays only below ``margin`` times the positive's score (NV-Retriever, TopK-PercPos).
        documents: Passages searched, at most; those of the scored corpus first; 0: all.
        encoder: Encoder of the dense retriever in the first round; None: the backbone.
        search: How the dense retriever searches; ``faiss``: approximately, for corpora above a million passages, with
            its recall measured and logged. Needs the extra ``faiss``.
    """

    depth: Positive = 30
    retrievers: Annotated[tuple[Literal["bm25", "dense"], ...], Field(min_length=1)] = ("bm25", "dense")
    margin: Share = 0.95
    documents: Count = 4000
    encoder: str | None = "embedded:all-minilm-l6-v2"
    search: Literal["exact", "faiss"] = "exact"


class InstructSpec(Spec):
    """Search of the retrieval instruction.

    Attributes:
        seeds: File in ``prompts/`` with the first candidates.
        passages: File in ``prompts/`` with passage instructions to try beside the best query instruction; None: none.
        pool: Generic instructions the reflecting LLM writes as further candidates (STM: 10 to 100).
        optimizer: How better candidates are written: GEPA's reflection, or for comparison DSPy's COPRO and MIPROv2;
            MIPROv2 needs the extra ``optuna``.
        reflections: Candidates the optimizer may propose; 0: seeds only.
        hard: Passages that the incumbent and BM25 find for each query, each, which with the judged ones make the
            corpus that candidates are scored on; 0: the whole corpus.
        finalists: Best candidates that mteb scores on the whole corpus.
        min_effect: Gain in nDCG@10 that a new instruction must show on the search half of dev, beside a confirmed gain
            on the accept half.
    """

    seeds: str = "retrieval.yaml"
    passages: str | None = None
    pool: Count = 0
    optimizer: Literal["gepa", "copro", "mipro"] = "gepa"
    reflections: Count = 4
    hard: Count = 20
    finalists: Positive = 2
    min_effect: Real = 0.005


class LoopSpec(Spec):
    """The closed loop's gates.

    Attributes:
        rounds: Passes through the levers.
        alpha: Chance that a run whose changes are all worthless ends with a confirmed one, spent over its looks at the
            accept half; also the error level of the intervals in the report.
        bootstrap: Sign patterns of a test, and resamples of an interval.
        probe_steps: Training steps of each variant of an expert, after which the best is chosen; 0: no probe, the
            variant with all data that the file asks for.
        probe_documents: Passages a probe is scored on, those judged for dev first; 0: the searched part.
        search_documents: Passages of the corpus that levers are scored on, in about that number: those judged for dev,
            those that BM25 and the start rank first, and others by hash; 0: the whole corpus. What is claimed is always
            scored on the whole.
        query_map: Try a linear map on query vectors after the merges of a round.
    """

    rounds: Positive = 1
    alpha: OpenShare = 0.05
    bootstrap: Positive = 10_000
    probe_steps: Count = 0
    probe_documents: Count = 0
    search_documents: Count = 2000
    query_map: Switch = True


class DomainSpec(Spec):
    """A whole domain file.

    Attributes:
        name: Short name, part of run ids.
        description: For people.
        task: One line: what a query is and what should be found; used in prompts.
        collection: What is adapted to and scored on.
        general: Guard tasks that show forgetting.
        backbone: The model before adaptation. ``auto`` in a file: the models of ``auto_starts`` race.
        starts: Other models that could be adapted; they and ``backbone`` race on the search half of dev, and the best
            one is adapted. Empty: no race.
        baseline: Ready-made encoder that every report shows as a row; None: no such row.
        experts: In training order; empty: planned from the data and the minutes, see ``stm_agent.loop.planning``.
        train: Training options of all experts.
        synthesize: What the generator writes.
        mine: Hard-negative mining.
        audit: Which negatives may be relevant, and what becomes of them.
        teach: Teacher scores for experts with loss ``distil``.
        instruct: Instruction search.
        merge: Merging.
        loop: Gates and rounds.
        execution: What jobs need of a cluster's nodes.
        seeds: Seeds of repeated runs; a run uses the first by default.
    """

    name: Name
    description: str = ""
    task: Annotated[str, Field(min_length=1)]
    collection: CollectionSpec
    general: tuple[CollectionSpec, ...] = ()
    backbone: BackboneSpec
    starts: tuple[BackboneSpec, ...] = ()
    baseline: str | None = "embedded:all-minilm-l6-v2"
    experts: tuple[ExpertSpec, ...] = ()
    train: TrainSpec = TrainSpec()
    synthesize: SynthesizeSpec = SynthesizeSpec()
    mine: MineSpec = MineSpec()
    audit: AuditSpec = AuditSpec()
    teach: TeacherSpec = TeacherSpec()
    instruct: InstructSpec = InstructSpec()
    merge: MergeSpec = MergeSpec()
    loop: LoopSpec = LoopSpec()
    execution: ExecutionSpec = ExecutionSpec()
    seeds: Annotated[tuple[Count, ...], Field(min_length=1)] = (0,)

    def models_of(self, expert: ExpertSpec) -> dict[str, str]:
        """Return role -> name of every model that decides what an expert becomes."""
        models = {"backbone": self.backbone.model}
        if expert.learns_from_teacher:
            models["teacher"] = self.train.teacher
        if expert.asks_guide:
            models["guide"] = self.train.guide
        if expert.learns_from_scores:
            models |= {f"teacher's {role}": name for role, name in self.teach.models.items()}
        return models

    @property
    def grading_teacher(self) -> str | None:
        """The LLM whose grades experts learn from; None: no expert does."""
        return self.teach.judge if any(expert.learns_from_scores for expert in self.experts) else None

    @property
    def maps_queries(self) -> bool:
        """Whether a run tries a map on query vectors; the first numbers of a mapped vector are no shorter vector."""
        return self.loop.query_map and not self.train.matryoshka

    def trainings_of(self, expert: ExpertSpec) -> int:
        """Return how often an expert is trained whole: once, or once for each of its variants, at most."""
        if not self.merge.variants or expert.side == "query":
            return 1
        negatives = 2 if expert.negatives.written_and_mined else 1
        # Without and with the instruction, and with the pool of prompts.
        return negatives * (3 if expert.prompts else 2)

    @model_validator(mode="before")
    @classmethod
    def _auto_backbone(cls, values: object) -> object:
        if isinstance(values, dict) and values.get("backbone") == AUTO:
            first, *others = (start.model_dump() for start in auto_starts())
            return {**values, "backbone": first, "starts": tuple(others)}
        return values

    @property
    def planned(self) -> bool:
        """Whether the experts are planned from the data."""
        return not self.experts

    @model_validator(mode="after")
    def _experts_fit(self) -> DomainSpec:
        offered = (*self.collection.source_names, WRITTEN, *UNLABELLED)
        before: list[str] = []
        for expert in self.experts:
            if expert.name in before:
                raise ValueError(f"expert '{expert.name}' is listed twice; give every expert its own name")
            if expert.start is not None and expert.start not in before:
                raise ValueError(f"expert '{expert.name}' starts from '{expert.start}', which is not listed before it")
            unknown = [source for source in expert.sources if source not in offered]
            if unknown:
                raise ValueError(
                    f"expert '{expert.name}' asks for source '{unknown[0]}'; "
                    f"collection kind {self.collection.kind} offers {', '.join(offered)}"
                )
            before.append(expert.name)
        return self

    @model_validator(mode="after")
    def _training_fits(self) -> DomainSpec:
        for expert in self.experts:
            if self.train.matryoshka and (expert.teacher_weight or expert.anchor_weight):
                weight = "a teacher_weight" if expert.teacher_weight else "an anchor_weight"
                raise ValueError(
                    f"expert '{expert.name}': {weight} needs the whole vector; drop it or train: matryoshka"
                )
            if self.train.gradient_checkpointing and expert.loss.startswith("cached"):
                raise ValueError(
                    f"expert '{expert.name}': loss {expert.loss} excludes train: gradient_checkpointing; drop one"
                )
        return self
