"""The experts that a user's own data can train in the minutes there are."""

from __future__ import annotations

from dataclasses import dataclass

from stm_agent.domain.data import DomainData
from stm_agent.domain.spec import DomainSpec, ExpertSpec, NegativeSpec
from stm_agent.errors import ConfigError

USABLE = 0.85
"""Share of the minutes that is planned; the rest is for loading, export and a machine that is slower later."""

WHOLE_ENCODINGS = 3
"""Encodings of the whole corpus: by the start, the merged model, and the best expert for its row."""

STEP_COST = 2.2
"""Time of a training step as a multiple of the time to encode its texts: a forward pass, and a backward pass that needs
no gradients of the backbone's weights."""

EPOCHS = 6.0
"""Passes over the pairs after which more steps only learn them by heart."""

FEWEST_STEPS = 12
"""Steps below which an expert is not worth its scoring."""

TRUNK = 0.5
"""Share of the steps that the first expert gets; the others start from it."""


@dataclass(frozen=True, kw_only=True)
class _Time:
    """How the minutes of a planned run are spent; all in seconds."""

    minutes: float
    encoding: float
    searching: float

    @property
    def training(self) -> float:
        return self.minutes * 60 * USABLE - self.encoding - self.searching


def plan_experts(
    spec: DomainSpec, data: DomainData, *, minutes: float, passages_per_second: float
) -> tuple[DomainSpec, list[str]]:
    """Return the domain with experts for its data that can be trained in the minutes, and the reasons.

    The first expert is the trunk; the others start from it, each with another view of the data, so that a merge can
    average what each of them learns by chance.

    Args:
        spec: A domain without experts.
        data: What there is to train on.
        minutes: For the whole run.
        passages_per_second: Encoding speed of the start.

    Raises:
        ConfigError: The minutes are too few.
    """
    recipes = _recipes(spec, data)
    documents = len(data.collection.documents)
    searched = min(documents, spec.loop.search_documents or documents)
    scorings = len(recipes) + spec.merge.verify + 2
    plan = _Time(
        minutes=minutes,
        encoding=WHOLE_ENCODINGS * documents / passages_per_second,
        searching=scorings * searched / passages_per_second,
    )
    batch = spec.train.batch_size
    units = 1 + (recipes[1].hard_negatives if len(recipes) > 1 else 0)
    step = STEP_COST * batch * (TRUNK + (1 - TRUNK) * units) / passages_per_second
    affordable = int(plan.training / step)
    if affordable < FEWEST_STEPS * len(recipes):
        least = (FEWEST_STEPS * len(recipes) * step + plan.encoding + plan.searching) / 60 / USABLE
        raise ConfigError(
            f"{minutes:g} minutes are too few for {documents:,} passages at {passages_per_second:.0f} a second on this "
            f"machine; set --budget-minutes {least + 1:.0f} or more"
        )
    pairs = max(len(rows) for rows in data.sources.values()) if data.sources else len(data.pool)
    useful = int(EPOCHS * pairs / batch) + 1
    total = min(affordable, useful * len(recipes))
    experts = tuple(_with_steps(recipe, number, len(recipes), total) for number, recipe in enumerate(recipes))
    steps = ", ".join(f"{expert.name} {expert.steps}" for expert in experts)
    reasons = [
        f"{passages_per_second:.0f} passages a second: of {minutes:g} minutes {plan.encoding / 60:.1f} go to encoding "
        f"the corpus {WHOLE_ENCODINGS} times and {plan.searching / 60:.1f} to scoring on {searched:,} passages",
        f"steps of the experts: {steps}"
        + ("; more would only repeat the pairs" if total < affordable else "; as many as the minutes allow"),
    ]
    return spec.model_copy(update={"experts": experts}), reasons


def _recipes(spec: DomainSpec, data: DomainData) -> list[ExpertSpec]:
    """Return the experts that the data allows, with one step each; the trunk first."""
    batch = spec.train.batch_size
    labelled = [name for name, pairs in data.sources.items() if len(pairs) >= 2 * batch]
    if not labelled:
        return [ExpertSpec(name="written", sources=("written",), steps=1)]
    sources = tuple(labelled)
    return [
        ExpertSpec(name="pairs", sources=sources, steps=1, final_rate=0.5),
        ExpertSpec(name="hard", sources=sources, start="pairs", steps=1, negatives=NegativeSpec(mined=1)),
    ]


def _with_steps(recipe: ExpertSpec, number: int, count: int, total: int) -> ExpertSpec:
    share = 1.0 if count == 1 else TRUNK if number == 0 else (1 - TRUNK) / (count - 1)
    return recipe.model_copy(update={"steps": max(FEWEST_STEPS, round(share * total))})
