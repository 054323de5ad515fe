"""The end of the search: the provisional model is confirmed on the accept half, or rolled back."""

from __future__ import annotations

from dataclasses import replace

from stm_agent.loop.context import RunContext
from stm_agent.loop.instructing import with_accepted_instruction
from stm_agent.loop.looks import MODEL, confirmed_before, take_look
from stm_agent.loop.state import State


def confirm(context: RunContext, state: State) -> State:
    """Test the provisional model against the last confirmed one; roll it back if its gain is not confirmed.

    An instruction that was accepted meanwhile is not rolled back with the model. In a run that continues after an
    ending, the last confirmed model is the one that the ending confirmed.
    """
    nothing_new = state.provisional == state.confirmed
    if earlier := confirmed_before(context, besides=state.provisional):
        state = replace(state, confirmed=earlier)
    if nothing_new:
        stays = f"; {earlier.label}, confirmed before, stays" if earlier else ""
        text = f"nothing to confirm: no model was better on the search half{stays}"
        context.decide("confirmation", text, kept=False)
        return with_accepted_instruction(context, state.taking(state.confirmed))
    look, state = take_look(context, state, state.provisional, state.confirmed, what=MODEL)
    result = "" if look.confirmed else f"; rolled back to {state.confirmed.label}"
    context.decide("confirmation", f"{state.provisional.label} {look.reason}{result}", kept=look.confirmed)
    state = replace(state, tested=True)
    if look.confirmed:
        return replace(state, confirmed=state.provisional)
    return with_accepted_instruction(context, state.taking(state.confirmed))
