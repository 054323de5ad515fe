"""MIPROv2 on the instructions of a program, for comparison with GEPA (Opsahl-Ong et al. 2024, arXiv 2406.11695).

DSPy's optimiser proposes instructions grounded in the task and chooses among them by Bayesian search. What it runs is
not the program itself but a stand-in that rates the program's text, so that its candidates are written, rated, cached
and recorded as GEPA's are.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from stm_agent.errors import AnswerRejected, ConfigError, GenerationError, StmAgentError
from stm_agent.llm.access import LlmAccess
from stm_agent.loop.program_trials import Origin, ProgramTrials, SearchOptions, TrialHost, key_of, require_runnable
from stm_agent.synthesize.load import load_program
from stm_agent.synthesize.program_text import ProgramText

if TYPE_CHECKING:
    import dspy

logger = logging.getLogger(__name__)


def search_by_mipro(
    trials: ProgramTrials[TrialHost], first: ProgramText, reflection: LlmAccess, options: SearchOptions
) -> list[ProgramText]:
    """Propose instructions; return the candidates that were rated on all examples, ``first`` included, best first.

    Raises:
        ConfigError: Optuna, which it needs, is not installed.
        GenerationError: The first candidate cannot be run.
    """
    try:
        import optuna  # noqa: F401 - imported here, so that the error is one line
    except ImportError as error:
        raise ConfigError("--optimizer mipro needs Optuna: pip install 'stm-agent[optuna]'") from error
    require_runnable(trials, first)
    ended: list[StmAgentError] = []
    rated = {key_of(first): first}

    def rate(text: ProgramText, name: str) -> float:
        if ended or options.stops():
            return 0.0
        trials.propose(text, Origin(name="mipro", parent=first))
        try:
            (rollout,) = trials.rate(text, [name])
        except GenerationError as error:
            ended.append(error)
            return 0.0
        rated[key_of(text)] = text
        return rollout.rating.score

    try:
        _compile(trials, rate, reflection, options)
    except AnswerRejected as error:
        logger.info("MIPROv2 ended: %s", error)
    except (ValueError, AttributeError, KeyError) as error:
        # The optimiser gives up if an answer lacks its format; what was rated until then stays.
        trials.context.warn("synthesize", f"MIPROv2 ended early: {type(error).__name__}: {str(error)[:200]}")
    if ended:
        trials.context.warn("synthesize", f"the search of texts ended early: {ended[0]}")
    names = list(trials.examples)
    whole = [text for key, text in rated.items() if all((key, name) in trials.rollouts for name in names)]
    return sorted(whole, key=lambda text: -trials.mean(text))


def _compile(
    trials: ProgramTrials[TrialHost],
    rate: Callable[[ProgramText, str], float],
    reflection: LlmAccess,
    options: SearchOptions,
) -> None:
    """Run the optimiser on a stand-in of the program."""
    import dspy

    from stm_agent.llm.call_record import CallRecord
    from stm_agent.llm.dspy_engine import dspy_context

    none = {"max_bootstrapped_demos": 0, "max_labeled_demos": 0}
    examples = [dspy.Example(name=name).with_inputs("name") for name in trials.examples]
    record, client = CallRecord(), reflection.open()
    try:
        # Its progress bars are for a terminal of its own.
        with dspy_context(client, record=record, own_format=True), contextlib.redirect_stderr(io.StringIO()):
            lm = dspy.settings.lm
            optimizer = dspy.MIPROv2(
                metric=lambda example, prediction, trace=None: prediction.score,
                prompt_model=lm,
                task_model=lm,
                auto=None,
                num_candidates=max(2, options.proposals),
                num_threads=1,
                seed=options.seed,
                **none,
            )
            optimizer.compile(
                stand_in(load_program(trials.program, structured=trials.structured), rate),
                trainset=examples,
                valset=examples,
                num_trials=2 * max(2, options.proposals),
                minibatch=False,
                program_aware_proposer=False,
                fewshot_aware_proposer=False,
                data_aware_proposer=False,
                **none,
            )
    finally:
        client.close()
    if isinstance(record.error, GenerationError) and not isinstance(record.error, AnswerRejected):
        # The optimiser catches what an LLM raises.
        trials.context.warn("synthesize", f"MIPROv2 ended early: {record.error}")


def stand_in(program: dspy.Module, rate: Callable[[ProgramText, str], float]) -> dspy.Module:
    """Return a module with the predictors of a program that rates their text on an example instead of running them."""
    import dspy

    class RatedProgram(dspy.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.program = program

        def forward(self, name: str) -> dspy.Prediction:
            text = ProgramText.of_module(self.program)
            return dspy.Prediction(score=rate(text, name))

    return RatedProgram()
