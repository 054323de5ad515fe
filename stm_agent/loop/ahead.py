"""Jobs that can be handed out before they are asked for, since no result of the search decides them any more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from stm_agent.job import Job
from stm_agent.loop.actions.action import Action
from stm_agent.loop.actions.training import TrainExpert, TrainQueryExpert
from stm_agent.loop.context import RunContext
from stm_agent.loop.state import State


def jobs_ahead(context: RunContext, state: State, actions: Sequence[Action]) -> Iterator[Job]:
    """Yield the trainings that actions will ask for, up to the first action that changes what they depend on.

    The loop stays as it is: it asks for one job after the other, and writes one decision after the other down. What was
    handed out ahead is then finished or well under way.

    Args:
        context: The run.
        state: The state before the first action.
        actions: What is done next, in order.
    """
    for action in actions:
        if not isinstance(action, TrainExpert | TrainQueryExpert):
            return
        yield from action.jobs(context, state)
