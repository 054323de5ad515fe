"""The loop itself: decide, write the decision down, do it, write down what it brought."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from stm_agent.llm.budget import read_spending
from stm_agent.loop.actions.action import best_of
from stm_agent.loop.actions.menu import Stop
from stm_agent.loop.ahead import jobs_ahead
from stm_agent.loop.context import RunContext
from stm_agent.loop.ending import spared_seconds
from stm_agent.loop.forgetting import general_floor
from stm_agent.loop.history import Decision, Step, record_decision, record_outcome, stored_decision
from stm_agent.loop.policies.policy import Foreseeing, Left, Policy, Situation
from stm_agent.loop.situations import record_situation
from stm_agent.loop.standing import choice_of, standing_of
from stm_agent.loop.state import State
from stm_agent.loop.state_summary import write_summary
from stm_agent.loop.stop_rules import StopRule


class Search:
    """One search of a run: its state moves on with each step, so that a stop finds the newest one.

    Attributes:
        state: What the run has reached.
        steps: What was done so far.
    """

    def __init__(
        self,
        context: RunContext,
        state: State,
        policy: Policy,
        rules: Sequence[StopRule] = (),
        *,
        rounds: int | None = None,
    ) -> None:
        """Begin with a state.

        Args:
            context: The run.
            state: The rated backbone.
            policy: Decides.
            rules: Asked before each new decision; what the ledger holds is repeated whatever they say.
            rounds: Rounds of training data, at most; None: no such bound.
        """
        self.context, self.state, self.steps = context, state, list[Step]()
        self._policy, self._rules, self._rounds = policy, tuple(rules), rounds

    def run(self) -> State:
        """Do what the ledger holds, then what the policy decides, until it stops; return the last state."""
        self.context.spared = spared_seconds(self.context, self.state)
        while (decision := self._next()) is not None:
            record_decision(self.context.run.ledger, len(self.steps) + 1, decision)
            if decision.action.kind == Stop().kind:
                self._show_end(f"{decision.by}: {decision.reason}")
                break
            self._do(decision)
            self.context.spared = spared_seconds(self.context, self.state)
        # What was handed out ahead and is not wanted any more must not take the place of the confirmation.
        self.context.executor.close()
        return self.state

    def _next(self) -> Decision | None:
        """Return the stored decision, or a new one that carries its key; None: the search is over."""
        stored = stored_decision(self.context.run.ledger, len(self.steps) + 1)
        if stored is not None:
            return stored
        situation = self._situation()
        for rule in self._rules:
            if reason := rule(situation):
                self._show_end(reason)
                return None
        decision = self._policy.choose(situation)
        if decision is None:
            self._show_end("the policy expects nothing of what is left to try")
            return None
        record_situation(situation)
        return replace(decision, key=decision.action.key(self.state))

    def _situation(self) -> Situation:
        return Situation(
            context=self.context,
            state=self.state,
            steps=tuple(self.steps),
            left=budget_left(self.context),
            rounds=self._rounds,
        )

    def _show_end(self, reason: str) -> None:
        standing, text = standing_of(self.context, self.state, self.steps), f"the search ends: {reason}"
        self.context.observer({"kind": "note", "name": "search", "text": text, "standing": standing})
        self.context.run.ledger.record("search ended", reason=reason)

    def _do(self, decision: Decision) -> None:
        context, number = self.context, len(self.steps) + 1
        self._announce(number, decision)
        following = self._policy.following(context, number) if isinstance(self._policy, Foreseeing) else ()
        if context.seconds_left() > 0:
            context.expect(jobs_ahead(context, self.state, [decision.action, *following]))
        floor = general_floor(context, self.state)
        before, lost, spent = best_of(self.state, floor), len(context.failures), context.stage_seconds
        began = context.clock.seconds()
        with context.attempt(decision.action.summary):
            self.state = decision.action.run(context, self.state)
        after, failed = best_of(self.state, floor), len(context.failures) > lost
        step = Step(
            number=number,
            decision=decision,
            gain=after.ndcg_at_10 - before.ndcg_at_10,
            expected=context.gate.expected_gain(after.per_query, before.per_query, decision.action.prior.spread),
            seconds=context.clock.seconds() - began if failed else context.stage_seconds - spent,
            failed=failed,
            label=self.state.provisional.label,
        )
        record_outcome(context.run.ledger, step)
        self.steps.append(step)
        write_summary(context, self.state, self.steps, budget_left(context))

    def _announce(self, number: int, decision: Decision) -> None:
        standing = standing_of(self.context, self.state, self.steps)
        about = f", about {decision.seconds:.0f} s" if decision.seconds else ""
        ceiling = "" if standing["minutes"] is None else f" of {standing['minutes']:g}"
        text = (
            f"{number}. {decision.action.summary}{about}; {decision.by}: {decision.reason}; incumbent "
            f"{standing['ndcg_at_10']:.4f} [{standing['low']:.4f}, {standing['high']:.4f}] on the search half; "
            f"{standing['seconds'] / 60:.1f}{ceiling} min spent"
        )
        self.context.observer(
            {
                "kind": "action",
                "name": decision.action.kind,
                "text": text,
                "standing": standing,
                "choice": choice_of(number, decision),
            }
        )


def budget_left(context: RunContext) -> Left:
    """Return what is left for actions."""
    spent = read_spending(context.run.llm_ledger)
    usd, calls = context.generator.usd, context.generator.calls
    return Left(
        seconds=context.seconds_left(),
        dollars=math.inf if usd is None else usd - spent.usd,
        calls=math.inf if calls is None else calls - spent.calls,
    )
