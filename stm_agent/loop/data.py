"""The data lever: hard negatives mined from the corpus, read from its structure, and written by the generator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stm_agent.domain.data import Pair
from stm_agent.domain.spec import WRITTEN, ExpertSpec
from stm_agent.evaluate.encoder import Encoder
from stm_agent.files import content_hash, read_json, sha256_file, sha256_text
from stm_agent.loop.context import RunContext
from stm_agent.mine.negatives import Negative, mine
from stm_agent.mine.reviewed import refused, without_refused
from stm_agent.mine.store import load_negatives, save_negatives

Negatives = Mapping[str, tuple[Negative, ...]]


@dataclass(frozen=True)
class TrainingData:
    """What the data lever has ready for the experts of one round.

    Attributes:
        mined: Pair id -> mined negatives, hardest first.
        synthetic: Pair id -> written negatives.
        written: Pairs whose query the generator wrote.
        trial: Trace of the program that wrote the synthetic negatives.
    """

    mined: Negatives = field(default_factory=dict)
    synthetic: Negatives = field(default_factory=dict)
    written: tuple[Pair, ...] = ()
    trial: str | None = None

    def for_expert(self, expert: ExpertSpec, pairs: Sequence[Pair]) -> dict[str, tuple[Negative, ...]]:
        """Return the negatives an expert asked for: written first, mined ones for what is missing."""
        asked = expert.negatives
        picked = {}
        for pair in pairs:
            written = self.synthetic.get(pair.id, ())[: asked.synthetic]
            mined = self.mined.get(pair.id, ())[: asked.mined + asked.synthetic - len(written)]
            if written or mined:
                picked[pair.id] = (*written, *mined)
        return picked if asked.mined or asked.synthetic else {}


def pairs_hash(pairs: Sequence[Pair]) -> str:
    """Return the content hash of training pairs, in order."""
    return content_hash([pair.content() for pair in pairs])


def pairs_of(context: RunContext, expert: ExpertSpec, training_data: TrainingData) -> tuple[Pair, ...]:
    """Return all pairs of an expert's sources, the generator's own pairs included."""
    return tuple(
        pair
        for source in expert.sources
        for pair in (training_data.written if source == WRITTEN else context.data.sources[source])
    )


def prepare_training_data(context: RunContext, miner: Encoder) -> TrainingData:
    """Write queries, mine and write negatives: what the experts of this round may use.

    Args:
        context: The run's shared things.
        miner: The encoder of the dense retriever and of the positive-aware filter.
    """
    experts = context.spec.experts
    written = _written(context) if any(WRITTEN in expert.sources for expert in experts) else ()
    wanting = [expert for expert in experts if expert.negatives.mined or expert.negatives.synthetic]
    sources = sorted({source for expert in wanting for source in expert.sources if source != WRITTEN})
    pairs = tuple(pair for source in sources for pair in context.data.sources[source])
    if not pairs:
        return TrainingData(written=written)
    mined = _mined(context, pairs, miner)
    asks_llm = any(expert.negatives.synthetic for expert in wanting)
    synthetic, trial = _synthetic(context, pairs, mined) if asks_llm else ({}, None)
    mined, synthetic = _reviewed(context, pairs, mined), _reviewed(context, pairs, synthetic)
    return TrainingData(mined, synthetic, written, trial)


def _reviewed(context: RunContext, pairs: Sequence[Pair], negatives: Negatives) -> Negatives:
    """Take out what people refused in the annotation tool."""
    known = refused(context.workspace)
    if not known:
        return negatives
    kept, gone = without_refused(pairs, negatives, known)
    if gone:
        context.note("data", f"{gone} negatives left out: people called them relevant or broken")
    return kept


def _written(context: RunContext) -> tuple[Pair, ...]:
    from stm_agent.synthesize.queries import load_pairs, write_queries

    spec = context.spec.synthesize
    program = context.program.parent / "queries.py"
    config = {"synthesize": spec.model_dump(mode="json"), "seed": context.seed, "task": context.spec.task}
    inputs = {
        "generator": context.generator.identity,
        "program": sha256_file(program),
        "pool": content_hash(context.data.pool),
    }
    with context.timed("synthesize", f"{context.generator.model} writes queries for {spec.queries} passages"):
        folder = context.store.run(
            "queries",
            config,
            inputs,
            lambda partial: write_queries(
                context.data.pool,
                task=context.spec.task,
                program=program,
                client=context.generator,
                spec=spec,
                seed=context.seed,
                folder=partial,
                progress=lambda done, total: context.observer(
                    {"kind": "progress", "name": "synthesize", "text": "queries", "done": done, "total": total}
                ),
            ),
        )
    context.run.ledger.record("stage", name="queries", folder=folder.name)
    _trace(context, program, folder / "pairs.json")
    return load_pairs(folder)


def _mined(context: RunContext, pairs: Sequence[Pair], miner: Encoder) -> Negatives:
    spec = context.spec.mine
    pool = dict(sorted(context.data.pool.items(), key=lambda item: _preference(context, item[0]))[: spec.documents])

    def build(partial: Path) -> None:
        mined = mine(pairs, pool, context.data.groups, spec=spec, encoder=miner, cache=context.cache)
        save_negatives(partial, pairs, mined.negatives)

    inputs = {"pairs": pairs_hash(pairs), "pool": content_hash(pool), "miner": miner.identity}
    with context.timed("mine", f"mining negatives for {len(pairs):,} pairs in {len(pool):,} passages"):
        folder = context.store.run("mine", spec.model_dump(mode="json"), inputs, build)
    context.run.ledger.record("stage", name="mine", folder=folder.name)
    return load_negatives(folder)


def _preference(context: RunContext, passage: str) -> tuple[bool, str]:
    # Passages of the scored corpus first: their vectors are already in the cache.
    return passage not in context.documents, sha256_text(passage)


def _synthetic(context: RunContext, pairs: Sequence[Pair], mined: Negatives) -> tuple[Negatives, str | None]:
    from stm_agent.synthesize.negatives import synthesize_negatives

    spec = context.spec.synthesize
    chosen = sorted((pair for pair in pairs if mined.get(pair.id)), key=lambda pair: sha256_text(pair.id))[: spec.pairs]
    config = {"synthesize": spec.model_dump(mode="json"), "task": context.spec.task}
    inputs = {
        "generator": context.generator.identity,
        "program": sha256_file(context.program),
        "pairs": pairs_hash(chosen),
        "mined": content_hash({pair.id: [n.text for n in mined[pair.id]] for pair in chosen}),
    }
    with context.timed("synthesize", f"{context.generator.model} writes hard negatives for {len(chosen)} pairs"):
        folder = context.store.run(
            "synthesize",
            config,
            inputs,
            lambda partial: synthesize_negatives(
                chosen,
                mined,
                task=context.spec.task,
                program=context.program,
                client=context.generator,
                spec=spec,
                folder=partial,
                progress=lambda done, total: context.observer(
                    {"kind": "progress", "name": "synthesize", "text": "hard negatives", "done": done, "total": total}
                ),
            ),
        )
    context.run.ledger.record("stage", name="synthesize", folder=folder.name)
    return load_negatives(folder), _trace(context, context.program, folder / "written.json")


def _trace(context: RunContext, program: Path, told: Path) -> str | None:
    """Write the generator's program into the run's traces, beside the instructions; return the trial."""
    from stm_agent.traces import Trace, TraceStore

    sample = read_json(told).get("sample")
    if sample is None:
        # A stage folder of an earlier version.
        return None
    text = sample.pop("instructions")
    trace = Trace("program", text, "workspace", context.generator.model, program=str(program), **sample)
    return TraceStore(context.run.traces).add(trace)
