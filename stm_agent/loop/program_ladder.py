"""The upper rungs of the program search: probe, LoRA run and gate, each for fewer candidates than the one before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stm_agent.domain.data import Pair
from stm_agent.errors import BudgetExceeded, CheckFailed, ConfigError, DataError, GenerationError
from stm_agent.evaluate.metrics import Scores
from stm_agent.evaluate.scoring import ScoredTask
from stm_agent.files import read_json
from stm_agent.loop.gate import Confirmation, GateState, Verdict
from stm_agent.loop.probe import Probed, ProbeKind, ProbeSetting, probe, score_probed
from stm_agent.loop.program_trials import ProgramTrials
from stm_agent.synthesize.program_text import ProgramText
from stm_agent.synthesize.queries import load_pairs


@dataclass(kw_only=True)
class Rung:
    """A candidate on its way up.

    Attributes:
        text: The candidate.
        rating: Mean rating of its queries, without training.
        pairs: What it wrote for the passages that all candidates write for.
        probed: What a probe of its pairs gave.
        trained: What a LoRA run on its pairs gave.
    """

    text: ProgramText
    rating: float
    pairs: tuple[Pair, ...] = ()
    probed: Probed | None = None
    trained: Probed | None = None

    def to_json(self, trials: ProgramTrials) -> dict[str, Any]:
        """Return the candidate's numbers as JSON values."""
        return {
            "trial": trials.name_of(self.text),
            "rating": round(self.rating, 4),
            "pairs": len(self.pairs),
            "probe": self.probed.scores.ndcg_at_10 if self.probed else None,
            "lora": self.trained.scores.ndcg_at_10 if self.trained else None,
        }


@dataclass(frozen=True, kw_only=True)
class LadderOptions:
    """How candidates are compared once they are trained on.

    Attributes:
        passages: Passages that every candidate writes for, id -> text.
        probes: Candidates that are probed, beside the first one.
        finalists: Of these, candidates with a LoRA run, beside the first one.
        kind: The probe.
        lora_steps: Steps of a LoRA run.
    """

    passages: Mapping[str, str]
    probes: int
    finalists: int
    kind: ProbeKind
    lora_steps: int


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the ladder came to.

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


def write_pairs(trials: ProgramTrials, rung: Rung, passages: Mapping[str, str]) -> None:
    """Let a candidate write for the passages that are trained on.

    Raises:
        BudgetExceeded: A ceiling is reached.
        GenerationError: The LLM gave out.
        ConfigError: The program cannot be used.
        DataError: No query can be used.
    """
    context = trials.context
    with context.timed("synthesize", f"writing queries for {len(passages)} passages"):
        folder = context.build(trials.job(rung.text, passages, seed=context.seed))
    rung.pairs = load_pairs(folder)
    if not rung.pairs:
        counts = read_json(folder / "pairs.json")["refused"]
        refused = ", ".join(f"{number} {reason}" for reason, number in counts.items()) or "nothing came back"
        raise DataError(
            f"{trials.program.name} wrote no usable query for {len(passages)} passages ({refused}); "
            "try another --generator"
        )


def climb(
    trials: ProgramTrials, setting: ProbeSetting, rungs: Sequence[Rung], accept: ScoredTask, options: LadderOptions
) -> Outcome:
    """Probe the best rated candidates, train on the pairs of the best probed ones, and ask the gate about the winner.

    Args:
        trials: Writes and records.
        setting: What probes and LoRA runs are rated with.
        rungs: The first program, whose pairs are written, and then the candidates, best rated first.
        accept: The accept half.
        options: How many climb how far.
    """
    first, *others = rungs
    context = trials.context
    _probe(trials, setting, first, options)
    for rung in others[: options.probes]:
        if not context.has_time(f"probe of trial {trials.name_of(rung.text)}"):
            break
        try:
            write_pairs(trials, rung, options.passages)
            _probe(trials, setting, rung, options)
        except (GenerationError, ConfigError, DataError, CheckFailed) as error:
            trials.decide(rung.text, accepted=False, reason=f"dropped: its pairs could not be probed: {error}")
            context.warn("synthesize", f"trial {trials.name_of(rung.text)} is left out: {error}")
            if isinstance(error, BudgetExceeded):
                break
    ahead = sorted(
        (rung for rung in others if rung.probed and _ndcg(rung.probed) > _ndcg(first.probed)),
        key=lambda rung: -_ndcg(rung.probed),
    )
    if not ahead:
        return Outcome(
            winner=None, accepted=False, reason="no candidate's pairs are better in a probe; nothing changes"
        )
    if not context.has_time("LoRA runs of the finalists"):
        return Outcome(winner=None, accepted=False, reason="the minutes are over before the finalists' LoRA runs")
    finalists = [first, *ahead[: options.finalists]]
    for rung in finalists:
        _train(trials, setting, rung, options)
    trained = [rung for rung in finalists[1:] if rung.trained]
    if not first.trained or not trained:
        return Outcome(winner=None, accepted=False, reason="LoRA runs on these pairs failed; see the warnings")
    winner = max(trained, key=lambda rung: _ndcg(rung.trained))
    return _judge(trials, setting, first, winner, accept, tried=len(others))


def _probe(trials: ProgramTrials, setting: ProbeSetting, rung: Rung, options: LadderOptions) -> None:
    name = trials.name_of(rung.text)
    with trials.context.timed("probe", f"probing {len(rung.pairs)} pairs of {name} ({options.kind})"):
        rung.probed = probe(setting, rung.pairs, options.kind)
    reason = f"probe: {_ndcg(rung.probed):.4f} nDCG@10 on the search half with {len(rung.pairs)} pairs"
    trials.decide(rung.text, accepted=False, reason=reason)


def _train(trials: ProgramTrials, setting: ProbeSetting, rung: Rung, options: LadderOptions) -> None:
    context, name = trials.context, trials.name_of(rung.text)
    try:
        with context.timed("train", f"a LoRA run of {options.lora_steps} steps for {name}"):
            rung.trained = probe(setting, rung.pairs, "lora", steps=options.lora_steps)
    except CheckFailed as error:
        trials.decide(rung.text, accepted=False, reason=f"dropped: its LoRA run failed: {error}")
        context.warn("synthesize", f"trial {name} is left out: {error}")


def _judge(
    trials: ProgramTrials, setting: ProbeSetting, first: Rung, winner: Rung, accept: ScoredTask, *, tried: int
) -> Outcome:
    context = trials.context
    verdict = context.gate.consider(_scores(winner).per_query, _scores(first).per_query, tried=max(tried, 1))
    models = [rung.trained.model for rung in (winner, first) if rung.trained and rung.trained.model]
    with context.timed("rate", "scoring the winner and the first program on the accept half"):
        ours, theirs = (score_probed(setting, model, accept).per_query for model in models)
    confirmation, _ = context.gate.confirm(ours, theirs, GateState(), tried=max(tried, 1), last=True)
    accepted = verdict.accepted and confirmation.confirmed
    reason = f"{'accepted' if accepted else 'not accepted'}: {verdict.reason}; {confirmation.reason}"
    trials.decide(winner.text, accepted=accepted, reason=reason)
    return Outcome(winner=winner, accepted=accepted, reason=reason, verdict=verdict, confirmation=confirmation)


def _scores(rung: Rung) -> Scores:
    if rung.trained is None:
        raise DataError("a candidate without a LoRA run cannot be compared; report this")
    return rung.trained.scores


def _ndcg(probed: Probed | None) -> float:
    return probed.scores.ndcg_at_10 if probed else 0.0


def rank_agreement(rungs: Sequence[Rung]) -> dict[str, Any]:
    """Return Spearman's correlation of probes and LoRA runs over the candidates that had both; None below three."""
    both = [(_ndcg(rung.probed), _ndcg(rung.trained)) for rung in rungs if rung.probed and rung.trained]
    value: float | None = None
    if len(both) >= 3 and all(len(set(column)) > 1 for column in zip(*both, strict=True)):
        from scipy.stats import spearmanr

        value = float(spearmanr(*zip(*both, strict=True)).statistic)
    return {"candidates": len(both), "spearman": value}
