"""Who writes candidates: one seam, plain implementations."""

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
    """Puts candidates on the context until its share of the budget is spent."""

    def propose(self, trials: Trials) -> None:
        """Offer candidates; a failed LLM call costs this proposer's candidates, never the search."""
        ...


@dataclass(frozen=True)
class Seeds:
    """Candidates that people wrote."""

    candidates: Sequence[Instruction]

    def propose(self, trials: Trials) -> None:
        """Try each."""
        for seed in self.candidates:
            candidate = trials.saying(seed.query, seed.origin)
            # The incumbent may have been a seed before; that is no news.
            if candidate.texts not in trials.tried:
                trials.offer(candidate)


@dataclass(frozen=True)
class Framings:
    """Passage instructions, each tried beside the best query instruction so far: the corpus is encoded again."""

    candidates: Sequence[Instruction]

    def propose(self, trials: Trials) -> None:
        """Try each."""
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
    """Return what a search asks, in order: seeds, the generic pool, the LLM that reflects, passage instructions."""
    asked: list[Proposer] = [Seeds(seeds)]
    if client is not None and spec.pool:
        from stm_agent.instruct.pool import Pool

        asked.append(Pool(client, task, spec.pool))
    if client is not None and spec.reflections:
        asked.append(_optimizer(spec, client, task, seed))
    return [*asked, Framings(framings)] if framings else asked


def _optimizer(spec: InstructSpec, client: LlmClient, task: str, seed: int) -> Proposer:
    if spec.optimizer == "gepa":
        from stm_agent.instruct.gepa import Gepa

        return Gepa(client, task, spec.reflections, seed)
    from stm_agent.instruct.baselines import Copro, MiproV2

    kind = Copro if spec.optimizer == "copro" else MiproV2
    return kind(client, task, spec.reflections, seed)
