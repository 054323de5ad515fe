"""MIPROv2 on the text of a program, for comparison with GEPA (Opsahl-Ong et al. 2024, arXiv 2406.11695).

DSPy's optimiser proposes instructions grounded in the task, draws sets of demonstrations, and chooses among both by
Bayesian search. What it runs is not the program itself but a stand-in that rates the program's text, so that its
candidates are written, rated, cached and recorded as GEPA's are. Labelled demonstrations are those that GEPA has: pairs
of people, and what the first program wrote well. Bootstrapped ones are what a candidate wrote well that shows these.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace
from typing import TYPE_CHECKING

from stm_agent.errors import AnswerRejected, ConfigError, GenerationError, StmAgentError
from stm_agent.files import content_hash
from stm_agent.llm.access import LlmAccess
from stm_agent.loop.program_gepa import GOOD, MOST_DEMONSTRATIONS
from stm_agent.loop.program_options import SearchOptions
from stm_agent.loop.program_trials import Origin, ProgramTrials, Rollout, TrialHost, key_of, require_runnable
from stm_agent.synthesize.load import list_field, load_program
from stm_agent.synthesize.program_text import ProgramText, written_fields

if TYPE_CHECKING:
    import dspy

logger = logging.getLogger(__name__)
Rate = Callable[[ProgramText, str], Rollout | None]
"""Rates a text on an example; None: the search has ended."""


def search_by_mipro(
    trials: ProgramTrials[TrialHost], first: ProgramText, reflection: LlmAccess, options: SearchOptions
) -> list[ProgramText]:
    """Propose texts; return the candidates that were rated on all examples, ``first`` included, best first.

    Raises:
        ConfigError: Optuna, which it needs, is not installed.
        GenerationError: The first candidate cannot be run, or an LLM gives out.
    """
    try:
        import optuna  # noqa: F401 - imported here, so that the error is one line
    except ImportError as error:
        raise ConfigError("--optimizer mipro needs Optuna: pip install 'stm-agent[optuna]'") from error
    require_runnable(trials, first)
    ended: list[StmAgentError] = []
    rated = {key_of(first): first}

    def rate(text: ProgramText, name: str) -> Rollout | None:
        if ended or options.stops():
            return None
        trials.propose(text, Origin(name="mipro", parent=first))
        try:
            (rollout,) = trials.rate(text, [name])
        except GenerationError as error:
            ended.append(error)
            return None
        rated[key_of(text)] = text
        return rollout

    try:
        _compile(trials, first, rate, reflection, options)
    except AnswerRejected as error:
        logger.info("MIPROv2 ended: %s", error)
    except (ValueError, AttributeError, KeyError) as error:
        # The optimiser gives up if an answer lacks its format; what was rated until then stays.
        trials.context.warn("synthesize", f"MIPROv2 ended early: {type(error).__name__}: {str(error)[:200]}")
    if ended:
        trials.end_by(ended[0])
    names = list(trials.examples)
    whole = [text for key, text in rated.items() if all((key, name) in trials.rollouts for name in names)]
    return sorted(whole, key=lambda text: -trials.mean(text))


def _compile(
    trials: ProgramTrials[TrialHost],
    first: ProgramText,
    rate: Rate,
    reflection: LlmAccess,
    options: SearchOptions,
) -> None:
    """Run the optimiser on a stand-in of the program."""
    import dspy

    from stm_agent.llm.call_record import CallRecord
    from stm_agent.llm.dspy_engine import dspy_context

    outputs = written_fields(trials.program, trials.kind.output, structured=trials.structured)
    labelled = _labelled(trials, first, set(outputs.values()) - {None})
    most = min(MOST_DEMONSTRATIONS, len(labelled))
    limits = {"max_bootstrapped_demos": most, "max_labeled_demos": most}
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
                metric_threshold=GOOD,
                **limits,
            )
            optimizer.compile(
                stand_in(load_program(trials.program, structured=trials.structured), trials, outputs, rate),
                trainset=labelled or examples,
                valset=examples,
                num_trials=2 * max(2, options.proposals),
                minibatch=False,
                program_aware_proposer=False,
                fewshot_aware_proposer=False,
                data_aware_proposer=False,
                **limits,
            )
    finally:
        client.close()
    if isinstance(record.error, GenerationError) and not isinstance(record.error, AnswerRejected):
        # The optimiser catches what an LLM raises.
        trials.end_by(record.error)


def _labelled(trials: ProgramTrials[TrialHost], first: ProgramText, outputs: Set[str | None]) -> list[dspy.Example]:
    """Return finished examples; those that are rated have their name, so that they can be bootstrapped."""
    import dspy

    names = {content_hash(trials.inputs(name)): name for name in trials.examples}
    return [
        dspy.Example(
            name=names.get(content_hash(inputs), ""),
            **inputs,
            **{str(output): _value(trials, str(output), texts) for output in outputs},
        ).with_inputs("name")
        for inputs, texts in trials.demonstrations(first, GOOD)
        if outputs
    ]


def _value(trials: ProgramTrials[TrialHost], output: str, texts: Sequence[str]) -> str | list[str]:
    # A program may write a list of texts for an example.
    return list(texts) if output == list_field(trials.kind.output) else texts[0]


def stand_in(
    program: dspy.Module, trials: ProgramTrials[TrialHost], outputs: Mapping[str, str | None], rate: Rate
) -> dspy.Module:
    """Return a module with the predictors of a program that rates their text on an example instead of running them.

    Args:
        program: The program.
        trials: Its examples.
        outputs: Predictor -> output field that is rated; None: it has none, and shows no demonstrations.
        rate: Rates a text on an example; None if the search has ended.
    """
    import dspy

    class RatedProgram(dspy.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.program = program

        def forward(self, name: str) -> dspy.Prediction:
            if name not in trials.examples:
                return dspy.Prediction(score=0.0)
            rollout = rate(_shown(ProgramText.of_module(self.program), self.program, outputs), name)
            if rollout is not None and rollout.texts and dspy.settings.trace is not None:
                # The optimiser reads from the trace what each predictor was given and wrote.
                dspy.settings.trace.extend(
                    (predictor, trials.inputs(name), {output: _value(trials, output, rollout.texts)})
                    for own, predictor in self.program.named_predictors()
                    if (output := outputs.get(own)) is not None
                )
            return dspy.Prediction(score=0.0 if rollout is None else rollout.rating.score)

    return RatedProgram()


def _shown(text: ProgramText, program: dspy.Module, outputs: Mapping[str, str | None]) -> ProgramText:
    """Return the text with the fields of each signature alone; the optimiser adds some to demonstrations."""
    fields = {name: set(predictor.signature.fields) for name, predictor in program.named_predictors()}
    return replace(
        text,
        demonstrations={
            name: tuple(
                {field: value for field, value in demo.items() if field in fields[name]}
                for demo in demos
                if outputs.get(name) is None or outputs[name] in demo
            )
            for name, demos in text.demonstrations.items()
        },
    )
