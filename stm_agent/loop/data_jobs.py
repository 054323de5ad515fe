"""The jobs of the data lever, the same in ``optimize`` and in ``stm-agent mine`` and ``synthesize``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.data import DomainData, Pair
from stm_agent.domain.held import HeldQueries
from stm_agent.domain.spec import WRITTEN, DomainSpec, ExpertSpec
from stm_agent.domain.unlabelled import pairs_of_source
from stm_agent.evaluate.baselines import ReadyModel
from stm_agent.evaluate.encoder import EncoderSource
from stm_agent.files import sha256_text
from stm_agent.llm.access import LlmAccess
from stm_agent.merge.adapted import AdaptedModel
from stm_agent.mine.job import MiningJob
from stm_agent.synthesize.jobs import GradedJob, HardNegativesJob, QueriesJob
from stm_agent.synthesize.spread import Spread
from stm_agent.train.job import Negatives
from stm_agent.workspace import program_path

MOST_EXAMPLES = 100
"""Train queries that show which types and languages queries are of."""


def asking_experts(spec: DomainSpec) -> list[ExpertSpec]:
    """Return the experts that train on mined or written negatives."""
    return [expert for expert in spec.experts if expert.negatives.mined or expert.negatives.synthetic]


def mined_pairs(spec: DomainSpec, data: DomainData) -> tuple[Pair, ...]:
    """Return the pairs that negatives are mined for: those of the sources of :func:`asking_experts`."""
    sources = sorted({source for expert in asking_experts(spec) for source in expert.sources if source != WRITTEN})
    return tuple(pair for source in sources for pair in pairs_of_source(data, source))


Miner = tuple[EncoderSource, Instruction]
"""The encoder that mines, and what its queries and passages have in front of them."""


def first_miner(spec: DomainSpec) -> Miner:
    """Return what mines before any model was trained: the domain's choice, else its backbone, with its own prompts."""
    model = ReadyModel(spec.mine.encoder) if spec.mine.encoder else AdaptedModel(spec.backbone)
    return model, Instruction.none(model.open().model.prompts)


def mining_job(spec: DomainSpec, data: DomainData, pairs: tuple[Pair, ...], miner: Miner, cache: Path) -> MiningJob:
    """Return the job that mines negatives for pairs; passages of the scored corpus come first in its pool.

    Args:
        spec: The domain.
        data: Its data.
        pairs: What negatives are needed for.
        miner: The encoder of the dense retriever and of the positive-aware filter.
        cache: Folder of cached vectors.
    """
    return MiningJob(
        pairs=pairs,
        pool=searched_pool(spec, data),
        groups=data.groups,
        spec=spec.mine,
        miner=miner[0],
        instruction=miner[1],
        cache=cache,
    )


def searched_pool(spec: DomainSpec, data: DomainData) -> dict[str, str]:
    """Return the passages that negatives and candidates are looked for in: those of the scored corpus first."""
    documents = data.collection.texts

    def preference(passage: str) -> tuple[bool, str]:
        # The vectors of the scored corpus are in the cache already.
        return passage not in documents, sha256_text(passage)

    searched = sorted(data.pool, key=preference)[: spec.mine.documents or None]
    return {passage: data.pool[passage] for passage in searched}


def drawn(pairs: Sequence[Pair], count: int) -> tuple[Pair, ...]:
    """Return ``count`` pairs, always the same ones."""
    return tuple(sorted(pairs, key=lambda pair: sha256_text(pair.id))[:count])


def queries_job(
    spec: DomainSpec,
    workspace: Path,
    data: DomainData,
    pool: Mapping[str, str],
    miner: Miner,
    generator: LlmAccess,
    *,
    seed: int,
    cache: Path,
) -> QueriesJob:
    """Return the job in which an LLM writes queries for passages that are spread over a pool.

    The train queries of the domain's sources are its examples; dev and test queries only say what is left out.

    Args:
        spec: The domain.
        workspace: Folder with ``programs/``.
        data: The domain's data.
        pool: Passage id -> text that queries are written for and that a round trip searches.
        miner: The encoder whose cached vectors are clustered.
        generator: The LLM.
        seed: Seed of the draws.
        cache: Folder of cached vectors.

    Raises:
        ConfigError: The program is missing.
    """
    queries = {pair.query: pair.id for source in data.sources.values() for pair in source}
    shown = sorted(queries, key=lambda query: sha256_text(f"example {queries[query]}"))[:MOST_EXAMPLES]
    return QueriesJob(
        pool=pool,
        task=spec.task,
        program=program_path(workspace, spec.synthesize.query_program),
        generator=generator,
        spec=spec.synthesize,
        seed=seed,
        examples=tuple(shown),
        held=data.held or HeldQueries.of(data.collection),
        spread=Spread(miner[0], miner[1], cache),
    )


def negatives_asked(spec: DomainSpec) -> int:
    """Return how many written negatives a pair gets: as many as the expert that asks for most, and at least one."""
    return max([1, *(expert.negatives.synthetic for expert in spec.experts)])


def negatives_job(
    spec: DomainSpec, workspace: Path, pairs: Sequence[Pair], mined: Negatives, generator: LlmAccess, count: int
) -> HardNegativesJob:
    """Return the job in which an LLM writes negatives for ``count`` of the pairs that have a mined one.

    Raises:
        ConfigError: The program is missing.
    """
    chosen = drawn([pair for pair in pairs if mined.get(pair.id)], count)
    return HardNegativesJob(
        pairs=chosen,
        mined={pair.id: mined[pair.id] for pair in chosen},
        task=spec.task,
        program=program_path(workspace, spec.synthesize.program),
        generator=generator,
        spec=spec.synthesize,
        count=negatives_asked(spec),
    )


def graded_job(spec: DomainSpec, workspace: Path, pairs: Sequence[Pair], generator: LlmAccess) -> GradedJob:
    """Return the job in which an LLM writes passages of lower relevance for some of the pairs.

    Raises:
        ConfigError: The program is missing.
    """
    return GradedJob(
        pairs=drawn(pairs, spec.synthesize.graded),
        task=spec.task,
        program=program_path(workspace, spec.synthesize.graded_program),
        generator=generator,
        spec=spec.synthesize,
    )
