"""The audit between mining and training: doubtful negatives are left out, wait for people, or become positives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypedDict

from stm_agent.domain.data import Pair
from stm_agent.domain.spec import AuditSpec
from stm_agent.domain.text import normalise
from stm_agent.files import content_hash, read_json
from stm_agent.llm.access import LlmAccess
from stm_agent.loop.context import RunContext
from stm_agent.loop.data_jobs import Miner, searched_pool
from stm_agent.loop.salvaging import build_or_salvage
from stm_agent.loop.training_data import TrainingData
from stm_agent.mine.evidence import Found
from stm_agent.mine.families import ONE
from stm_agent.mine.negatives import Negative
from stm_agent.mine.reviewed import answers_of
from stm_agent.synthesize.audit_job import OWN_TEXT, REPORT, AuditJob
from stm_agent.synthesize.verdict_rows import VerdictRow, load_verdicts
from stm_agent.train.job import Negatives
from stm_agent.workspace import program_path

Key = tuple[str, str]
MORE_POSITIVES = "judge more passages, for example with 'stm-agent annotate'"
ONE_POSITIVE = (
    "estimated by queries with one judged passage, as if relevant passages that nobody judged scored like those; "
    "none is relabelled by it"
)


class AuditReport(TypedDict):
    """What ``audit.json`` holds.

    Attributes:
        rates: Kind -> ``before`` and ``after`` the audit -> estimated share of relevant passages with its interval.
        reasons: Kind -> why it has no rate.
        by: Kind -> what its rate was estimated by.
        decisions: Kind -> decision -> passages.
        judge: ``model`` -> its name; family -> counts of its judgements.
    """

    rates: dict[str, dict[str, dict[str, float]]]
    reasons: dict[str, str]
    by: dict[str, str]
    decisions: dict[str, dict[str, int]]
    judge: dict[str, str | dict[str, int | str | None]]


def audited(
    context: RunContext, pairs: Sequence[Pair], found: Found, miner: Miner, training_data: TrainingData
) -> TrainingData:
    """Return training data without negatives that the audit takes for relevant, and with the pairs it makes of these.

    A failed audit costs the audit only, a judge that gives out its judgements only.

    Args:
        context: The run.
        pairs: What was mined for.
        found: What mining found, and what was written.
        miner: The encoder that mined.
        training_data: The data of the round so far.
    """
    if not context.spec.audit.enabled or not context.has_time("audit"):
        return training_data
    with context.attempt("audit"):
        whole = audit_job(context, pairs, found, miner)

        def job(generator: LlmAccess) -> AuditJob:
            return replace(whole, judge=judge_access(context.spec.audit, generator))

        with context.timed("audit", f"auditing the negatives of {len(pairs):,} pairs"):
            # Scores decide without a judge, too.
            folder = build_or_salvage(context, "audit", job, without_answers=True)
        if folder is None:
            return training_data
        report_audit(context, read_json(folder / REPORT))
        after = apply_verdicts(pairs, load_verdicts(folder), training_data)
        return replace(after, found=found, auditor=auditor_key(miner))
    return training_data


def auditor_key(miner: Miner) -> str:
    """Return the hash of an encoder with its instruction."""
    return content_hash([miner[0].source_key(), *miner[1].texts])


def audit_job(context: RunContext, pairs: Sequence[Pair], found: Found, miner: Miner) -> AuditJob:
    """Return the job that audits the negatives of pairs.

    Raises:
        ConfigError: The judge's program is missing.
    """
    spec, judge = context.spec.audit, judge_access(context.spec.audit, context.generator)
    return AuditJob(
        pairs=tuple(pairs),
        pool=searched_pool(context.spec, context.data),
        found=found,
        spec=spec,
        miner=miner[0],
        instruction=miner[1],
        answers=answers_of(context.workspace),
        task=context.spec.task,
        program=program_path(context.workspace, "judge") if judge else None,
        judge=judge,
        cache=context.cache,
    )


def judge_access(spec: AuditSpec, generator: LlmAccess) -> LlmAccess | None:
    """Return the way to the judge of an audit; None: no LLM judges."""
    return generator.as_judge(spec.judge) if spec.judge and spec.enabled else None


def apply_verdicts(pairs: Sequence[Pair], verdicts: Iterable[VerdictRow], training_data: TrainingData) -> TrainingData:
    """Take doubtful passages out of the negatives of every pair with the query, and make pairs of the relabelled ones.

    A new pair has the source, group and negatives of the pair that the passage was found for.
    """
    out: set[Key] = set()
    relabelled: dict[Key, Pair] = {}
    known = {pair.id: pair for pair in pairs}
    for row in verdicts:
        if row["decision"] == "negative":
            continue
        key = normalise(row["query"]), normalise(row["negative"])
        out.add(key)
        if row["decision"] == "relabelled":
            pair = known[row["pair"]]
            # What the data says of the first positive is not said of this one.
            relabelled[key] = replace(
                pair, id=f"{pair.id}+{len(relabelled)}", positive=row["negative"], aliases=(), related=(), scores=()
            )
    mined, written = (_without(pairs, part, out) for part in (training_data.mined, training_data.synthetic))
    for pair in relabelled.values():
        mined[pair.id] = mined.get(pair.id.rpartition("+")[0], ())
    return replace(training_data, mined=mined, synthetic=written, relabelled=tuple(relabelled.values()))


def _without(pairs: Sequence[Pair], negatives: Negatives, out: set[Key]) -> dict[str, tuple[Negative, ...]]:
    queries = {pair.id: normalise(pair.query) for pair in pairs}
    return {
        pair: tuple(n for n in row if (queries.get(pair, ""), normalise(n.text)) not in out)
        for pair, row in negatives.items()
    }


def report_audit(context: RunContext, report: AuditReport) -> None:
    """Note the rates with their intervals, what was decided, and why a rate is missing."""
    for kind, times in report["rates"].items():
        rates = [f"{_rate(times[time])} {time}" for time in ("before", "after") if time in times]
        context.note("audit", f"estimated false negatives, {kind}: {', '.join(rates)} the audit (95 % intervals)")
    for kind, by in report["by"].items():
        if by == ONE:
            context.note("audit", f"{kind}: {ONE_POSITIVE}")
    judge = context.spec.audit.judge
    for kind, reason in report["reasons"].items():
        if judge and context.spec.audit.judged:
            useless = f"{judge} is not asked, since its grades could decide nothing ({reason})"
            context.warn("audit", f"{kind}: {useless}; {MORE_POSITIVES}")
        else:
            context.note("audit", f"{kind}: {reason}")
    _report_decisions(context, report)
    for family, judged in report["judge"].items():
        # Beside the families stands the name of the model.
        if not isinstance(judged, str):
            _report_judge(context, family, judged)


def _report_decisions(context: RunContext, report: AuditReport) -> None:
    for kind, counts in report["decisions"].items():
        changed = [f"{counts[name]:,} {name}" for name in ("relabelled", "queued", "dropped") if counts[name]]
        total = sum(counts.values())
        context.note("audit", f"{kind}: of {total:,} passages {', '.join(changed) or 'all stay as they were'}")


def _report_judge(context: RunContext, family: str, counts: Mapping[str, int | str | None]) -> None:
    written, asked = counts["written"], counts["asked"]
    text = f"{family}: {written} of {asked} judgements usable"
    text += f"; {counts[OWN_TEXT]} {OWN_TEXT} (audit: own_text allows it)" if counts[OWN_TEXT] else ""
    text += f"; ended early: {counts['ended_by']}" if counts["ended_by"] else ""
    lost = counts["ended_by"] or counts[OWN_TEXT] or written != asked
    (context.warn if lost else context.note)("audit", text)


def _rate(rate: Mapping[str, float]) -> str:
    return f"{rate['share']:.1%} [{rate['low']:.1%}, {rate['high']:.1%}]"
