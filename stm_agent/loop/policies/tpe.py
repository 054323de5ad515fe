"""Optuna's tree-structured Parzen estimator over kinds of actions and their parameters, for comparison."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from stm_agent.errors import ConfigError
from stm_agent.loop.actions.action import Action
from stm_agent.loop.actions.menu import KINDS, Stop
from stm_agent.loop.history import Decision, Step, credited
from stm_agent.loop.policies.policy import Offer, Situation

if TYPE_CHECKING:
    from optuna.distributions import CategoricalDistribution

NOT_ASKED = "-"
CHOICES: Mapping[str, tuple[str, ...]] = {
    "kind": tuple(kind for kind in KINDS if kind != Stop().kind),
    "start": ("listed", "incumbent", NOT_ASKED),
    "rung": ("short", "whole", NOT_ASKED),
    "side": ("both", "query", NOT_ASKED),
    "where": ("spread", "failing", NOT_ASKED),
}
"""Parameter -> values; the space of a study must be the same for all trials, so other parameters go by the menu."""

RANDOM_TRIALS = 4
"""Actions that are drawn before the estimator has something to estimate from."""


class TpeChoice:
    """Suggests by gain per minute of what was done so far."""

    def __init__(self, seed: int) -> None:
        """Take the seed of the run.

        Raises:
            ConfigError: Optuna is not installed.
        """
        try:
            import optuna  # noqa: F401 - imported here, so that the error is one line
        except ImportError as error:
            raise ConfigError("--policy tpe needs Optuna: python -m pip install 'stm-agent[optuna]'") from error
        self.seed = seed

    def choose(self, situation: Situation) -> Decision | None:
        """Return the affordable action that is most like the suggestion; None: nothing can be afforded."""
        if not situation.affordable:
            return None
        wanted = self._suggestion(situation.steps)
        offer = max(situation.affordable, key=lambda offer: _likeness(offer, wanted))
        shown = ", ".join(f"{name} {value}" for name, value in wanted.items() if value != NOT_ASKED)
        return Decision(
            action=offer.action,
            reason=f"the most like the suggestion ({shown})",
            by="tpe",
            seconds=offer.cost.seconds,
            dollars=offer.cost.dollars,
        )

    def _suggestion(self, steps: tuple[Step, ...]) -> dict[str, str]:
        import optuna
        from optuna.distributions import CategoricalDistribution

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        space: dict[str, CategoricalDistribution] = {
            name: CategoricalDistribution(values) for name, values in CHOICES.items()
        }
        # A study of its own for each decision, so that a resumed run needs none that is stored.
        sampler = optuna.samplers.TPESampler(seed=self.seed + len(steps), n_startup_trials=RANDOM_TRIALS)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        for step, gain in zip(steps, credited(steps), strict=True):
            value = 60 * (gain or 0.0) / max(step.seconds, 1.0)
            trial = optuna.trial.create_trial(
                params=features(step.decision.action), distributions=dict(space), value=value
            )
            study.add_trial(trial)
        return {name: str(value) for name, value in study.ask(dict(space)).params.items()}


def features(action: Action) -> dict[str, str]:
    """Return what the study knows of an action."""
    values = action.to_json()
    return {name: str(values.get(name, NOT_ASKED)) for name in CHOICES}


def _likeness(offer: Offer, wanted: Mapping[str, str]) -> tuple[bool, int]:
    has = features(offer.action)
    return has["kind"] == wanted["kind"], sum(has[name] == wanted[name] for name in wanted)
