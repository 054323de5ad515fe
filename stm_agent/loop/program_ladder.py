"""The upper rungs of the program search: probe, LoRA run and gate, each for fewer candidates than the one before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from stm_agent.errors import BudgetExceeded, CheckFailed, DataError
from stm_agent.evaluate.metrics import Scores
from stm_agent.evaluate.scoring import ScoredTask
from stm_agent.loop.context import RunContext
from stm_agent.loop.gate import Confirmation, Verdict
from stm_agent.loop.material import Material
from stm_agent.loop.probe import Probed, ProbeKind, ProbeSetting, probe, score_probed
from stm_agent.loop.program_rung import Rung, ndcg
from stm_agent.loop.program_trials import OF_CANDIDATE
from stm_agent.loop.search_looks import confirm_winner
from stm_agent.synthesize.program_text import ProgramText


class WritingTrials(Protocol):
    """Candidates that write what a model is trained on."""

    context: RunContext
    ended: list[str]

    def end_early(self, reason: str) -> None:
        """Note that a ceiling ended the search before its end."""

    def write(self, text: ProgramText) -> Material:
        """Let a candidate write for what all candidates write for before they are trained on."""

    def decide(self, text: ProgramText, *, accepted: bool, reason: str) -> None:
        """Record why a candidate was kept or dropped."""

    def name_of(self, text: ProgramText) -> str:
        """Return the trial of a candidate that was run."""


@dataclass(frozen=True, kw_only=True)
class LadderOptions:
    """How candidates are compared once they are trained on.

    Attributes:
        probes: Candidates that are probed, beside the first one.
        finalists: Of these, candidates with a LoRA run, beside the first one.
        kind: The probe.
        probe_steps: Steps of a probe; None: those of its kind.
        lora_steps: Steps of a LoRA run.
        stops: Whether no further candidate may write: a share is spent.
    """

    probes: int
    finalists: int
    kind: ProbeKind
    probe_steps: int | None = None
    lora_steps: int
    stops: Callable[[], bool] = lambda: False


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Result of the ladder.

    Attributes:
        winner: The best finalist; None: no candidate beat the first program in a probe.
        accepted: The gate accepts the winner.
        reason: Why, in one line.
        verdict: Comparison on the search half.
        confirmation: Test on the accept half.
    """

    winner: Rung | None
    accepted: bool
    reason: str
    verdict: Verdict | None = None
    confirmation: Confirmation | None = None


def write_material(trials: WritingTrials, rung: Rung) -> Material:
    """Let a candidate write what is trained on, once.

    Raises:
        BudgetExceeded: A ceiling is reached.
        GenerationError: The LLM gave out.
        ConfigError: The program cannot be used.
        DataError: Nothing can be used.
    """
    if rung.material is None:
        with trials.context.timed("synthesize", "writing what is trained on"):
            rung.material = trials.write(rung.text)
    return rung.material


def climb(
    trials: WritingTrials,
    setting: ProbeSetting,
    rungs: Sequence[Rung],
    accept: ScoredTask | None,
    options: LadderOptions,
) -> Outcome:
    """Probe the best rated candidates, train on what the best probed ones wrote, and ask the gate about the winner.

    Args:
        trials: Writes and records.
        setting: What probes and LoRA runs are rated with.
        rungs: The first program, which has written, and then the candidates, best rated first.
        accept: The accept half; None: the search half alone decides.
        options: How many climb how far.

    Raises:
        GenerationError: An LLM gives out.
    """
    first, *others = rungs
    context = trials.context
    _probe(trials, setting, first, options)
    _probe_all(trials, setting, others[: options.probes], options)
    better = [rung for rung in others if rung.probed and ndcg(rung.probed) > ndcg(first.probed)]
    ahead = sorted(better, key=lambda rung: -ndcg(rung.probed))
    if not ahead:
        return Outcome(
            winner=None, accepted=False, reason="what no candidate wrote is better in a probe; nothing changes"
        )
    if not context.has_time("LoRA runs of the finalists"):
        trials.end_early(reason := "the minutes are over before the finalists' LoRA runs")
        return Outcome(winner=None, accepted=False, reason=reason)
    finalists = [first, *ahead[: options.finalists]]
    for rung in finalists:
        _train(trials, setting, rung, options)
    trained = [rung for rung in finalists[1:] if rung.trained]
    if not first.trained or not trained:
        return Outcome(winner=None, accepted=False, reason="LoRA runs on what was written failed; see the warnings")
    winner = max(trained, key=lambda rung: ndcg(rung.trained))
    return _judge(trials, setting, first, winner, accept, tried=len(others))


def _probe_all(trials: WritingTrials, setting: ProbeSetting, rungs: Sequence[Rung], options: LadderOptions) -> None:
    """Probe candidates until the minutes or the budget end; one whose texts cannot be probed is left out."""
    for rung in rungs:
        name = trials.name_of(rung.text)
        if options.stops():
            return
        if not trials.context.has_time(f"probe of trial {name}"):
            trials.end_early(f"the minutes are over before the probe of trial {name}")
            return
        try:
            _probe(trials, setting, rung, options)
        except BudgetExceeded as error:
            trials.decide(rung.text, accepted=False, reason=f"not probed: {error}")
            trials.end_early(f"trial {name} is not probed: {error}")
            return
        except (*OF_CANDIDATE, DataError, CheckFailed) as error:
            trials.decide(rung.text, accepted=False, reason=f"dropped: what it wrote could not be probed: {error}")
            trials.context.warn("synthesize", f"trial {name} is left out: {error}")


def _probe(trials: WritingTrials, setting: ProbeSetting, rung: Rung, options: LadderOptions) -> None:
    material, name = write_material(trials, rung), trials.name_of(rung.text)
    with trials.context.timed("probe", f"probing what {name} wrote ({options.kind})"):
        rung.probed = _trained(setting, material, options.kind, options.probe_steps)
    reason = f"probe: {ndcg(rung.probed):.4f} nDCG@10 on the search half with {rung.written} texts"
    trials.decide(rung.text, accepted=False, reason=reason)


def _train(trials: WritingTrials, setting: ProbeSetting, rung: Rung, options: LadderOptions) -> None:
    context, name = trials.context, trials.name_of(rung.text)
    try:
        with context.timed("train", f"a LoRA run of {options.lora_steps} steps for {name}"):
            rung.trained = _trained(setting, write_material(trials, rung), "lora", options.lora_steps)
    except CheckFailed as error:
        trials.decide(rung.text, accepted=False, reason=f"dropped: its LoRA run failed: {error}")
        context.warn("synthesize", f"trial {name} is left out: {error}")


def _trained(setting: ProbeSetting, material: Material, kind: ProbeKind, steps: int | None) -> Probed:
    return probe(setting, material.pairs, kind, steps=steps, negatives=material.negatives, options=material.options)


def _judge(
    trials: WritingTrials, setting: ProbeSetting, first: Rung, winner: Rung, accept: ScoredTask | None, *, tried: int
) -> Outcome:
    context = trials.context
    verdict = context.gate.consider(_scores(winner).per_query, _scores(first).per_query, tried=max(tried, 1))
    confirmation: Confirmation | None = None
    if accept is not None:
        models = [rung.trained.model for rung in (winner, first) if rung.trained and rung.trained.model]
        with context.timed("rate", "scoring the winner and the first program on the accept half"):
            ours, theirs = (score_probed(setting, model, accept).per_query for model in models)
        confirmation = confirm_winner(context, ours, theirs, tried=max(tried, 1), continues=bool(trials.ended))
    # Without a test, the gate's leniency is not enough: what is taken must look better.
    accepted = verdict.accepted and (confirmation.confirmed if confirmation else verdict.gain > 0)
    tested = f"; {confirmation.reason}" if confirmation else ""
    reason = f"{'accepted' if accepted else 'not accepted'}: {verdict.reason}{tested}"
    trials.decide(winner.text, accepted=accepted, reason=reason)
    return Outcome(winner=winner, accepted=accepted, reason=reason, verdict=verdict, confirmation=confirmation)


def _scores(rung: Rung) -> Scores:
    if rung.trained is None:
        raise DataError("a candidate without a LoRA run cannot be compared; report this")
    return rung.trained.scores
