"""Candidates of the planner's program, rated on past decisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from stm_agent.clock import RunClock
from stm_agent.errors import AnswerRejected, AnswersUnusable, GenerationError
from stm_agent.llm.access import LlmAccess
from stm_agent.llm.answer import NO_ANSWER
from stm_agent.llm.parallel import in_parallel
from stm_agent.loop.events import Observer
from stm_agent.loop.planner_examples import PastDecision, Worth
from stm_agent.loop.policies.answers import STOP, Fallback, answer_of, chosen, menu_text
from stm_agent.loop.program_trials import ProgramTrials, Rollout
from stm_agent.loop.recorder import Recorder
from stm_agent.loop.runs import RunFolder
from stm_agent.loop.stopping import StopSignal
from stm_agent.progress import report
from stm_agent.synthesize.feedback import Rating, unusable
from stm_agent.synthesize.load import load_program
from stm_agent.synthesize.program_text import ProgramText


@dataclass(kw_only=True)
class PlannerRun(Recorder):
    """What a search of the planner's text works with: no data, no models.

    Attributes:
        run: The run's folder, locked.
        observer: Receives events.
        clock: Wall time over all processes of the run.
        stop: Request to stop.
        generator: The LLM that plans.
        notes: Remarks so far.
        warnings: Degradations so far.
    """

    run: RunFolder
    observer: Observer
    clock: RunClock
    stop: StopSignal
    generator: LlmAccess
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class PlannerTrials(ProgramTrials[PlannerRun]):
    """Candidates that plan.

    Attributes:
        decisions: Example -> past decision, those of ``held`` included.
        held: Names of decisions that no candidate was chosen by.
        worth: What actions gain for each second.
    """

    decisions: Mapping[str, PastDecision]
    held: tuple[str, ...]
    worth: Worth

    def run(self, text: ProgramText, names: Sequence[str]) -> dict[str, Rollout]:
        """Ask a candidate for its answer to some past decisions."""
        path = self.file_of(text)
        program = load_program(path, "action")
        client = self.context.generator.open()

        def ask(name: str) -> str | AnswerRejected:
            row = self.decisions[name]
            try:
                return answer_of(program, path, client, {"state": row.state, "menu": shown_menu(row)})
            except AnswerRejected as error:
                return error

        answers: dict[str, str | AnswerRejected] = {}
        try:
            with closing(in_parallel(ask, names, width=client.threads)) as asked:
                for name, answer in zip(names, asked, strict=True):
                    answers[name] = answer
                    report("plan", "decisions", len(answers), len(names))
        finally:
            client.close()
        rejected = [answer for answer in answers.values() if isinstance(answer, AnswerRejected)]
        if rejected and len(rejected) == len(answers):
            # A text that gets no usable answer is a program that does not work, unless the provider is silent.
            silent = all(error.reason == NO_ANSWER for error in rejected)
            raise (GenerationError if silent else AnswersUnusable)(str(rejected[0]))
        return {name: self._rollout(name, answer) for name, answer in answers.items()}

    def inputs(self, name: str) -> dict[str, str]:
        """Return state and menu."""
        row = self.decisions[name]
        return {"state": row.state, "menu": shown_menu(row)}

    def _rollout(self, name: str, answer: str | AnswerRejected) -> Rollout:
        if isinstance(answer, AnswerRejected):
            return Rollout(example=name, texts=(), rating=unusable(str(answer)))
        row = self.decisions[name]
        line = answer.strip().splitlines()[0] if answer.strip() else ""
        best = self.worth.best(row)
        wanted = f"the best gain for its price was {menu_text([best]).partition(';')[0]}"
        try:
            offer = chosen(answer, row.menu, row.left)
        except Fallback as fault:
            feedback = f"{fault}; {wanted}"
            rating = Rating(score=0.0, round_trip=False, overlap=0.0, feedback=feedback)
            return Rollout(example=name, texts=(line,), rating=rating)
        share = self.worth.share(row, offer)
        rating = Rating(
            score=share, round_trip=False, overlap=0.0, feedback=f"{share:.0%} of the best gain per second; {wanted}"
        )
        return Rollout(example=name, texts=(line,), rating=rating)


def shown_menu(row: PastDecision) -> str:
    """Return the menu of a past decision as a planner reads it."""
    return menu_text((*row.menu, STOP))
