"""GEPA on the text of a program: rated example by example, without any training (Agrawal et al. 2025, 2507.19457).

A rollout is a call of an LLM, so examples are few; the reflecting LLM sees what was written for them and why it is bad.
Demonstrations are not written by an LLM: they are pairs of people, and the best that the program itself wrote.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from stm_agent.errors import AnswerRejected, GenerationError, StmAgentError
from stm_agent.files import sha256_text
from stm_agent.llm.access import LlmAccess
from stm_agent.llm.answer import Completion
from stm_agent.llm.text import without_thoughts
from stm_agent.loop.program_kinds import ProgramKind
from stm_agent.loop.program_options import SearchOptions
from stm_agent.loop.program_trials import (
    Origin,
    ProgramTrials,
    Rollout,
    TrialHost,
    key_of,
    require_runnable,
)
from stm_agent.synthesize.load import list_field
from stm_agent.synthesize.program_text import DEMONSTRATIONS, INSTRUCTIONS, ProgramText, written_fields

logger = logging.getLogger(__name__)
PARENTS, MUTATIONS = 2, 2
"""Parents of an iteration, and candidates made from each: parallel proposals need fewer ratings for the same gain."""
MINIBATCH = 4
"""Examples that a candidate is compared with its parent on, before all of them."""
SHOWN_ROLLOUTS = 4
"""Rated examples that the reflecting LLM sees at a time."""
SHOWN_LETTERS = 400
"""Characters of an input that the reflecting LLM sees; of a state and a menu, all."""
MOST_DEMONSTRATIONS = 3
GOOD = 0.5
"""Rating from which a program's own output can be a demonstration."""
REFLECTION_TOKENS = 600
"""Ceiling of one reflection, in tokens."""
LONGEST = 2000
"""Characters of instructions beyond which a reflection is a chat rather than an instruction."""


def search_by_gepa(
    trials: ProgramTrials[TrialHost], first: ProgramText, reflection: LlmAccess, options: SearchOptions
) -> list[ProgramText]:
    """Propose candidates from ``first``; return those that were kept, ``first`` included, best rated first.

    Raises:
        BudgetExceeded: The first candidate could not be rated.
        GenerationError: The first candidate cannot be run, or an LLM gives out.
    """
    from gepa.api import optimize
    from gepa.strategies.proposal_sampling import PxNSampling

    adapter = ProgramAdapter(
        trials=trials,
        reflection=reflection,
        proposals=options.proposals,
        outputs=written_fields(trials.program, trials.kind.output, structured=trials.structured),
        stops=options.stops,
    )
    names = list(trials.examples)
    require_runnable(trials, first)
    found: Any = optimize(
        seed_candidate=first.parts(),
        trainset=names,
        valset=names,
        adapter=adapter,  # type: ignore[arg-type]
        reflection_minibatch_size=min(MINIBATCH, len(names)),
        sampling_strategy=PxNSampling(PARENTS, MUTATIONS),
        acceptance_criterion=BetterThanParent(trials),
        stop_callbacks=[lambda state: adapter.done],
        # Equal texts are rated once; proposals are what is limited.
        max_metric_calls=(options.proposals + 2) * (len(names) + 2 * MINIBATCH) * 4,
        skip_perfect_score=False,
        display_progress_bar=False,
        logger=_Quiet(),
        seed=options.seed,
    )
    if adapter.ended is not None:
        trials.end_by(adapter.ended)
    scores = found.val_aggregate_scores
    order = sorted(range(len(scores)), key=lambda number: (-scores[number], number))
    distinct = {key_of(text): text for text in (ProgramText.from_parts(found.candidates[row]) for row in order)}
    return list(distinct.values())


class ShownRollout(TypedDict):
    """What a program wrote for an example, as the reflecting LLM is shown it."""

    given: str
    wrote: str
    score: float
    why: str


class BetterThanParent:
    """GEPA's acceptance criterion: a higher mean rating than the parent's on the same examples, recorded either way."""

    def __init__(self, trials: ProgramTrials[TrialHost]) -> None:
        """Take the trials, which record the decision."""
        self._trials = trials

    def should_accept(self, proposal: Any, state: Any) -> bool:  # noqa: ANN401 - gepa's types
        """Decide on one proposal."""
        before, after = proposal.subsample_scores_before or [0.0], proposal.subsample_scores_after or [0.0]
        was, now = sum(before) / len(before), sum(after) / len(after)
        accepted = bool(now > was)
        text = ProgramText.from_parts(proposal.candidate)
        verb = "kept" if accepted else "dropped"
        reason = f"{verb}: rated {now:.3f} on {len(after)} examples, its parent {was:.3f}"
        reason += f"; {broken}" if (broken := self._trials.broken.get(key_of(text))) else ""
        self._trials.decide(text, accepted=False, reason=reason)
        return accepted


@dataclass(kw_only=True)
class ProgramAdapter:
    """Implements ``gepa.core.adapter.GEPAAdapter``; a data instance is the name of an example.

    Attributes:
        trials: Runs and rates candidates.
        reflection: The LLM that writes instructions.
        proposals: Most candidates that are proposed.
        outputs: Predictor -> its field with what is rated; None: it has none.
        stops: Whether a budget is used up as far as it may be.
        proposed: Candidates proposed so far.
        ended: What ended the search early.
    """

    trials: ProgramTrials[TrialHost]
    reflection: LlmAccess
    proposals: int
    outputs: Mapping[str, str | None]
    stops: Callable[[], bool]
    proposed: int = 0
    ended: StmAgentError | None = None

    @property
    def done(self) -> bool:
        """Whether no more candidates are proposed."""
        return self.ended is not None or self.proposed >= self.proposals or self.stops()

    def evaluate(self, batch: list[str], candidate: dict[str, str], capture_traces: bool = False) -> Any:  # noqa: ANN401
        """Run and rate a candidate on some examples."""
        from gepa.core.adapter import EvaluationBatch

        try:
            rollouts = self.trials.rate(ProgramText.from_parts(candidate), batch)
        except GenerationError as error:
            # gepa is stopped by its callback; a candidate that could not be rated is not better than its parent.
            self.ended = error
            return EvaluationBatch(outputs=list(batch), scores=[0.0] * len(batch), trajectories=[{} for _ in batch])
        scores = [rollout.rating.score for rollout in rollouts]
        traces = [self._trace(rollout) for rollout in rollouts] if capture_traces else None
        return EvaluationBatch(outputs=list(batch), scores=scores, trajectories=traces)

    def _trace(self, rollout: Rollout) -> ShownRollout:
        return {
            "given": self.trials.examples[rollout.example],
            "wrote": " | ".join(rollout.texts),
            "score": rollout.rating.score,
            "why": rollout.rating.feedback,
        }

    def make_reflective_dataset(
        self,
        candidate: dict[str, str],
        eval_batch: Any,  # noqa: ANN401 - gepa's generic batch
        components_to_update: list[str],
    ) -> dict[str, list[ShownRollout]]:
        """Return what was written for some examples, the worst first, with its ratings."""
        rows = [trace for trace in eval_batch.trajectories or [] if trace]
        worst = sorted(rows, key=lambda trace: trace["score"])[:SHOWN_ROLLOUTS]
        return {component: [trace.copy() for trace in worst] for component in components_to_update}

    def propose_new_texts(
        self,
        candidate: dict[str, str],
        reflective_dataset: Mapping[str, Sequence[ShownRollout]],
        components_to_update: list[str],
    ) -> dict[str, str]:
        """Return a better text of some parts; the old one if nothing better can be proposed."""
        if self.done:
            return {part: candidate[part] for part in components_to_update}
        try:
            return {part: self._better(candidate, part, reflective_dataset[part]) for part in components_to_update}
        except StmAgentError as error:
            # gepa catches what a proposal raises.
            self.ended = error
            return {part: candidate[part] for part in components_to_update}

    def _better(self, candidate: dict[str, str], part: str, shown: Sequence[ShownRollout]) -> str:
        self.proposed += 1
        parent = ProgramText.from_parts(candidate)
        completion: Completion | None = None
        if part.endswith(DEMONSTRATIONS):
            text, origin = self._demonstrations(parent, part), "demonstrations"
        else:
            access, origin = self.reflection, "reflection"
            client = access.open()
            try:
                chat = question(candidate[part], shown, self.trials)
                completion = client.complete(chat, rollout=self.proposed, max_tokens=REFLECTION_TOKENS)
            except AnswerRejected as error:
                self._note(str(error))
                return candidate[part]
            finally:
                client.close()
            text = read_instructions(completion.text)
        if not text or (len(text) > LONGEST and part.endswith(INSTRUCTIONS)) or text == candidate[part]:
            self._note(f"{origin}: {'the same text' if text == candidate[part] else 'no usable instructions'}")
            return candidate[part]
        made = ProgramText.from_parts({**candidate, part: text})
        self.trials.propose(made, Origin(name=origin, parent=parent, completion=completion, shown=shown))
        return text

    def _note(self, reason: str) -> None:
        self.trials.context.note("synthesize", f"proposal {self.proposed} gave no candidate: {reason}")

    def _demonstrations(self, parent: ProgramText, part: str) -> str:
        """Return demonstrations drawn from those of people and from what the program wrote best."""
        name = part.removesuffix(f" {DEMONSTRATIONS}")
        output = self.outputs.get(name)
        offered = self.trials.demonstrations(parent, GOOD)
        if not offered or output is None:
            return json.dumps([dict(demo) for demo in parent.demonstrations[name]], ensure_ascii=False, default=str)

        def order(row: tuple[dict[str, str], tuple[str, ...]]) -> str:
            return sha256_text(f"{self.proposed} {json.dumps(row[0], sort_keys=True)}")

        # A program may write a list of texts for an example.
        several = output == list_field(self.trials.kind.output)
        drawn = sorted(offered, key=order)[:MOST_DEMONSTRATIONS]
        rows = [{**inputs, output: list(texts) if several else texts[0]} for inputs, texts in drawn]
        return json.dumps(rows, ensure_ascii=False)


class _Quiet:
    def log(self, message: str) -> None:
        logger.debug("gepa: %s", message)


def read_instructions(answer: str) -> str:
    """Return the instructions of an answer: what stands in a code fence, else all of it without thoughts."""
    text = without_thoughts(answer).strip()
    if text.count("```") >= 2:
        inside = text.split("```")[1]
        first, _, rest = inside.partition("\n")
        text = rest if rest and " " not in first.strip() else inside
    return text.strip()


def question(current: str, shown: Sequence[ShownRollout], trials: ProgramTrials[TrialHost]) -> list[dict[str, str]]:
    """Return the chat that asks for better instructions."""
    kind: ProgramKind = trials.kind
    letters = SHOWN_LETTERS if kind.trains else None
    rated = "\n\n".join(
        f"{kind.given}: {row['given'][:letters]}\n{kind.wrote}: {row['wrote'] or '(none)'}\n"
        f"Rating: {row['score']:.2f} of 1; {row['why']}"
        for row in shown
    )
    asked = "\n".join(f"- {text}" for text in trials.usual())
    usual = f"\n\nQueries that people typed:\n{asked}" if asked else ""
    return [
        {"role": "system", "content": f"You improve the instructions of a program that {kind.does}."},
        {
            "role": "user",
            "content": f"Task of the search engine: {trials.task}{usual}\n\nThe instructions now:\n```\n{current}\n"
            f"```\n\nWhat the program wrote with them, and how it was rated:\n\n{rated}\n\n"
            f"Write better instructions: general ones, that do not name these examples, and that lead to {kind.aim}. "
            "Answer with the instructions only, within ``` blocks.",
        },
    ]
