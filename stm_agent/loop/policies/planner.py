"""An LLM that sees the state and the menu with prices, and overrides another policy in a share of the decisions."""

from __future__ import annotations

import random
from collections import Counter

from stm_agent.errors import ConfigError, StmAgentError
from stm_agent.loop.actions.action import Action
from stm_agent.loop.actions.menu import Stop, read_action
from stm_agent.loop.context import RunContext
from stm_agent.loop.costs import Cost
from stm_agent.loop.failures import NEVER_CAUGHT
from stm_agent.loop.history import Decision
from stm_agent.loop.policies.policy import Offer, Policy, Situation
from stm_agent.loop.state_summary import summary, summary_text
from stm_agent.workspace import program_path

PROGRAM = "planner"
NOT_THERE, UNAFFORDABLE, WRONG, SILENT = "not on the menu", "unaffordable", "wrong parameters", "no answer"
STOP = Offer(Stop(), Cost(seconds=0.0))
"""On a planner's menu beside what can be done."""


class Fallback(Exception):
    """The planner's answer cannot be used; the message is the kind of fault."""


class Planner:
    """Asks the program ``planner`` in a share of the decisions; the measured policy decides the others.

    Attributes:
        fallbacks: Answers that could not be used, by reason.
    """

    def __init__(self, measured: Policy, share: float, seed: int) -> None:
        """Take what decides otherwise.

        Args:
            measured: Decides if the planner is not asked, or its answer cannot be used.
            share: Share of the decisions in which it is asked.
            seed: Seed of the draw of these decisions.
        """
        self.measured, self.share, self.seed = measured, share, seed
        self.fallbacks: Counter[str] = Counter()

    def choose(self, situation: Situation) -> Decision | None:
        """Return the planner's choice, or that of the measured policy."""
        number = len(situation.steps)
        if random.Random(f"planner {self.seed} {number}").random() >= self.share:
            return self.measured.choose(situation)
        try:
            offer = chosen(ask(situation), situation)
        except NEVER_CAUGHT:
            raise
        except (Fallback, StmAgentError) as error:
            fault = str(error) if isinstance(error, Fallback) else SILENT
            self.fallbacks[fault] += 1
            detail = f" ({error})" if isinstance(error, StmAgentError) else ""
            context = situation.context
            context.warn("planner", f"decision {number + 1}: {fault}{detail}; {self._counts()}")
            return self.measured.choose(situation)
        return Decision(
            action=offer.action,
            reason=f"the planner's choice from {len(situation.menu)} actions",
            by="planner",
            seconds=offer.cost.seconds,
            dollars=offer.cost.dollars,
        )

    def _counts(self) -> str:
        counts = ", ".join(f"{number} {reason}" for reason, number in sorted(self.fallbacks.items()))
        return f"gain-per-cost decides; so far {counts}"


def ask(situation: Situation) -> str:
    """Return the planner's answer as it wrote it.

    Raises:
        StmAgentError: The program cannot be used, the LLM gives no usable answer, or the budget is spent.
    """
    from stm_agent.llm.call_record import CallRecord
    from stm_agent.llm.dspy_engine import dspy_context
    from stm_agent.synthesize.load import accepted_inputs, load_program

    context = situation.context
    path = program_path(context.workspace, PROGRAM)
    program = load_program(path, "action")
    inputs = {"state": _state_text(situation), "menu": menu_text((*situation.menu, STOP))}
    client = context.reflection.open()
    record = CallRecord()
    try:
        with context.clock.working(), dspy_context(client, record=record, sample=len(situation.steps)):
            return str(program(**accepted_inputs(program, inputs, path))["action"])
    except StmAgentError:
        raise
    except Exception as error:
        # Whatever a user's program or DSPy's parser raises is an answer that cannot be used.
        if record.error is not None:
            raise record.error from error
        raise ConfigError(f"program {path} gives no action: {type(error).__name__}") from error
    finally:
        client.close()


def chosen(answer: str, situation: Situation) -> Offer:
    """Return what an answer means.

    Raises:
        Fallback: It is not on the menu, cannot be afforded, or has wrong parameters.
    """
    lines = [line.strip(" -*`") for line in answer.strip().splitlines() if line.strip()]
    kind, *parameters = (lines[0] if lines else "").partition(":")[0].split()[:20] or [""]
    of_kind = [offer for offer in (*situation.menu, STOP) if offer.action.kind == kind]
    if not of_kind:
        raise Fallback(NOT_THERE)
    try:
        values = dict(parameter.split("=", 1) for parameter in parameters)
        wanted = read_action({**of_kind[0].action.to_json(), **_typed(values), "round": of_kind[0].action.round})
    except (ConfigError, ValueError):
        raise Fallback(WRONG) from None
    offer = next((offer for offer in of_kind if _same(offer.action, wanted)), None)
    if offer is None:
        raise Fallback(WRONG if parameters else NOT_THERE)
    if not situation.left.allows(offer.cost):
        raise Fallback(UNAFFORDABLE)
    return offer


def menu_text(menu: tuple[Offer, ...]) -> str:
    """Return the menu, one action a line: kind and parameters, what it is, and its price."""
    return "\n".join(f"{_line(offer.action)}: {offer.action.summary}; {_price(offer)}" for offer in menu)


def _line(action: Action) -> str:
    hidden = ("kind", "round", "take", "instruct", "strict")
    shown = [f"{name}={value}" for name, value in action.to_json().items() if name not in hidden]
    return " ".join([action.kind, *shown])


def _price(offer: Offer) -> str:
    dollars = f" and {offer.cost.dollars:.4f} USD" if offer.cost.dollars else ""
    return f"about {offer.cost.seconds:.0f} s{dollars}"


def _typed(values: dict[str, str]) -> dict[str, object]:
    return {name: int(value) if value.isdecimal() else value for name, value in values.items()}


def _same(first: Action, second: Action) -> bool:
    return {**first.to_json(), "round": 0} == {**second.to_json(), "round": 0}


def _state_text(situation: Situation) -> str:
    context: RunContext = situation.context
    return summary_text(summary(context, situation.state, situation.steps, situation.left))
