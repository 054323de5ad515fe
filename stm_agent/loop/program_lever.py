"""The program lever of a run: a better text for a program that writes, by a small search of its own.

It is the search of ``stm-agent synthesize optimize`` with fewer examples and candidates. The search half alone decides:
a look at the accept half is spent on models, not on what they are trained on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypedDict

from stm_agent.domain.spec import DomainSpec
from stm_agent.files import content_hash, read_json, write_json
from stm_agent.llm.budget import Spending, read_spending
from stm_agent.loop.context import RunContext
from stm_agent.loop.judge_trials import JudgeTrials
from stm_agent.loop.probe import ProbeSetting
from stm_agent.loop.program_gepa import search_by_gepa
from stm_agent.loop.program_kinds import kind_of
from stm_agent.loop.program_ladder import LadderOptions, climb, write_material
from stm_agent.loop.program_options import SearchOptions
from stm_agent.loop.program_rung import Rung
from stm_agent.loop.program_setup import Sizes, open_trials
from stm_agent.loop.program_trials import require_runnable
from stm_agent.loop.query_rating import dev_part
from stm_agent.loop.search_share import PROPOSING, SHARE, SearchShare
from stm_agent.loop.spending_limits import SpendingLimits
from stm_agent.loop.state import State
from stm_agent.program_files import program_hash
from stm_agent.synthesize.load import may_be_structured
from stm_agent.synthesize.program_text import ProgramText
from stm_agent.workspace import program_path

Role = Literal["queries", "negatives", "graded"]
"""What a program of a run writes."""
ROLES: tuple[Role, ...] = ("queries", "negatives", "graded")
SIZES = Sizes(examples=8, held=24)
"""Examples that candidates are rated on, and that they write for before a training."""
PROBES, FINALISTS = 2, 1
LORA_STEPS, PROBE_STEPS = 30, 15
"""Steps of a LoRA run, and of the probe, which is one too."""
DOCUMENTS = 500
"""Passages that models are scored on; judged ones always are."""
SHARE_OF_LEFT = 0.3
"""Share of the dollars, calls and minutes left that a search may use, half of it for proposing: what its winner is to
write afterwards takes several times as many calls, and experts must still be trained on it."""
BEGUN = "program search begun"
SEARCHES = "program_searches"
"""Folder of a run with what its searches of programs gave."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a search gave.

    Attributes:
        program: File of the program that writes from now on: the winner, or the one that there was.
        accepted: Whether it is new.
        reason: Why, in one line.
    """

    program: Path
    accepted: bool
    reason: str


def program_of(spec: DomainSpec, workspace: Path, programs: Mapping[str, Path], role: Role) -> Path:
    """Return the file of the program that writes something: the newest winner, else the domain's.

    Raises:
        ConfigError: The program is missing.
    """
    wanted = spec.synthesize
    names = {"queries": wanted.query_program, "negatives": wanted.program, "graded": wanted.graded_program}
    return programs.get(role) or program_path(workspace, names[role])


class StoredSearch(TypedDict):
    """What a search gave, as a run that is repeated reads it."""

    program: str
    accepted: bool
    reason: str


def improve_program(context: RunContext, state: State, role: Role) -> State:
    """Search a better text for a program; return the state in which the winner writes, if there is one.

    A run that is repeated reads what its search gave; one that was killed in it pays for nothing twice.

    Raises:
        StmAgentError: The program cannot be rated, or the LLM or its budget gives out.
    """
    program = program_of(context.spec, context.workspace, state.programs, role)
    stored = context.run.folder / SEARCHES / f"{role}-{program_hash(program)[:12]}.json"
    if not stored.is_file():
        found = _search(context, program, stored.stem)
        row: StoredSearch = {"program": str(found.program), "accepted": found.accepted, "reason": found.reason}
        write_json(stored, row)
    content: StoredSearch = read_json(stored)
    context.decide("program", f"{role}: {content['reason']}", kept=content["accepted"])
    if not content["accepted"]:
        return state
    return replace(state, programs={**state.programs, role: Path(content["program"])})


def _search(context: RunContext, program: Path, name: str) -> Found:
    structured = may_be_structured(context.spec.synthesize.structured, context.generator.options.model)
    kind = kind_of(program, structured=structured)
    shares = LeverShares.of(context, name)
    if shares.calls < (fewest := SIZES.fewest_calls(kind)):
        reason = f"not searched: it takes {fewest} calls or more, and its share of what is left is {shares.calls:.0f}"
        return Found(program=program, accepted=False, reason=reason)
    setting = ProbeSetting.of(context, dev_part(context, "search", DOCUMENTS))
    trials = open_trials(context, kind, program, setting, SIZES, structured=structured)
    first = Rung(text=ProgramText.of(program, structured=structured), rating=0.0)
    if isinstance(trials, JudgeTrials):
        return Found(program=program, accepted=False, reason="a judge writes nothing that a model is trained on")
    proposals = context.spec.synthesize.proposals
    proposing = SearchShare(context, shares.proposing, trials.end_early, part=f"{PROPOSING} for {name}")
    probing = SearchShare(context, shares.whole, trials.end_early, part=f"probing for {name}")
    with context.timed("search", f"{proposals} candidates for {program.name}"):
        require_runnable(trials, first.text)
        write_material(trials, first)
        options = SearchOptions(proposals=proposals, seed=context.seed, stops=proposing.is_spent)
        found = search_by_gepa(trials, first.text, context.reflection, options)
    first.rating = trials.mean(first.text)
    others = [Rung(text=text, rating=trials.mean(text)) for text in found if text.parts() != first.text.parts()]
    outcome = climb(trials, setting, [first, *others], None, _ladder(probing))
    if not outcome.accepted or outcome.winner is None:
        return Found(program=program, accepted=False, reason=outcome.reason)
    return Found(program=trials.file_of(outcome.winner.text), accepted=True, reason=outcome.reason)


def _ladder(probing: SearchShare) -> LadderOptions:
    return LadderOptions(
        probes=PROBES,
        finalists=FINALISTS,
        kind="lora",
        probe_steps=PROBE_STEPS,
        lora_steps=LORA_STEPS,
        stops=probing.is_spent,
    )


@dataclass(frozen=True, kw_only=True)
class LeverShares:
    """What a search in a run may spend.

    Attributes:
        proposing: Limits after which no more candidates are proposed.
        whole: Limits after which none is written for any more.
        calls: Calls that it has in all.
    """

    proposing: SpendingLimits
    whole: SpendingLimits
    calls: float

    @classmethod
    def of(cls, context: RunContext, name: str) -> LeverShares:
        """Return the shares of what was left when the search began, in whichever process that was."""
        begun = [row for row in context.run.ledger.entries(BEGUN) if row["search"] == name]
        if begun:
            before, minutes = Spending(usd=begun[0]["usd"], calls=begun[0]["calls"]), begun[0]["minutes"]
        else:
            before, minutes = read_spending(context.run.llm_ledger), context.clock.seconds() / 60
            context.run.ledger.record(BEGUN, search=name, usd=before.usd, calls=before.calls, minutes=minutes)
        generator = context.generator
        ceilings = SpendingLimits(usd=generator.usd, calls=generator.calls, minutes=context.minutes)
        whole = ceilings.part(SHARE_OF_LEFT, before, minutes)
        calls = math.inf if whole.calls is None else whole.calls - before.calls
        return cls(proposing=whole.part(SHARE, before, minutes), whole=whole, calls=calls)


def programs_key(programs: Mapping[str, Path], *roles: Role) -> str | None:
    """Return the hash of the winners that write some things; None: the domain's own programs write them."""
    used = {role: program_hash(programs[role]) for role in roles if role in programs}
    return content_hash(used) if used else None
