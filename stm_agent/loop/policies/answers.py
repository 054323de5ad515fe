"""The menu as a planner reads it, and what its answers mean; the same for a run and for the program's optimisation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stm_agent.errors import ConfigError, StmAgentError
from stm_agent.loop.actions.action import Action
from stm_agent.loop.actions.menu import Stop, read_action
from stm_agent.loop.costs import Cost
from stm_agent.loop.policies.policy import Left, Offer

if TYPE_CHECKING:
    import dspy

    from stm_agent.llm.client import LlmClient

NOT_THERE, UNAFFORDABLE, WRONG, SILENT = "not on the menu", "unaffordable", "wrong parameters", "no answer"
STOP = Offer(Stop(), Cost(seconds=0.0))
"""On a planner's menu beside what can be done."""


class Fallback(Exception):
    """The planner's answer cannot be used; the message is the kind of fault."""


def answer_of(
    program: dspy.Module, path: Path, client: LlmClient, inputs: Mapping[str, str], *, sample: int = 0
) -> str:
    """Return the program's answer as it wrote it.

    Args:
        program: The loaded program.
        path: Its file.
        client: The way to the LLM.
        inputs: ``state`` and ``menu``.
        sample: Number of the sample.

    Raises:
        StmAgentError: The program cannot be used, the LLM gives no usable answer, or the budget is spent.
    """
    from stm_agent.llm.call_record import CallRecord
    from stm_agent.llm.dspy_engine import dspy_context
    from stm_agent.synthesize.load import accepted_inputs

    record = CallRecord()
    try:
        with dspy_context(client, record=record, sample=sample):
            return str(program(**accepted_inputs(program, inputs, path))["action"])
    except StmAgentError:
        raise
    except Exception as error:
        # Broad, since the program is a user's own Python, and DSPy's parsers raise errors of their own: whatever comes
        # out of them is an answer that cannot be used, and another policy decides.
        if record.error is not None:
            raise record.error from error
        raise ConfigError(f"program {path} gives no action: {type(error).__name__}") from error


def chosen(answer: str, menu: Sequence[Offer], left: Left) -> Offer:
    """Return what an answer means.

    Args:
        answer: What the planner wrote.
        menu: What can be done; ``STOP`` is added.
        left: What is left of the budget.

    Raises:
        Fallback: It is not on the menu, cannot be afforded, or has wrong parameters.
    """
    lines = [line.strip(" -*`") for line in answer.strip().splitlines() if line.strip()]
    first = lines[0] if lines else ""
    # A line of the menu may hold a name with a colon or a space, which else ends what is read.
    copied = (offer for offer in menu if f"{first}:".startswith(f"{_line(offer.action)}:"))
    offer = next(copied, None) or _read(first, menu)
    if not left.allows(offer.cost):
        raise Fallback(UNAFFORDABLE)
    return offer


def _read(line: str, menu: Sequence[Offer]) -> Offer:
    """Return what a line in a planner's own writing means."""
    kind, *parameters = line.partition(":")[0].split()[:20] or [""]
    of_kind = [offer for offer in (*menu, STOP) if offer.action.kind == kind]
    if not of_kind:
        raise Fallback(NOT_THERE)
    try:
        values = dict(parameter.split("=", 1) for parameter in parameters)
        wanted = read_action({**of_kind[0].action.to_json(), **_typed(values), "round": of_kind[0].action.round})
    except (ConfigError, ValueError):
        raise Fallback(WRONG) from None
    offer = next((offer for offer in of_kind if same_action(offer.action, wanted)), None)
    if offer is None:
        raise Fallback(WRONG if parameters else NOT_THERE)
    return offer


def menu_text(menu: Sequence[Offer]) -> str:
    """Return the menu, one action a line: kind and parameters, what it is, and its price."""
    return "\n".join(f"{_line(offer.action)}: {offer.action.summary}; {_price(offer)}" for offer in menu)


def same_action(first: Action, second: Action) -> bool:
    """Return whether two actions are the same but for their rounds."""
    return {**first.to_json(), "round": 0} == {**second.to_json(), "round": 0}


def _line(action: Action) -> str:
    hidden = ("kind", "round", "take", "instruct", "strict")
    shown = [f"{name}={value}" for name, value in action.to_json().items() if name not in hidden]
    return " ".join([action.kind, *shown])


def _price(offer: Offer) -> str:
    dollars = f" and {offer.cost.dollars:.4f} USD" if offer.cost.dollars else ""
    return f"about {offer.cost.seconds:.0f} s{dollars}"


def _typed(values: dict[str, str]) -> dict[str, object]:
    return {name: int(value) if value.isdecimal() else value for name, value in values.items()}
