"""``stm-agent synthesize compare``: what LLMs write for the same passages and budget, and what it is worth."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from stm_agent.domain.data import Pair
from stm_agent.domain.spec import DomainSpec
from stm_agent.errors import ConfigError, DataError, GenerationError
from stm_agent.evaluate.cache import EmbeddingCache, encode_queries
from stm_agent.evaluate.significance import confidence_interval, paired_bootstrap
from stm_agent.files import content_hash, read_json, write_json
from stm_agent.job import numeric_versions
from stm_agent.llm.access import LlmAccess, spending
from stm_agent.llm.answer import NOT_ASKED
from stm_agent.llm.budget import Spending
from stm_agent.loop.comparison_report import ComparisonReport, Gain, GeneratorCost, GeneratorRow, Mean, Quality
from stm_agent.loop.context import RunContext
from stm_agent.loop.events import Observer
from stm_agent.loop.false_negatives import false_negative_rate
from stm_agent.loop.grading import Grader, grader_of
from stm_agent.loop.lengths import with_encoding
from stm_agent.loop.options import Options
from stm_agent.loop.prepare import open_context
from stm_agent.loop.probe import DEFAULT_PROBE, ProbeKind, ProbeSetting, probe
from stm_agent.loop.query_rating import dev_part, draw_passages, people_of, query_rater, writing_job
from stm_agent.loop.runs import COMPARISON, open_run
from stm_agent.loop.starting import with_starts
from stm_agent.loop.stopping import StoppableWatcher
from stm_agent.program_files import program_files
from stm_agent.progress import watched_by
from stm_agent.synthesize.feedback import QueryRater
from stm_agent.synthesize.jobs import QueriesJob
from stm_agent.synthesize.queries import load_pairs
from stm_agent.workspace import program_path

BLOCK = 8
"""Passages written for between two looks at the tokens that were spent."""


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """Options of one comparison.

    Attributes:
        llm: Seed, prices and start; its ceilings do not count.
        generators: LiteLLM names.
        program: Name of the program in ``programs/``.
        passages: Passages that each generator writes for, as far as its budget lasts.
        usd: Dollars of each generator; None: no ceiling.
        calls: Calls of each generator; None: no ceiling.
        tokens: Tokens of prompts and answers of each generator, checked every few passages; None: no ceiling.
        documents: Passages that probes are scored on; judged ones always are.
        kind: The probe.
        judge: LLM that grades queries and their negatives; None: none.
        own_text: Let it judge what it wrote itself.
    """

    llm: Options
    generators: tuple[str, ...]
    program: str = "queries"
    passages: int = 48
    usd: float | None = None
    calls: int | None = None
    tokens: int | None = None
    documents: int = 1000
    kind: ProbeKind = DEFAULT_PROBE
    judge: str | None = None
    own_text: bool = False


@dataclass(frozen=True, kw_only=True)
class Written:
    """What one generator wrote.

    Attributes:
        asked: Passages that it was asked about.
        pairs: Its usable queries.
        refused: Texts that cannot be used, by reason.
        ended: Why it stopped before the last passage; None: it did not.
    """

    asked: tuple[str, ...]
    pairs: tuple[Pair, ...]
    refused: Mapping[str, int]
    ended: str | None


def compare_generators(
    spec: DomainSpec, options: CompareOptions, *, workspace: Path, runs: Path, observer: Observer
) -> ComparisonReport:
    """Let generators write for the same passages with equal budgets; return a row for each, with 95 % intervals.

    The same call continues a killed comparison and pays no LLM call twice.

    Raises:
        ConfigError: Fewer than two generators, or one that cannot be used.
        StopRequested: A stop was asked for.
    """
    if len(set(options.generators)) < 2:
        raise ConfigError("a comparison needs two different generators; name each with --generator")
    spec = with_starts(spec, options.llm.starts[:1]).model_copy(update={"starts": ()})
    program = program_path(workspace, options.program)
    identity = {
        "kind": "compare",
        "domain": spec.model_dump(mode="json"),
        "program": program_files(program),
        "judge": program_files(program_path(workspace, "judge")) if options.judge else None,
        "options": asdict(options),
        "versions": numeric_versions(),
    }
    run = open_run(runs, f"compare-{spec.name}", identity)
    try:
        flags = dataclasses.replace(options.llm, generator=options.generators[0], budget_usd=None, budget_minutes=None)
        with open_context(spec, flags, run, workspace=workspace, runs=runs, observer=observer) as context:
            context.spec, _ = with_encoding(context.spec, context.data)
            with watched_by(StoppableWatcher(observer, context.stop)):
                report = _compare(context, program, options)
        write_json(run.folder / COMPARISON, report)
        return report
    finally:
        run.close()


def _compare(context: RunContext, program: Path, options: CompareOptions) -> ComparisonReport:
    setting = ProbeSetting.of(context, dev_part(context, "search", options.documents))
    passages = draw_passages(context.data.pool, options.passages, context.seed)
    people = people_of(context)
    rater = query_rater(context, setting, passages, people)
    grader = grader_of(context, options.judge, options.generators, own_text=options.own_text)
    if grader is not None:
        ledger = context.run.folder / "llm-judge.jsonl"
        grader = dataclasses.replace(grader, access=dataclasses.replace(grader.access, ledger=ledger))
    rows: list[GeneratorRow] = []
    for name in options.generators:
        access = _access(context, name, options)
        with context.timed("synthesize", f"{name} writes queries for up to {len(passages)} passages"):
            written = _write(context, program, access, passages, options)
        row: GeneratorRow = {
            "generator": name,
            **_quality(context, setting, rater, written),
            "gain": _gain(context, setting, written.pairs, options.kind),
            "false_negatives": false_negative_rate(context, written.pairs, people, grader),
            "grade": _grades(written.pairs, grader),
            "cost": _cost(spending(access.ledger)),
        }
        rows.append(row)
    return {
        "run": context.run.id,
        "program": str(program),
        "passages": len(passages),
        "budget": {"usd": options.usd, "calls": options.calls, "tokens": options.tokens},
        "probe": options.kind,
        "untrained": setting.untrained().ndcg_at_10,
        "rows": rows,
    }


def _access(context: RunContext, name: str, options: CompareOptions) -> LlmAccess:
    """Return the access to one generator, with a budget of its own."""
    llm = options.llm.llm(context.spec, name)
    ledger = context.run.folder / f"llm-{content_hash(name)[:8]}.jsonl"
    access = dataclasses.replace(
        context.generator, options=llm, ledger=ledger, usd=options.usd, calls=options.calls, minutes=None
    )
    # A wrong name or an unknown price ends the comparison before anything is paid.
    access.open().close()
    return access


def _write(
    context: RunContext, program: Path, access: LlmAccess, passages: Mapping[str, str], options: CompareOptions
) -> Written:
    """Let a generator write, a few passages at a time, until the passages or its budget end."""
    names = list(passages)
    asked: list[str] = []
    pairs: list[Pair] = []
    refused: Counter[str] = Counter()
    ended: str | None = None
    for begin in range(0, len(names), BLOCK):
        block = {name: passages[name] for name in names[begin : begin + BLOCK]}
        ended = _tokens_spent(access, options)
        if ended is None:
            folder, ended = _build_block(context, writing_job(context, program, access, block, context.seed))
            found, counts = load_pairs(folder), Counter(read_json(folder / "pairs.json")["refused"])
            del counts[NOT_ASKED]
            pairs += found
            refused += counts
            # Which passages of a block that broke off were refused is not known; how many were is.
            stopped = [*{pair.group for pair in found}, *(f"refused {number}" for number in range(counts.total()))]
            asked += block if ended is None else stopped
        if ended is not None:
            context.warn("synthesize", f"{access.options.model} stopped early: {ended}")
            break
    return Written(asked=tuple(asked), pairs=tuple(pairs), refused=dict(refused), ended=ended)


def _tokens_spent(access: LlmAccess, options: CompareOptions) -> str | None:
    spent = spending(access.ledger)
    if options.tokens is None or spent.prompt_tokens + spent.completion_tokens < options.tokens:
        return None
    return f"budget of {options.tokens:,} tokens is spent"


def _build_block(context: RunContext, job: QueriesJob) -> tuple[Path, str | None]:
    """Return the folder of a block, and why it broke off; what was paid for until then counts."""
    try:
        return context.build(job), None
    except GenerationError as error:
        answered = job.generator.without_asking(spending(job.generator.ledger).calls)
        return context.build(dataclasses.replace(job, generator=answered)), str(error)


def _quality(context: RunContext, setting: ProbeSetting, rater: QueryRater, written: Written) -> Quality:
    """Return shares and distances of what one generator wrote."""
    covered = {pair.group for pair in written.pairs}
    accepted = {name: float(name in covered) for name in written.asked}
    ratings = rater.rate([(pair.group, pair.query) for pair in written.pairs])
    names = [pair.id for pair in written.pairs]
    trips = {name: float(rating.round_trip) for name, rating in zip(names, ratings, strict=True)}
    scores = {name: rating.score for name, rating in zip(names, ratings, strict=True)}
    return {
        "asked": len(written.asked),
        "queries": len(written.pairs),
        "refused": dict(written.refused),
        "ended": written.ended,
        "accepted": _interval(accepted),
        "round_trip": _interval(trips),
        "rating": _interval(scores),
        "distance": _interval(_distances(context, setting, written.pairs)),
        "distinct_2": distinct_share([pair.query for pair in written.pairs], 2),
    }


def _grades(pairs: Sequence[Pair], grader: Grader | None) -> Mean | None:
    """Return the mean grade, from 0 to 3, of each query's own passage; None without a judge or usable judgements."""
    if grader is None:
        return None
    judgements = grader.grade([(pair.query, pair.positive) for pair in pairs])
    rows = zip(pairs, judgements, strict=True)
    return _interval({pair.id: float(judgement.grade) for pair, judgement in rows if judgement is not None})


def _interval(values: Mapping[str, float]) -> Mean | None:
    if not values:
        return None
    interval = confidence_interval(values, samples=2000)
    return {"mean": interval.mean, "low": interval.low, "high": interval.high}


def _distances(context: RunContext, setting: ProbeSetting, pairs: Sequence[Pair]) -> dict[str, float]:
    """Return each query's mean cosine distance from the other queries."""
    if len(pairs) < 2:
        return {}
    encoder = context.backbone.open()
    queries = [pair.query for pair in pairs]
    vectors = encode_queries(EmbeddingCache(context.cache), encoder, queries, prefix=setting.instruction.query_prefix)
    near = vectors @ vectors.T
    return {pair.id: float(1 - (near[row].sum() - near[row, row]) / (len(pairs) - 1)) for row, pair in enumerate(pairs)}


def distinct_share(texts: Sequence[str], length: int) -> float | None:
    """Return the share of distinct runs of ``length`` words among all (distinct-n, Li et al. 2016); None for none."""
    runs = [
        tuple(words[begin : begin + length])
        for words in (text.lower().split() for text in texts)
        for begin in range(len(words) - length + 1)
    ]
    return len(set(runs)) / len(runs) if runs else None


def _gain(context: RunContext, setting: ProbeSetting, pairs: Sequence[Pair], kind: ProbeKind) -> Gain | None:
    """Return the gain of a probe over the untrained model on the search half; None without usable pairs."""
    try:
        with context.timed("probe", f"probing {len(pairs)} pairs ({kind})"):
            probed = probe(setting, pairs, kind)
    except DataError:
        return None
    compared = paired_bootstrap(probed.scores.per_query, setting.untrained().per_query, samples=2000)
    return {
        "delta": compared.delta,
        "low": compared.low,
        "high": compared.high,
        "p_value": compared.p_value,
        "queries": compared.queries,
    }


def _cost(spent: Spending) -> GeneratorCost:
    tokens = spent.prompt_tokens + spent.completion_tokens
    return {"usd": spent.usd, "calls": spent.calls, "tokens": tokens, "seconds": round(spent.seconds, 1)}
