"""Past decisions of a workspace's runs as examples for a planner, and what an answer would have been worth.

Of an action that was carried out it is known what it gained and took. Of the others on its menu it is estimated: the
mean gain of their kind in all ledgers, shrunk towards the kind's prior, for the price that the menu named (the direct
method of off-policy evaluation; Dudik et al. 2011, arXiv 1103.4601).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stm_agent.errors import ConfigError, StmAgentError
from stm_agent.files import sha256_text
from stm_agent.loop.actions.action import Action
from stm_agent.loop.actions.menu import read_action
from stm_agent.loop.history import ACTION, OUTCOME, credits
from stm_agent.loop.ledger import Ledger
from stm_agent.loop.policies.answers import STOP, same_action
from stm_agent.loop.policies.policy import Left, Offer
from stm_agent.loop.runs import known_runs
from stm_agent.loop.situations import SITUATION, read_menu

FEWEST = 8
"""Past decisions without which luck decides between candidates."""
HELD_SHARE = 0.4
"""Share of the decisions that are held out, by whole runs."""
OVERHEAD = 1.0
"""Seconds that every action takes, so that none is free."""
LEAST = 1e-4
"""nDCG@10 below which nothing is expected of an action."""
PRIOR_WEIGHT = 1.0
"""Actions that a kind's prior weighs as."""


@dataclass(frozen=True, kw_only=True)
class PastDecision:
    """A decision with what it was made from and what it brought.

    Attributes:
        name: Run and number.
        run: The run.
        state: The state as text.
        menu: What could be done, with prices.
        left: What was left of the budget.
        action: What was done.
        gain: nDCG@10 on the search half that it is credited with.
        seconds: What it took.
    """

    name: str
    run: str
    state: str
    menu: tuple[Offer, ...]
    left: Left
    action: Action
    gain: float
    seconds: float


@dataclass(frozen=True)
class PastDecisions:
    """Decisions in the order of their runs, and the number of those that cannot be used, by reason."""

    rows: tuple[PastDecision, ...]
    unused: Mapping[str, int] = field(default_factory=dict)


def read_decisions(runs: Path) -> PastDecisions:
    """Return the decisions in the ledgers of all runs; those without a menu or a known gain are counted."""
    rows: list[PastDecision] = []
    unused: dict[str, int] = {}

    def skip(reason: str) -> None:
        unused[reason] = unused.get(reason, 0) + 1

    for entry in known_runs(runs):
        try:
            ledger = Ledger(runs / entry["id"] / "ledger.jsonl").entries()
        except StmAgentError:
            skip("ledgers of another version")
            continue
        rows += _of_run(entry["id"], ledger, skip)
    return PastDecisions(tuple(rows), unused)


def split_decisions(
    past: PastDecisions, *, seed: int, examples: int, held: int
) -> tuple[list[PastDecision], list[PastDecision]]:
    """Return decisions to rate candidates on, and decisions of other runs that are held out.

    Args:
        past: All decisions.
        seed: Seed of both draws.
        examples: Decisions to rate on, at most.
        held: Decisions held out, at most.

    Raises:
        ConfigError: There are too few, or they are of one run.
    """
    runs = sorted({row.run for row in past.rows}, key=lambda run: sha256_text(f"{seed} {run}"))
    if len(past.rows) < FEWEST or len(runs) < 2:
        unused = ", ".join(f"{number} {reason}" for reason, number in sorted(past.unused.items()))
        raise ConfigError(
            f"the ledgers hold {len(past.rows)} past decisions of {len(runs)} runs that a planner can be rated on"
            f"{f' (not usable: {unused})' if unused else ''}; it needs {FEWEST} of 2 runs: make more runs with "
            "'stm-agent optimize --policy gain-per-cost'"
        )
    apart: list[PastDecision] = []
    for run in runs[:-1]:
        if len(apart) >= HELD_SHARE * len(past.rows):
            break
        apart += [row for row in past.rows if row.run == run]
    names = {row.run for row in apart}
    rest = [row for row in past.rows if row.run not in names]
    return _drawn(rest, examples, seed), _drawn(apart, held, seed)


def _drawn(rows: Sequence[PastDecision], count: int, seed: int) -> list[PastDecision]:
    return sorted(rows, key=lambda row: sha256_text(f"{seed} {row.name}"))[:count]


def _of_run(run: str, ledger: Sequence[Mapping[str, Any]], skip: Callable[[str], None]) -> Iterable[PastDecision]:
    situations = {row["number"]: row for row in ledger if row["event"] == SITUATION}
    actions = {row["number"]: row for row in ledger if row["event"] == ACTION}
    outcomes = {row["number"]: row for row in ledger if row["event"] == OUTCOME and not row["failed"]}
    order = sorted(outcomes)
    kinds = [(outcomes[n]["kind"], outcomes[n].get("expected", outcomes[n]["gain"])) for n in order]
    gains = dict(zip(order, credits(kinds), strict=True))
    for number in order:
        if number not in situations or number not in actions:
            skip("decisions without a recorded menu")
            continue
        gain = gains[number]
        if gain is None:
            skip("new data that nothing learnt from")
            continue
        try:
            menu, left = read_menu(situations[number])
            action = read_action(actions[number]["action"])
        except StmAgentError:
            skip("actions of another version")
            continue
        yield PastDecision(
            name=f"{run} {number}",
            run=run,
            state=situations[number]["state"],
            menu=menu,
            left=left,
            action=action,
            gain=gain,
            seconds=float(outcomes[number]["seconds"]),
        )


class Worth:
    """What actions gain for each second, by the decisions of all ledgers."""

    def __init__(self, decisions: Sequence[PastDecision]) -> None:
        """Take the decisions."""
        self._gains: dict[str, list[float]] = {}
        for row in decisions:
            self._gains.setdefault(row.action.kind, []).append(row.gain)

    def gain(self, action: Action) -> float:
        """Return the expected gain of an action, not below 0: a worse model is not taken."""
        gains = self._gains.get(action.kind, [])
        total = PRIOR_WEIGHT * action.prior.gain + sum(gains)
        return max(0.0, total / (PRIOR_WEIGHT + len(gains)))

    def of(self, decision: PastDecision, offer: Offer) -> float:
        """Return the gain for each second of an action on a decision's menu; of the one that was done, the real one."""
        if same_action(offer.action, decision.action):
            return max(0.0, decision.gain) / (OVERHEAD + decision.seconds)
        return self.gain(offer.action) / (OVERHEAD + offer.cost.seconds)

    def share(self, decision: PastDecision, offer: Offer) -> float:
        """Return an action's worth as a share of the best that could be afforded, from 0 to 1.

        To stop is worth 1 if nothing is expected of anything, and else 0.
        """
        affordable = [other for other in decision.menu if decision.left.allows(other.cost)]
        expected = [
            decision.gain if same_action(other.action, decision.action) else self.gain(other.action)
            for other in affordable
        ]
        stops = max(expected, default=0.0) < LEAST
        if offer.action.kind == STOP.action.kind:
            return 1.0 if stops else 0.0
        best = max((self.of(decision, other) for other in affordable), default=0.0)
        return 0.0 if stops or best <= 0 else min(1.0, self.of(decision, offer) / best)

    def best(self, decision: PastDecision) -> Offer:
        """Return what would have been best."""
        affordable = [offer for offer in decision.menu if decision.left.allows(offer.cost)]
        return max((STOP, *affordable), key=lambda offer: self.share(decision, offer))
