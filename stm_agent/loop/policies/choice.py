"""From the flags of a command to a policy and its stop rules."""

from __future__ import annotations

from stm_agent.loop import stop_rules
from stm_agent.loop.context import RunContext
from stm_agent.loop.options import Options
from stm_agent.loop.policies.policy import Policy, Situation
from stm_agent.loop.policies.stm import FixedOrder
from stm_agent.loop.stop_rules import StopRule

PATIENCE = 10
"""Actions in a row that bring nothing after which a policy that chooses freely stops, if no other number is given."""


def policy_of(options: Options, context: RunContext, rounds: int) -> tuple[Policy, list[StopRule]]:
    """Return the policy that the flags name, and when it stops.

    Raises:
        ConfigError: The policy needs what is not installed.
    """
    rules = [] if options.target is None else [stop_rules.target(options.target)]
    if options.policy == "stm":
        if options.patience:
            rules.append(stop_rules.patience(options.patience))
        return FixedOrder(rounds), [*rules, _round_has_time(rounds)]
    rules.append(stop_rules.patience(options.patience or PATIENCE))
    rules.append(stop_rules.budget)
    return _free(options, context), rules


def _round_has_time(rounds: int) -> StopRule:
    """Begin no round of the published order after the minutes; a raised budget continues there."""

    def rule(situation: Situation) -> str | None:
        decision = FixedOrder(rounds).choose(situation)
        before = situation.steps[-1].decision.action.round if situation.steps else 0
        if decision is None or decision.action.round == before:
            return None
        name = f"round {decision.action.round}"
        return None if situation.context.has_time(name) else f"{name} is not begun: the minutes are spent"

    return rule


def _free(options: Options, context: RunContext) -> Policy:
    from stm_agent.loop.policies.gain_per_cost import GainPerCost
    from stm_agent.loop.policies.planner import Planner, restore_warnings
    from stm_agent.loop.policies.random_choice import RandomChoice
    from stm_agent.loop.policies.tpe import TpeChoice

    if options.policy == "random":
        return RandomChoice(context.seed)
    if options.policy == "tpe":
        return TpeChoice(context.seed)
    measured = GainPerCost.with_earlier_runs(context)
    if options.policy == "gain-per-cost":
        return measured
    restore_warnings(context)
    return Planner(measured, options.planner_share, context.seed)
