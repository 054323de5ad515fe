"""What a dev split can show, known before anything is scored: the smallest gain, or that none can be confirmed."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stm_agent.domain.collection import NO_COPIES, SameText, Split
from stm_agent.domain.spec import DomainSpec
from stm_agent.errors import ConfigError
from stm_agent.instruct.seeds import load_seeds
from stm_agent.loop.gate import Gate, GateSpec
from stm_agent.loop.halves import cut_dev
from stm_agent.loop.options import Options
from stm_agent.loop.paired_test import smallest_p_value
from stm_agent.workspace import prompt_path

FREE_SEARCHES = 3
"""Searches of an instruction that the gate plans looks for, if a policy chooses freely; later ones spend no alpha and
so accept nothing."""

WAYS_ON = "add judged dev queries, or make them with stm-agent annotate"
"""What to do about a dev split that shows too little."""


@dataclass(frozen=True, kw_only=True)
class DevPower:
    """What a dev split can show.

    Attributes:
        line: One line for people, with the smallest gain in nDCG@10, or that no gain can be confirmed.
        confirms: Whether any gain can be confirmed.
    """

    line: str
    confirms: bool


def dev_power(dev: Split, spec: DomainSpec, options: Options, workspace: Path) -> DevPower:
    """Return what the dev split of a run can show.

    Args:
        dev: The split, as the run reads it.
        spec: The domain.
        options: The user's flags.
        workspace: Folder with ``prompts/``.

    Raises:
        DataError: The split has no query.
        ConfigError: The number of rounds is below 1.
    """
    return gate_power(gate_of(dev, spec, options), fewest_tried(spec, options, workspace))


def gate_of(dev: Split, spec: DomainSpec, options: Options, same_text: SameText = NO_COPIES) -> Gate:
    """Return the gate of a run: one look for each search of an instruction, and the last one for the model.

    Args:
        dev: The split, as the run reads it.
        spec: The domain.
        options: The user's flags.
        same_text: Documents with one text count as one; see :attr:`Collection.same_text`.

    Raises:
        DataError: The split has no query.
        ConfigError: The number of rounds is below 1.
    """
    # A policy that chooses freely may search the instruction of each new model.
    rounds = options.rounds_of(spec) if options.policy == "stm" else FREE_SEARCHES
    searches = rounds * (1 + spec.merge.instructions)
    seed = options.seed_of(spec)
    looks = GateSpec(alpha=spec.loop.alpha, looks=searches + 1, samples=spec.loop.bootstrap, seed=seed)
    return Gate(cut_dev(dev, same_text=same_text), looks)


def fewest_tried(spec: DomainSpec, options: Options, workspace: Path) -> int:
    """Return how many changes a run compares at least before it tests a model.

    The published order first tries every instruction that people wrote; another policy may try the model alone. A file
    of instructions that cannot be used is the search's to report; nothing of it is counted.
    """
    tried = 1
    if options.policy == "stm":
        with suppress(ConfigError):
            tried += len(load_seeds(prompt_path(workspace, spec.instruct.seeds), task=spec.task))
    return tried


def gate_power(gate: Gate, tried: int = 1) -> DevPower:
    """Return what a gate can show.

    A gain in every group of queries gives the smallest p-value that there can be; if even that is above the level of
    the test, no gain can be confirmed.

    Args:
        gate: The gate of a run.
        tried: Changes that the run compares, at least; counts only if dev was not cut.
    """
    halves, whole = gate.halves, gate.halves.mode == "whole"
    level = gate.spec.budget / tried if whole else gate.spec.budget
    groups = len({halves.groups[query] for query in halves.accept})
    if smallest_p_value(groups, samples=gate.spec.samples) <= level:
        more = ", and more for each change that is tried" if whole else ""
        line = f"the smallest gain that dev can show is about {gate.smallest_gain():.3f} nDCG@10{more}"
        return DevPower(line=line, confirms=True)
    return DevPower(line=f"no gain can be confirmed, however large: {_lack(gate, groups, level)}", confirms=False)


def _lack(gate: Gate, groups: int, level: float) -> str:
    """Return what a gate lacks to confirm any gain at a level, and what to do about it."""
    needed = math.ceil(-math.log2(level))
    if groups >= needed:
        return f"loop: bootstrap: {gate.spec.samples} is too low for a test at {level:.4f}; use 10000"
    noun = "query" if groups == 1 else "queries"
    shared = " (those that share a relevant document count as one)" if groups < len(gate.halves.accept) else ""
    return f"dev has {groups} independent {noun} to accept gains on{shared}, and {needed} or more are needed; {WAYS_ON}"
