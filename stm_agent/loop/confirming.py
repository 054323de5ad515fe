"""The end of the search: the provisional model is confirmed on the accept half, or rolled back."""

from __future__ import annotations

from dataclasses import replace

from stm_agent.loop.context import RunContext
from stm_agent.loop.instructing import with_accepted_instruction
from stm_agent.loop.looks import MODEL, confirmed_before, take_look
from stm_agent.loop.own_length import refusal
from stm_agent.loop.state import State


def confirm(context: RunContext, state: State) -> State:
    """Test the provisional model against the last confirmed one; roll it back if its gain is not confirmed.

    An instruction that was accepted meanwhile is not rolled back with the model. In a run that continues after an
    ending, the last confirmed model is the one that the ending confirmed. What is confirmed may still be refused, if
    the start reads more tokens of each text by itself and is better then (see ``loop/own_length.py``).
    """
    state = _tested(context, state)
    # Trained models were compared before; the start may have got an instruction, at the length that the run reads.
    if state.confirmed.model == state.base.model and (reason := refusal(context, state.base, state.confirmed)):
        context.decide("instruction", f"{state.confirmed.label} {reason}", kept=False)
        return replace(state, confirmed=state.base, provisional=state.base)
    return state


def _tested(context: RunContext, state: State) -> State:
    nothing_new = state.provisional == state.confirmed
    if (earlier := confirmed_before(context, besides=state.provisional)) and refusal(context, state.base, earlier):
        earlier = None
    if earlier:
        state = replace(state, confirmed=earlier)
    if nothing_new:
        stays = f"; {earlier.label}, confirmed before, stays" if earlier else ""
        text = f"nothing to confirm: no model was better on the search half{stays}"
        context.decide("confirmation", text, kept=False)
        return with_accepted_instruction(context, state.taking(state.confirmed))
    look, state = take_look(context, state, state.provisional, state.confirmed, what=MODEL)
    refused = refusal(context, state.base, state.provisional) if look.confirmed else ""
    kept = look.confirmed and not refused
    result = "" if kept else f"; {f'{refused}, and ' if refused else ''}rolled back to {state.confirmed.label}"
    context.decide("confirmation", f"{state.provisional.label} {look.reason}{result}", kept=kept)
    state = replace(state, tested=True)
    if kept:
        return replace(state, confirmed=state.provisional)
    return with_accepted_instruction(context, state.taking(state.confirmed))
