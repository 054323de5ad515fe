"""Train one expert: the same job as in the loop, so that ``train`` and ``optimize`` share one folder."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.build import build_domain_data
from stm_agent.domain.data import DomainData
from stm_agent.domain.spec import DomainSpec, ExpertSpec
from stm_agent.domain.unlabelled import pairs_of_source
from stm_agent.errors import ConfigError
from stm_agent.evaluate.scoring import ScoredTask
from stm_agent.execute.inline import InlineExecutor
from stm_agent.execute.store import JobStore
from stm_agent.files import read_json, whole_folder
from stm_agent.job import checkpoints_in
from stm_agent.loop.halves import cut_dev
from stm_agent.loop.lengths import with_number_formats
from stm_agent.loop.prepare import CACHE, STAGES
from stm_agent.loop.single import fresh_output
from stm_agent.loop.training import prompt_prefixes
from stm_agent.merge.adapted import AdaptedModel
from stm_agent.merge.card import model_card, sources_of
from stm_agent.merge.export_job import ExportJob
from stm_agent.train.job import NO_NEGATIVES, TrainingJob
from stm_agent.train.processes import part, processes


def train_domain_expert(
    spec: DomainSpec,
    workspace: Path,
    runs: Path,
    name: str,
    output: Path,
    *,
    start: Path | None,
    steps: int | None,
    seed: int | None,
) -> dict[str, Any]:
    """Train one expert on its sources alone into ``output``; return the report of the training.

    If there are several processes, all train and the first one writes.

    Args:
        spec: The domain.
        workspace: Folder with ``prompts/``.
        runs: Folder of stages and caches.
        name: Name of the expert.
        output: New folder.
        start: Adapter folder to start from; None: the backbone.
        steps: Training steps; None: the domain's.
        seed: Seed of the weights and the batch order; None: the domain's first.

    Raises:
        ConfigError: The domain has no such expert, its loss needs mined or written negatives, or ``output`` exists.
    """
    target = fresh_output(output)
    spec = with_number_formats(spec)
    seed = spec.seeds[0] if seed is None else seed
    expert = _alone(_expert_of(spec, name), steps)
    data = build_domain_data(spec.collection, workspace)
    job = _job(spec, expert, data, workspace, runs, start=start, seed=seed)
    store = JobStore(runs / STAGES)
    executor = InlineExecutor(store)
    if processes().writes:
        (folder,) = executor.run([job])
        command = f"stm-agent train --domain {spec.name} --expert {name} --output {output}{_flags(start, steps, seed)}"
        trained = read_json(folder / "expert.json")
        (export,) = executor.run([_export(spec, expert, data, job, folder, command, trained)])
        _write_output(folder, export, target)
    elif store.find(job) is None:
        _train_beside(store, job)
    part()
    report: dict[str, Any] = trained if processes().writes else {"name": name, "losses": [0.0]}
    losses = [round(report["losses"][0], 4), round(report["losses"][-1], 4)]
    return {**report, "adapter": str(target / "adapter"), "model": str(target / "model"), "losses": losses}


def _flags(start: Path | None, steps: int | None, seed: int) -> str:
    return f"{f' --start {start}' if start else ''}{f' --steps {steps}' if steps else ''} --seed {seed}"


def _job(
    spec: DomainSpec,
    expert: ExpertSpec,
    data: DomainData,
    workspace: Path,
    runs: Path,
    *,
    start: Path | None,
    seed: int,
) -> TrainingJob:
    none = Instruction.none(AdaptedModel(spec.backbone).open().model.prompts)
    instruction = none if expert.instruction is None else none.saying(expert.instruction, "expert")
    dev = None
    if spec.train.evaluate_every:
        halves = cut_dev(data.collection.splits["dev"], same_text=data.collection.same_text)
        search = data.collection.splits["dev"].only(halves.search, "dev-search")
        dev = ScoredTask("search", data.collection.texts, search)
    return TrainingJob(
        expert=expert,
        train=spec.train,
        backbone=spec.backbone,
        pairs=tuple(pair for source in expert.sources for pair in pairs_of_source(data, source)),
        negatives=NO_NEGATIVES,
        instruction=instruction,
        prompts=prompt_prefixes(expert, instruction, workspace, spec.task),
        start=start.resolve() if start else None,
        seed=seed,
        dev=dev,
        cache=runs / CACHE / "vectors",
    )


def _train_beside(store: JobStore, job: TrainingJob) -> None:
    """Take part in a training whose result another process writes."""
    with tempfile.TemporaryDirectory() as scrap, checkpoints_in(store.checkpoints(job)):
        job.build(Path(scrap))


def _export(
    spec: DomainSpec,
    expert: ExpertSpec,
    data: DomainData,
    job: TrainingJob,
    folder: Path,
    command: str,
    trained: dict[str, Any],
) -> ExportJob:
    """Return the job that writes the expert as a plain sentence-transformers folder with its card."""
    done = expert.model_copy(update={"steps": trained["steps"]})
    card = model_card(
        name=f"{spec.name}, expert {expert.name}",
        domain=spec.model_copy(update={"experts": (done,)}),
        weights={expert.name: 1.0},
        dev=trained["best_dev"],
        general=None,
        sources=sources_of(spec, data.collection),
        command=command,
        synthetic=data.collection.synthetic,
    )
    prompts = {"query": job.instruction.query_prefix, "document": job.instruction.passage_prefix}
    model = AdaptedModel(spec.backbone, (folder / "adapter",), (1.0,))
    return ExportJob(model=model, prompts=prompts, card=card)


def _write_output(trained: Path, exported: Path, target: Path) -> None:
    with whole_folder(target) as partial:
        shutil.copytree(trained, partial, dirs_exist_ok=True, ignore=shutil.ignore_patterns("manifest.json"))
        shutil.copytree(exported / "model", partial / "model")


def _expert_of(spec: DomainSpec, name: str) -> ExpertSpec:
    by_name = {expert.name: expert for expert in spec.experts}
    if name in by_name and by_name[name].side == "query":
        raise ConfigError(f"expert {name} learns queries alone, on top of a run's model; run stm-agent optimize")
    if name in by_name and by_name[name].learns_from_scores:
        raise ConfigError(f"expert {name} learns from a teacher's scores, which stm-agent optimize computes; run that")
    if name not in by_name:
        raise ConfigError(f"domain {spec.name} has no expert '{name}'; it has {', '.join(by_name)}")
    return by_name[name]


def _alone(expert: ExpertSpec, steps: int | None) -> ExpertSpec:
    """Return the expert with structural negatives only: others need the data lever."""
    structural = expert.negatives.of_structure()
    try:
        return ExpertSpec(**{**expert.model_dump(), "negatives": structural, "steps": steps or expert.steps})
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{reason}; mined and written ones exist in 'stm-agent optimize' only") from error
