"""The candidates of a search by the kind of program: examples, what is written for training, and the rater."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.data import Pair
from stm_agent.errors import ConfigError
from stm_agent.evaluate.cache import EmbeddingCache, Vectors, encode_queries
from stm_agent.files import sha256_text
from stm_agent.loop.context import RunContext
from stm_agent.loop.data_jobs import mining_job
from stm_agent.loop.grading import Grader
from stm_agent.loop.judge_trials import Contrast, JudgeTrials
from stm_agent.loop.passage_trials import GradedTrials, NegativeTrials
from stm_agent.loop.probe import ProbeSetting
from stm_agent.loop.program_kinds import GRADED, JUDGE, QUERIES, ProgramKind
from stm_agent.loop.query_rating import draw_passages, people_of, query_rater
from stm_agent.loop.query_trials import QueryTrials
from stm_agent.mine.store import load_negatives
from stm_agent.synthesize.passage_feedback import PassageRater
from stm_agent.train.job import Negatives

FEWEST = 2
"""Examples without which luck decides between candidates."""
CHANCE = 200
"""Passages of the corpus whose nearness to a query is that of chance."""
CALLS = {GRADED.output: 3, JUDGE.output: 2}
"""Calls for one example, where it is not one."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How many examples a search has.

    Attributes:
        examples: Examples that candidates are rated on.
        held: Others: those that a candidate writes for before it is trained on, or that test a judge.
    """

    examples: int
    held: int

    def fewest_calls(self, kind: ProgramKind) -> int:
        """Return the calls without which nothing can be compared: the program on all examples, and one candidate."""
        return 2 * (self.examples + self.held) * CALLS.get(kind.output, 1) + 1


@dataclass(frozen=True, kw_only=True)
class Search:
    """What all kinds of candidates of one search share."""

    context: RunContext
    kind: ProgramKind
    program: Path
    structured: bool
    sizes: Sizes


def open_trials(
    context: RunContext,
    kind: ProgramKind,
    program: Path,
    setting: ProbeSetting,
    sizes: Sizes,
    *,
    structured: bool,
    grader: Grader | None = None,
) -> QueryTrials | NegativeTrials | GradedTrials | JudgeTrials:
    """Return the candidates of a search.

    Args:
        context: The run.
        kind: What the program writes.
        program: Its file.
        setting: Model and task of the probes, whose encoder also rates.
        sizes: How many examples.
        structured: Whether the generator is asked for typed outputs.
        grader: A judge of what is written; None: none.

    Raises:
        ConfigError: The corpus, or the train pairs, are too few.
    """
    search = Search(context=context, kind=kind, program=program, structured=structured, sizes=sizes)
    if kind == QUERIES:
        return _queries(search, setting, grader)
    pairs = people_of(context)
    if len(pairs) < FEWEST * 2:
        raise ConfigError(
            f"domain {context.spec.name} has {len(pairs)} train pairs; a program that {kind.does.partition(':')[0]} "
            f"needs {FEWEST * 2} or more to be rated on"
        )
    examples, held = _halved(pairs, sizes)
    if kind == JUDGE:
        return _judge(search, examples, held)
    return _passages(search, setting, examples, held, grader)


def _passages(
    search: Search, setting: ProbeSetting, examples: Sequence[Pair], held: Sequence[Pair], grader: Grader | None
) -> NegativeTrials | GradedTrials:
    context = search.context
    trials = GradedTrials if search.kind == GRADED else NegativeTrials
    return trials(
        context=context,
        kind=search.kind,
        program=search.program,
        structured=search.structured,
        task=context.spec.task,
        examples={pair.id: f"{pair.query}\n{pair.positive}" for pair in examples},
        pairs={pair.id: pair for pair in examples},
        held=tuple(held),
        mined=_mined(context, (*examples, *held)),
        rater=_passage_rater(context, setting),
        grader=grader,
    )


def _queries(search: Search, setting: ProbeSetting, grader: Grader | None) -> QueryTrials:
    context, sizes = search.context, search.sizes
    people = people_of(context)
    examples = draw_passages(context.data.pool, sizes.examples, context.seed)
    if len(examples) < FEWEST:
        raise ConfigError(f"the corpus has {len(examples)} passages; a program needs {FEWEST} or more to write for")
    return QueryTrials(
        context=context,
        kind=search.kind,
        program=search.program,
        structured=search.structured,
        task=context.spec.task,
        examples=examples,
        rater=query_rater(context, setting, examples, people),
        held=draw_passages(context.data.pool, sizes.held, context.seed + 1),
        people=people,
        grader=grader,
    )


def _halved(pairs: Sequence[Pair], sizes: Sizes) -> tuple[list[Pair], list[Pair]]:
    """Return examples and others, none of a query that the examples have; at most half of few pairs are examples."""
    distinct = list({pair.query: pair for pair in pairs}.values())
    count = min(sizes.examples, max(1, len(distinct) // 2))
    return distinct[:count], distinct[count : count + sizes.held]


def _mined(context: RunContext, pairs: Sequence[Pair]) -> Negatives:
    miner = context.backbone, Instruction.none(context.backbone.open().model.prompts)
    job = mining_job(context.spec, context.data, tuple(pairs), miner, context.cache)
    return load_negatives(context.build(job))


def _judge(search: Search, examples: Sequence[Pair], held: Sequence[Pair]) -> JudgeTrials:
    context = search.context
    mined = _mined(context, (*examples, *held))
    contrasts = {
        pair.id: Contrast(pair.query, pair.positive, mined[pair.id][0].text)
        for pair in (*examples, *held)
        if mined.get(pair.id)
    }
    shown = [pair.id for pair in examples if pair.id in contrasts]
    others = tuple(pair.id for pair in held if pair.id in contrasts)
    if min(len(shown), len(others)) < FEWEST:
        raise ConfigError(
            f"{len(contrasts)} train pairs of domain {context.spec.name} have a mined negative; a judge needs "
            f"{FEWEST * 2} or more to be rated on: raise mine.depth or mine.margin"
        )
    return JudgeTrials(
        context=context,
        kind=search.kind,
        program=search.program,
        structured=search.structured,
        task=context.spec.task,
        examples={name: _shown(contrasts[name]) for name in shown},
        contrasts=contrasts,
        held=others,
        access=context.generator.as_judge(context.generator.options.model),
    )


def _shown(contrast: Contrast) -> str:
    return f"{contrast.query}\nRelevant: {contrast.relevant}\nOther: {contrast.other}"


def _passage_rater(context: RunContext, setting: ProbeSetting) -> PassageRater:
    encoder, cache, instruction = context.backbone.open(), EmbeddingCache(context.cache), setting.instruction
    pool = context.data.pool
    others = [pool[name] for name in sorted(pool, key=lambda name: sha256_text(f"chance {name}"))[:CHANCE]]

    def queries(texts: Sequence[str]) -> Vectors:
        return encode_queries(cache, encoder, list(texts), prefix=instruction.query_prefix)

    def passages(texts: Sequence[str]) -> Vectors:
        return cache.encode(encoder, list(texts), prefix=instruction.passage_prefix)

    return PassageRater(queries, passages, others)
