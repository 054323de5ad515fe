"""The sources of candidates: one Protocol and its implementations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.spec import InstructSpec
from stm_agent.instruct.trials import Trials

if TYPE_CHECKING:
    from stm_agent.llm.client import LlmClient


class Proposer(Protocol):
    """Offers candidates to the trials of a search."""

    def propose(self, trials: Trials) -> None:
        """Offer candidates; an answer of an LLM that cannot be used is counted and costs one candidate.

        Raises:
            GenerationError: The LLM or its budget gives out.
        """
        ...


@dataclass(frozen=True)
class Seeds:
    """Candidates that people wrote."""

    candidates: Sequence[Instruction]

    def propose(self, trials: Trials) -> None:
        """Try each candidate."""
        for seed in self.candidates:
            candidate = trials.saying(seed.query, seed.origin)
            # The incumbent may be one of the seeds.
            if candidate.texts not in trials.tried:
                trials.offer(candidate)


@dataclass(frozen=True)
class Framings:
    """Passage instructions, each tried with the best query instruction so far; the corpus is encoded again for each."""

    candidates: Sequence[Instruction]

    def propose(self, trials: Trials) -> None:
        """Try each candidate."""
        (best,) = trials.best()
        for candidate in self.candidates:
            trials.offer(best.framing(candidate.passage, candidate.origin), parent=best)


def proposers(
    spec: InstructSpec,
    *,
    seeds: Sequence[Instruction],
    framings: Sequence[Instruction],
    client: LlmClient | None,
    task: str,
    seed: int,
) -> list[Proposer]:
    """Return the proposers of a search, in order: seeds, generic pool, reflecting LLM, passage instructions."""
    chosen: list[Proposer] = [Seeds(seeds)]
    if client is not None and spec.pool:
        from stm_agent.instruct.pool import Pool

        chosen.append(Pool(client, task, spec.pool))
    if client is not None and spec.reflections:
        chosen.append(_optimizer(spec, client, task, seed))
    return [*chosen, Framings(framings)] if framings else chosen


def _optimizer(spec: InstructSpec, client: LlmClient, task: str, seed: int) -> Proposer:
    if spec.optimizer == "gepa":
        from stm_agent.instruct.gepa import Gepa

        return Gepa(client, task, spec.reflections, seed)
    from stm_agent.instruct.baselines import Copro, MiproV2

    kind = Copro if spec.optimizer == "copro" else MiproV2
    return kind(client, task, spec.reflections, seed)
