"""The kinds of programs whose text can be optimised, and how a reflecting LLM is asked about each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stm_agent.errors import ConfigError
from stm_agent.synthesize.load import list_field
from stm_agent.synthesize.program_text import written_fields


@dataclass(frozen=True, kw_only=True)
class ProgramKind:
    """What a program writes.

    Attributes:
        output: Its output field; the plural holds several.
        does: What the program does, for the reflecting LLM.
        given: What it gets, the heading of an example.
        wrote: What it writes, the heading of an answer.
        aim: What better instructions lead to.
        trains: Whether a model learns from what it writes.
    """

    output: str
    does: str
    given: str
    wrote: str
    aim: str
    trains: bool = True


QUERIES = ProgramKind(
    output="query",
    does="writes search queries",
    given="Passage",
    wrote="Query",
    aim="queries as people type them which still find their passage",
)
NEGATIVES = ProgramKind(
    output="hard_negative",
    does="writes hard negatives: passages near a query that do not answer it",
    given="Query and its answer",
    wrote="Passage",
    aim="passages that a search engine takes for an answer and that do not answer the query",
)
GRADED = ProgramKind(
    output="graded_passage",
    does="writes passages that answer a query less well, level by level",
    given="Query and its answer",
    wrote="Passages, the most relevant first",
    aim="passages whose order of relevance is the one that was asked for",
)
JUDGE = ProgramKind(
    output="judgement",
    does="grades passages for a query from 0 to 3",
    given="Query with a relevant and another passage",
    wrote="Judgements, of the relevant one first",
    aim="high grades for passages that answer and low ones for all others",
    trains=False,
)
PLANNER = ProgramKind(
    output="action",
    does="decides what a search for a better retrieval model does next",
    given="State and menu",
    wrote="Action",
    aim="actions that gain much for their price; an answer is one line of the menu, copied up to its colon",
    trains=False,
)
WRITERS = (QUERIES, NEGATIVES, GRADED, JUDGE)
"""Kinds that ``stm-agent synthesize optimize`` can rate."""


def kind_of(program: Path, *, structured: bool) -> ProgramKind:
    """Return the kind of a program by its output fields.

    Raises:
        ConfigError: The program cannot be built, or no predictor of it has an output that can be rated.
    """
    for kind in WRITERS:
        if any(written_fields(program, kind.output, structured=structured).values()):
            return kind
    if any(written_fields(program, PLANNER.output).values()):
        raise ConfigError(f"program {program} plans runs; use 'stm-agent loop optimize-planner'")
    names = ", ".join(f"{kind.output} or {list_field(kind.output)}" for kind in WRITERS)
    raise ConfigError(
        f"program {program} cannot be optimised: no predictor of it has an output that is rated ({names})"
    )
