"""Single stages on the loop's own code, for people who want one step."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.build import build_domain_data
from stm_agent.domain.data import DomainData, Pair
from stm_agent.domain.spec import DomainSpec, ExpertSpec, NegativeSpec
from stm_agent.errors import ConfigError
from stm_agent.files import content_hash, folder_hash, whole_folder
from stm_agent.loop.data import pairs_hash
from stm_agent.loop.events import Observer
from stm_agent.loop.training import helpers_of, prompts_of, train_progress
from stm_agent.stage import kept_folder, kept_while_building, numeric_versions

if TYPE_CHECKING:
    from stm_agent.train.expert import TrainedExpert


def _fresh(output: Path) -> Path:
    if output.exists():
        raise ConfigError(f"{output} exists; name a new folder, nothing is overwritten")
    return output.absolute()


def _first_pairs(spec: DomainSpec, workspace: Path, limit: int) -> Any:  # noqa: ANN401 - (data, pairs)
    data = build_domain_data(spec.collection, workspace)
    pairs = tuple(pair for source in data.sources.values() for pair in source)[:limit]
    if not pairs:
        raise ConfigError(f"domain {spec.name} has no training pairs; its collection needs a train split")
    return data, pairs


def mine_domain(spec: DomainSpec, workspace: Path, output: Path, limit: int) -> dict[str, int]:
    """Mine negatives for a domain's first pairs into ``output``; return what was kept and refused."""
    from stm_agent.evaluate.baselines import static_encoder
    from stm_agent.evaluate.cache import EmbeddingCache
    from stm_agent.mine.negatives import mine
    from stm_agent.mine.store import save_negatives
    from stm_agent.workspace import runs_folder

    target = _fresh(output)
    data, pairs = _first_pairs(spec, workspace, limit)
    pool = dict(sorted(data.pool.items())[: spec.mine.documents])
    encoder = static_encoder(spec.mine.encoder) if spec.mine.encoder else None
    cache = EmbeddingCache(runs_folder(workspace) / ".cache" / "vectors")
    mined = mine(pairs, pool, data.groups, spec=spec.mine, encoder=encoder, cache=cache)
    with whole_folder(target) as partial:
        save_negatives(partial, pairs, mined.negatives)
    return {"pairs": len(pairs), "negatives": sum(map(len, mined.negatives.values())), **dict(mined.counts)}


def synthesize_domain(
    spec: DomainSpec,
    workspace: Path,
    runs: Path,
    output: Path,
    *,
    generator: str,
    api_base: str | None,
    limit: int | None,
    budget_usd: float | None,
) -> dict[str, float]:
    """Write hard negatives for a domain's pairs into ``output``; return counts and cost."""
    from stm_agent.llm.budget import Budget
    from stm_agent.llm.open import open_client
    from stm_agent.mine.negatives import mine
    from stm_agent.synthesize.negatives import synthesize_negatives
    from stm_agent.workspace import program_path

    target = _fresh(output)
    plan = spec.synthesize
    data, pairs = _first_pairs(spec, workspace, limit or plan.pairs)
    pool = dict(sorted(data.pool.items())[: spec.mine.documents])
    # The program shows the LLM one mined negative; BM25's is enough here and needs no encoder.
    only_bm25 = spec.mine.model_copy(update={"retrievers": ("bm25",)})
    mined = mine(pairs, pool, data.groups, spec=only_bm25, encoder=None, cache=None)
    client = open_client(
        generator,
        cache=runs / ".cache" / "llm",
        ledger=runs / "synthesize.jsonl",
        budget=Budget(usd=budget_usd, minutes=None, calls=None),
        api_base=api_base,
        temperature=plan.temperature,
        max_tokens=plan.max_tokens,
    )
    try:
        with whole_folder(target) as partial:
            done = synthesize_negatives(
                pairs,
                mined.negatives,
                task=spec.task,
                program=program_path(workspace, plan.program),
                client=client,
                spec=plan,
                folder=partial,
            )
    finally:
        client.close()
    written = sum(map(len, done.negatives.values()))
    return {"pairs": len(pairs), "written": written, "usd": done.usd, "calls": done.calls, **dict(done.refused)}


def train_domain_expert(
    spec: DomainSpec,
    workspace: Path,
    name: str,
    output: Path,
    *,
    start: Path | None,
    steps: int | None,
    seed: int,
    observer: Observer,
) -> dict[str, Any]:
    """Train one expert from its sources alone; return what training reported."""
    from stm_agent.backbone.load import load_backbone
    from stm_agent.train.expert import train_expert
    from stm_agent.train.processes import part, processes

    target = _fresh(output)
    by_name = {expert.name: expert for expert in spec.experts}
    if name not in by_name:
        raise ConfigError(f"domain {spec.name} has no expert '{name}'; it has {', '.join(by_name)}")
    expert = _alone(by_name[name], steps)
    data = build_domain_data(spec.collection, workspace)
    pairs = tuple(pair for source in expert.sources for pair in data.sources.get(source, ()))

    said = Instruction.none(load_backbone(spec.backbone).prompts)
    said = said if expert.instruction is None else said.saying(expert.instruction, "expert")
    prompts = prompts_of(expert, said, workspace, spec.task)
    identity = _training_identity(spec, expert, data, pairs, start, seed, prompts)
    with _places(target, identity[:16]) as (kept, made):
        trained = train_expert(
            expert,
            pairs,
            {},
            backbone=spec.backbone,
            train=spec.train,
            start=start,
            query_prefix=said.query_prefix,
            passage_prefix=said.passage_prefix,
            seed=seed,
            folder=made,
            prompts=prompts,
            helpers=helpers_of(spec, expert, data.collection, said),
            checkpoints=kept if spec.train.checkpoint_every else None,
            progress=train_progress(observer),
        )
        flags = f"{f' --start {start}' if start else ''}{f' --steps {steps}' if steps else ''} --seed {seed}"
        command = f"stm-agent train --domain {spec.name} --expert {name} --output {output}{flags}"
        taught = spec.model_copy(update={"experts": (expert.model_copy(update={"steps": trained.steps}),)})
        if processes().writes:
            _write_expert(taught, data, name, trained, said, made / "model", command)
    part()
    report = dataclasses.asdict(trained)
    return {
        **report,
        "adapter": str(target / "adapter"),
        "model": str(target / "model"),
        "losses": [round(trained.losses[0], 4), round(trained.losses[-1], 4)],
    }


@contextmanager
def _places(target: Path, key: str) -> Iterator[tuple[Path | None, Path]]:
    """Yield the folders of the checkpoints and of the results; of several processes only the first one's stay."""
    from stm_agent.train.processes import processes

    if processes().writes:
        with kept_while_building(target, key) as kept, whole_folder(target) as made:
            yield kept, made
    else:
        with tempfile.TemporaryDirectory() as scrap:
            yield kept_folder(target, key), Path(scrap)


def _training_identity(
    spec: DomainSpec,
    expert: ExpertSpec,
    data: DomainData,
    pairs: Sequence[Pair],
    start: Path | None,
    seed: int,
    prompts: Sequence[str],
) -> str:
    """Return the hash of all that decides a training: checkpoints of another one must not be gone on from."""
    from stm_agent.backbone.identity import source_identity
    from stm_agent.train.processes import processes

    train = spec.train
    models = spec.models_of(expert).values()
    parts = [expert.model_dump(mode="json"), train.model_dump(mode="json"), spec.backbone.model_dump(mode="json")]
    contents = [pairs_hash(pairs), data.collection.content_hash if train.evaluate_every else ""]
    return content_hash(
        [
            *parts,
            *contents,
            seed,
            list(prompts),
            processes().count,
            folder_hash(start) if start else "",
            *map(source_identity, models),
            numeric_versions(),
        ]
    )


def _write_expert(
    spec: DomainSpec,
    data: DomainData,
    name: str,
    trained: TrainedExpert,
    said: Instruction,
    folder: Path,
    command: str,
) -> None:
    """Write one expert as a plain sentence-transformers folder with its card."""
    from stm_agent.backbone.load import load_backbone
    from stm_agent.merge.card import model_card, sources_of
    from stm_agent.merge.delta import load_delta
    from stm_agent.merge.export import export_merged

    card = model_card(
        name=f"{spec.name}, expert {name}",
        domain=spec,
        weights={name: 1.0},
        dev=trained.best_dev,
        general=None,
        sources=sources_of(spec, data.collection),
        command=command,
    )
    prompts = {"query": said.query_prefix, "document": said.passage_prefix}
    export_merged(load_backbone(spec.backbone), load_delta(trained.adapter), folder, prompts=prompts, card=card)


def _alone(expert: ExpertSpec, steps: int | None) -> ExpertSpec:
    """Return the expert with the negatives there are without the data lever: structural ones."""
    structural = NegativeSpec(structural=expert.negatives.structural)
    try:
        return ExpertSpec(**{**expert.model_dump(), "negatives": structural, "steps": steps or expert.steps})
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{reason}; mined and written ones are there in 'stm-agent optimize' only") from error
