"""The data lever: hard negatives mined from the corpus, read from its structure, and written by the generator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stm_agent.domain.material import Pair
from stm_agent.domain.spec import WRITTEN, ExpertSpec
from stm_agent.evaluate.encoder import Encoder
from stm_agent.files import content_hash, read_json, sha256_file, sha256_text
from stm_agent.loop.bench import Bench
from stm_agent.mine.negatives import Negative, mine
from stm_agent.mine.reviewed import refused, without_refused
from stm_agent.mine.store import load_negatives, save_negatives

Negatives = Mapping[str, tuple[Negative, ...]]


@dataclass(frozen=True)
class Harvest:
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


def pairs_of(bench: Bench, expert: ExpertSpec, harvest: Harvest) -> tuple[Pair, ...]:
    """Return all pairs of an expert's sources, the generator's own pairs included."""
    return tuple(
        pair
        for source in expert.sources
        for pair in (harvest.written if source == WRITTEN else bench.material.sources[source])
    )


def harvest(bench: Bench, miner: Encoder) -> Harvest:
    """Write queries, mine and write negatives: what the experts of this round may use.

    Args:
        bench: The run's shared things.
        miner: The encoder of the dense retriever and of the positive-aware filter.
    """
    experts = bench.spec.experts
    written = _written(bench) if any(WRITTEN in expert.sources for expert in experts) else ()
    wanting = [expert for expert in experts if expert.negatives.mined or expert.negatives.synthetic]
    sources = sorted({source for expert in wanting for source in expert.sources if source != WRITTEN})
    pairs = tuple(pair for source in sources for pair in bench.material.sources[source])
    if not pairs:
        return Harvest(written=written)
    mined = _mined(bench, pairs, miner)
    asks_llm = any(expert.negatives.synthetic for expert in wanting)
    synthetic, trial = _synthetic(bench, pairs, mined) if asks_llm else ({}, None)
    mined, synthetic = _reviewed(bench, pairs, mined), _reviewed(bench, pairs, synthetic)
    return Harvest(mined, synthetic, written, trial)


def _reviewed(bench: Bench, pairs: Sequence[Pair], negatives: Negatives) -> Negatives:
    """Take out what people refused in the annotation tool."""
    known = refused(bench.workspace)
    if not known:
        return negatives
    kept, gone = without_refused(pairs, negatives, known)
    if gone:
        bench.note("data", f"{gone} negatives left out: people called them relevant or broken")
    return kept


def _written(bench: Bench) -> tuple[Pair, ...]:
    from stm_agent.synthesize.queries import load_pairs, write_queries

    spec = bench.spec.synthesize
    program = bench.program.parent / "queries.py"
    config = {"synthesize": spec.model_dump(mode="json"), "seed": bench.seed, "task": bench.spec.task}
    inputs = {
        "generator": bench.generator.identity,
        "program": sha256_file(program),
        "pool": content_hash(bench.material.pool),
    }
    with bench.timed("synthesize", f"{bench.generator.model} writes queries for {spec.queries} passages"):
        folder = bench.store.run(
            "queries",
            config,
            inputs,
            lambda partial: write_queries(
                bench.material.pool,
                task=bench.spec.task,
                program=program,
                door=bench.generator,
                spec=spec,
                seed=bench.seed,
                folder=partial,
                progress=lambda done, total: bench.observer(
                    {"kind": "progress", "name": "synthesize", "text": "queries", "done": done, "total": total}
                ),
            ),
        )
    bench.run.ledger.record("stage", name="queries", folder=folder.name)
    _trace(bench, program, folder / "pairs.json")
    return load_pairs(folder)


def _mined(bench: Bench, pairs: Sequence[Pair], miner: Encoder) -> Negatives:
    spec = bench.spec.mine
    pool = dict(sorted(bench.material.pool.items(), key=lambda item: _preference(bench, item[0]))[: spec.documents])

    def build(partial: Path) -> None:
        mined = mine(pairs, pool, bench.material.groups, spec=spec, encoder=miner, cache=bench.cache)
        save_negatives(partial, pairs, mined.negatives)

    inputs = {"pairs": pairs_hash(pairs), "pool": content_hash(pool), "miner": miner.identity}
    with bench.timed("mine", f"mining negatives for {len(pairs):,} pairs in {len(pool):,} passages"):
        folder = bench.store.run("mine", spec.model_dump(mode="json"), inputs, build)
    bench.run.ledger.record("stage", name="mine", folder=folder.name)
    return load_negatives(folder)


def _preference(bench: Bench, passage: str) -> tuple[bool, str]:
    # Passages of the scored corpus first: their vectors are already in the cache.
    return passage not in bench.documents, sha256_text(passage)


def _synthetic(bench: Bench, pairs: Sequence[Pair], mined: Negatives) -> tuple[Negatives, str | None]:
    from stm_agent.synthesize.negatives import synthesize_negatives

    spec = bench.spec.synthesize
    chosen = sorted((pair for pair in pairs if mined.get(pair.id)), key=lambda pair: sha256_text(pair.id))[: spec.pairs]
    config = {"synthesize": spec.model_dump(mode="json"), "task": bench.spec.task}
    inputs = {
        "generator": bench.generator.identity,
        "program": sha256_file(bench.program),
        "pairs": pairs_hash(chosen),
        "mined": content_hash({pair.id: [n.text for n in mined[pair.id]] for pair in chosen}),
    }
    with bench.timed("synthesize", f"{bench.generator.model} writes hard negatives for {len(chosen)} pairs"):
        folder = bench.store.run(
            "synthesize",
            config,
            inputs,
            lambda partial: synthesize_negatives(
                chosen,
                mined,
                task=bench.spec.task,
                program=bench.program,
                door=bench.generator,
                spec=spec,
                folder=partial,
                progress=lambda done, total: bench.observer(
                    {"kind": "progress", "name": "synthesize", "text": "hard negatives", "done": done, "total": total}
                ),
            ),
        )
    bench.run.ledger.record("stage", name="synthesize", folder=folder.name)
    return load_negatives(folder), _trace(bench, bench.program, folder / "written.json")


def _trace(bench: Bench, program: Path, told: Path) -> str | None:
    """Write the generator's program into the run's traces, beside the instructions; return the trial."""
    from stm_agent.inspect.traces import Trace, TraceStore

    sample = read_json(told).get("sample")
    if sample is None:
        # A stage folder of an earlier version.
        return None
    text = sample.pop("instructions")
    trace = Trace("program", text, "workspace", bench.generator.model, program=str(program), **sample)
    return TraceStore(bench.run.traces).add(trace)
