"""A random affordable action, for comparison."""

from __future__ import annotations

import random

from stm_agent.loop.history import Decision
from stm_agent.loop.policies.policy import Situation


class RandomChoice:
    """Draws from what can be afforded; the draw follows from the seed and the number of the decision."""

    def __init__(self, seed: int) -> None:
        """Take the seed of the run."""
        self.seed = seed

    def choose(self, situation: Situation) -> Decision | None:
        """Return a drawn action; None: nothing can be afforded."""
        offers = situation.affordable
        if not offers:
            return None
        offer = random.Random(f"{self.seed} {len(situation.steps)}").choice(offers)
        reason = f"drawn from {len(offers)} affordable actions"
        return Decision(
            action=offer.action, reason=reason, by="random", seconds=offer.cost.seconds, dollars=offer.cost.dollars
        )
