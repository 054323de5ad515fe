"""``stm-agent synthesize compare``: what LLMs write for the same passages and budget, and what it is worth."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from stm_agent.domain.data import Pair
from stm_agent.domain.spec import DomainSpec
from stm_agent.errors import ConfigError
from stm_agent.files import content_hash, read_json, write_json
from stm_agent.job import numeric_versions
from stm_agent.llm.access import LlmAccess
from stm_agent.llm.answer import NOT_ASKED
from stm_agent.llm.budget import read_spending
from stm_agent.loop.comparison_quality import Written, gain_of, grades_of, quality_of
from stm_agent.loop.comparison_report import ComparisonReport, GeneratorCost, GeneratorRow
from stm_agent.loop.context import RunContext
from stm_agent.loop.events import Observer
from stm_agent.loop.false_negatives import false_negative_rate
from stm_agent.loop.grading import grader_of
from stm_agent.loop.lengths import with_encoding
from stm_agent.loop.options import Options
from stm_agent.loop.prepare import open_context
from stm_agent.loop.probe import DEFAULT_PROBE, ProbeKind, ProbeSetting
from stm_agent.loop.query_rating import dev_part, draw_passages, people_of, query_rater, writing_job
from stm_agent.loop.runs import COMPARISON, open_run
from stm_agent.loop.salvaging import build_as_paid
from stm_agent.loop.starting import with_one_start
from stm_agent.loop.stopping import StoppableWatcher
from stm_agent.program_files import program_files
from stm_agent.progress import watched_by
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
    spec = with_one_start(options.llm.with_structured(spec), options.llm.starts)
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
            **quality_of(context, setting, rater, written),
            "gain": gain_of(context, setting, written.pairs, options.kind),
            "false_negatives": false_negative_rate(context, written.pairs, people, grader),
            "grade": grades_of(written.pairs, grader),
            "cost": _cost(access.ledger),
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
    """Return the access to one generator, with a budget of its own that answers paid for before count against."""
    llm = options.llm.llm(context.spec, name)
    ledger = context.run.folder / f"llm-{content_hash(name)[:8]}.jsonl"
    access = dataclasses.replace(
        context.generator,
        options=llm,
        ledger=ledger,
        usd=options.usd,
        calls=options.calls,
        minutes=None,
        counts_stored=True,
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
            job = writing_job(context, program, access, block, context.seed)
            # What was paid for until the budget ended counts.
            folder, ended = build_as_paid(context.build, job, without_answers=True)
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
    spent = read_spending(access.ledger)
    if options.tokens is None or spent.prompt_tokens + spent.completion_tokens < options.tokens:
        return None
    return f"budget of {options.tokens:,} tokens is spent"


def _cost(ledger: Path) -> GeneratorCost:
    """Return what a generator's answers cost whenever they were paid for, and what of it this comparison paid."""
    spent, paid = read_spending(ledger), read_spending(ledger, stored=False)
    tokens = spent.prompt_tokens + spent.completion_tokens
    return {
        "usd": spent.usd,
        "calls": spent.calls,
        "tokens": tokens,
        "seconds": round(spent.seconds, 1),
        "paid_usd": paid.usd,
        "paid_calls": paid.calls,
    }
