"""DSPy's own instruction optimisers on a retrieval instruction, to compare GEPA with.

The program they see has one predictor, whose signature's instructions are the retrieval instruction; running it is a
look at kept vectors, never an LLM call. COPRO: coordinate ascent from earlier attempts; MIPROv2: proposals grounded in
the data, chosen by Bayesian search (Opsahl-Ong et al. 2024, arXiv 2406.11695).
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stm_agent.errors import BudgetExceeded, ConfigError, GenerationError
from stm_agent.instruct.trials import Trials

if TYPE_CHECKING:
    import dspy

    from stm_agent.llm.client import Completion, LlmClient

logger = logging.getLogger(__name__)
ROUNDS = 2
"""COPRO's depth: the second round sees how the first one scored."""


@dataclass(frozen=True)
class _Optimizer:
    """What both take.

    Attributes:
        client: The LLM that writes.
        task: The domain's task, the instruction it begins from where there is none.
        candidates: Proposals it may make.
        seed: Seed of its search; COPRO's choices have none.
    """

    client: LlmClient
    task: str
    candidates: int
    seed: int


class Copro(_Optimizer):
    """A :class:`~stm_agent.instruct.proposers.Proposer` by ``dspy.COPRO``."""

    def propose(self, trials: Trials) -> None:
        """Run it from the best candidate so far."""
        import dspy

        depth = ROUNDS if self.candidates >= 2 * ROUNDS else 1

        def run(lm: Any, program: Any, metric: Any, examples: list[Any]) -> None:  # noqa: ANN401 - dspy's types
            breadth = max(2, self.candidates // depth)
            optimizer = dspy.COPRO(prompt_model=lm, metric=metric, breadth=breadth, depth=depth)
            quiet = {"num_threads": 1, "display_progress": False, "display_table": False}
            optimizer.compile(program, trainset=examples, eval_kwargs=quiet)

        _optimize(trials, self.client, self.task, "copro", run)


class MiproV2(_Optimizer):
    """A :class:`~stm_agent.instruct.proposers.Proposer` by ``dspy.MIPROv2``, without demonstrations."""

    def propose(self, trials: Trials) -> None:
        """Run it from the best candidate so far.

        Raises:
            ConfigError: Optuna, which it needs, is not installed.
        """
        import dspy

        try:
            import optuna  # noqa: F401 - asked for here, so that the reason is told in one line
        except ImportError as error:
            raise ConfigError("optimizer mipro needs Optuna: pip install 'stm-agent[optuna]'") from error

        def run(lm: Any, program: Any, metric: Any, examples: list[Any]) -> None:  # noqa: ANN401 - dspy's types
            none = {"max_bootstrapped_demos": 0, "max_labeled_demos": 0}
            optimizer = dspy.MIPROv2(
                metric=metric,
                prompt_model=lm,
                task_model=lm,
                auto=None,
                num_candidates=max(2, self.candidates),
                num_threads=1,
                seed=self.seed,
                **none,
            )
            optimizer.compile(
                program,
                trainset=examples,
                valset=examples,
                num_trials=2 * max(2, self.candidates),
                minibatch=False,
                program_aware_proposer=False,
                fewshot_aware_proposer=False,
                **none,
            )

        _optimize(trials, self.client, self.task, "mipro", run)


def _optimize(
    trials: Trials, client: LlmClient, task: str, origin: str, run: Callable[[Any, Any, Any, list[Any]], None]
) -> None:
    """Let a DSPy optimiser work on the context; what it proposes is checked, scored and traced as from anybody."""
    import dspy

    from stm_agent.llm.dspy_lm import through

    last: list[Completion] = []
    program = instructed(trials.best()[0].query or task, _scorer(trials, origin, last))
    examples = [
        dspy.Example(query=text, name=name).with_inputs("query", "name")
        for name, text in trials.scorer.split.queries.items()
    ]
    try:
        # Its progress bars are for a terminal of its own.
        with through(client, last, plain=False), contextlib.redirect_stderr(io.StringIO()):
            run(dspy.settings.lm, program, lambda example, prediction, trace=None: prediction.score, examples)
    except BudgetExceeded as error:
        logger.warning("%s stopped: %s", origin, error)
    except (GenerationError, ValueError, AttributeError, KeyError, dspy.utils.exceptions.AdapterParseError) as error:
        # The optimisers give up when an answer has not their format; what was tried until then is kept.
        logger.warning("%s ended: %s", origin, str(error).splitlines()[0][:200])


def _scorer(trials: Trials, origin: str, last: list[Completion]) -> Callable[[str, str], float]:
    refused: set[str] = set()

    def score(text: str, query: str) -> float:
        candidate = trials.saying(" ".join(text.split()), origin)
        if candidate.texts not in trials.scores and text not in refused:
            tried = trials.offer(candidate, written=last[-1] if last else None)
            if tried is None:
                refused.add(text)
        known = trials.scores.get(candidate.texts)
        return known.per_query[query] if known else 0.0

    return score


def instructed(instruction: str, score: Callable[[str, str], float] | None = None) -> dspy.Module:
    """Return a retrieval instruction as a DSPy program: its one predictor's signature says it.

    ``dspy.Module.save`` and ``load`` keep it; ``score(instruction, query id)`` is what calling it gives.
    """
    import dspy

    class InstructedSearch(dspy.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.search = dspy.Predict(dspy.Signature("query -> passages", instruction))

        def forward(self, query: str, name: str) -> dspy.Prediction:
            said = self.search.signature.instructions
            return dspy.Prediction(passages="", score=score(said, name) if score else 0.0)

    return InstructedSearch()
