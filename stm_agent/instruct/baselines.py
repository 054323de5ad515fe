"""DSPy's own instruction optimisers on a retrieval instruction, for comparison with GEPA.

The program they optimise has one predictor, whose signature's instructions are the retrieval instruction; running it
is a search over cached vectors, never an LLM call. COPRO: coordinate ascent from earlier attempts; MIPROv2: proposals
grounded in the data, chosen by Bayesian search (Opsahl-Ong et al. 2024, arXiv 2406.11695).
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stm_agent.errors import AnswerRejected, ConfigError, GenerationError
from stm_agent.instruct.trials import Trials
from stm_agent.llm.checking import TextCheck
from stm_agent.llm.text import clean_text, without_thoughts

if TYPE_CHECKING:
    import dspy

    from stm_agent.llm.answer import Completion
    from stm_agent.llm.client import LlmClient

    Metric = Callable[[dspy.Example, dspy.Prediction, object], float]
    """Scores a prediction; the last argument is the trace, which scores nothing here."""
    Run = Callable[[dspy.LM, dspy.Module, Metric, list[dspy.Example]], None]
    """Runs an optimiser: the LLM that proposes, the program, its metric and the queries."""

logger = logging.getLogger(__name__)
ROUNDS = 2
"""Depth of COPRO: the second round knows the scores of the first."""


@dataclass(frozen=True)
class _Optimizer:
    """Options of both optimisers.

    Attributes:
        client: The LLM that writes.
        task: The domain's task; the optimiser starts from it if the best candidate has no instruction.
        candidates: Number of proposals.
        seed: Seed of the search; COPRO has none.
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

        def run(lm: dspy.LM, program: dspy.Module, metric: Metric, examples: list[dspy.Example]) -> None:
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
            import optuna  # noqa: F401 - imported here, so that the error is one line
        except ImportError as error:
            raise ConfigError("optimizer mipro needs Optuna: pip install 'stm-agent[optuna]'") from error

        def run(lm: dspy.LM, program: dspy.Module, metric: Metric, examples: list[dspy.Example]) -> None:
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


def _optimize(trials: Trials, client: LlmClient, task: str, origin: str, run: Run) -> None:
    """Let a DSPy optimiser propose; its candidates are checked, scored and traced like any other."""
    import dspy

    from stm_agent.llm.call_record import CallRecord
    from stm_agent.llm.dspy_engine import dspy_context

    record = CallRecord()
    program = instructed(trials.best()[0].query or task, _scorer(trials, origin, record.completions))
    examples = [
        dspy.Example(query=text, name=name).with_inputs("query", "name")
        for name, text in trials.scorer.split.queries.items()
    ]
    try:
        # Its progress bars are for a terminal of its own.
        with dspy_context(client, record=record, own_format=True), contextlib.redirect_stderr(io.StringIO()):
            run(dspy.settings.lm, program, _score_of, examples)
    except AnswerRejected as error:
        trials.rejected[error.reason] += 1
    except (ValueError, AttributeError, KeyError, dspy.utils.exceptions.AdapterParseError) as error:
        # The optimisers give up if an answer lacks their format; what was tried until then stays.
        trials.rejected[f"answer without {origin}'s format"] += 1
        logger.info("%s ended: %s", origin, str(error).splitlines()[0][:200])
    if isinstance(record.error, GenerationError) and not isinstance(record.error, AnswerRejected):
        # The optimisers catch what an LLM raises.
        raise record.error


def _score_of(example: dspy.Example, prediction: dspy.Prediction, trace: object = None) -> float:
    """Return the score that the program found: the metric of both optimisers."""
    score: float = prediction.score
    return score


def _scorer(trials: Trials, origin: str, completions: Sequence[Completion]) -> Callable[[str, str], float]:
    refused: set[str] = set()

    def score(text: str, query: str) -> float:
        candidate = trials.saying(" ".join(text.split()), origin)
        if candidate.texts not in trials.scores:
            # What people wrote was tried before and stays as it is.
            candidate = trials.saying(clean_text(" ".join(without_thoughts(text).split()), "instruction"), origin)
        if candidate.texts not in trials.scores and text not in refused:
            fault = TextCheck("instruction").fault(candidate.query)
            tried = trials.offer(candidate, written=completions[-1] if completions else None, fault=fault)
            if tried is None:
                refused.add(text)
        scores = trials.scores.get(candidate.texts)
        return scores.per_query[query] if scores else 0.0

    return score


def instructed(instruction: str, score: Callable[[str, str], float] | None = None) -> dspy.Module:
    """Return a retrieval instruction as a DSPy program: the instructions of its one predictor.

    ``dspy.Module.save`` and ``load`` keep it; calling it gives ``score(instruction, query id)``.
    """
    import dspy

    class InstructedSearch(dspy.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.search = dspy.Predict(dspy.Signature("query -> passages", instruction))

        def forward(self, query: str, name: str) -> dspy.Prediction:
            text = self.search.signature.instructions
            return dspy.Prediction(passages="", score=score(text, name) if score else 0.0)

    return InstructedSearch()
