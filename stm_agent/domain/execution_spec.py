"""The part of a domain file that says what jobs need of a cluster's nodes; it decides no result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from stm_agent.domain.fields import Positive, Real, Spec

JobKind = Literal[
    "adapter",
    "bm25",
    "evaluate",
    "export",
    "folders",
    "merge",
    "mine",
    "mteb",
    "official",
    "prove",
    "query-map",
    "teach",
    "train",
    "train-queries",
]
"""Kinds of jobs that can be sent to a node; those that ask an LLM stay with the run."""


class JobResources(Spec):
    """What a job needs of a node.

    Attributes:
        cores: Cores that are set aside for it.
        memory_gib: GiB of memory that are set aside for it; 0: none.
        gpus: GPUs, or a share of one, that are set aside for it; 0: it runs on the CPU.
    """

    cores: Positive = 1
    memory_gib: Real = 0.0
    gpus: Real = 0.0


class ExecutionSpec(JobResources):
    """What jobs need with ``--executor ray``; inline, nothing is set aside.

    Attributes:
        jobs: Kind of job -> what it needs instead.
    """

    jobs: Mapping[JobKind, JobResources] = {}

    def of(self, kind: str) -> JobResources:
        """Return what a job of a kind needs."""
        return {str(name): needs for name, needs in self.jobs.items()}.get(kind, self)

    @property
    def trains_on_gpu(self) -> bool:
        """Whether trainings get a GPU."""
        return self.of("train").gpus > 0
