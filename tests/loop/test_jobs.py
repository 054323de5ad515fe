"""Jobs are values: they pickle, keep their key, and are the same in ``optimize`` and in a single command."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.build import build_collection, build_domain_data
from stm_agent.domain.spec import DomainSpec
from stm_agent.evaluate.proof import ProofJob
from stm_agent.evaluate.scoring import ScoredTask, ScoringJob
from stm_agent.files import read_jsonl
from stm_agent.instruct.job import InstructionJob
from stm_agent.job import Job
from stm_agent.llm.access import LlmAccess
from stm_agent.llm.options import LlmOptions
from stm_agent.loop.evaluate_single import evaluate_model
from stm_agent.loop.events import Event
from stm_agent.loop.optimize import optimize
from stm_agent.loop.options import Options
from stm_agent.loop.single import mine_domain
from stm_agent.loop.synthesize_single import synthesize_domain
from stm_agent.loop.train_single import train_domain_expert
from stm_agent.merge.adapted import AdaptedModel
from stm_agent.merge.export_job import ExportJob
from stm_agent.merge.job import MergeJob
from stm_agent.mine.job import MiningJob
from stm_agent.mine.negatives import Negative
from stm_agent.synthesize.jobs import HardNegativesJob, QueriesJob
from stm_agent.testing.pico import pico_checkpoint
from stm_agent.train.job import TrainingJob
from stm_agent.workspace import program_path


@pytest.fixture
def jobs(tiny_domain: DomainSpec, workspace: Path, tmp_path: Path) -> list[Job]:
    data = build_domain_data(tiny_domain.collection, workspace)
    pairs, cache = data.sources["train"][:4], tmp_path / "cache"
    model = AdaptedModel(tiny_domain.backbone)
    dev = ScoredTask("dev", data.collection.texts, data.collection.splits["dev"])
    access = LlmAccess(options=LlmOptions(model="scripted:numbered"), cache=cache, ledger=tmp_path / "llm.jsonl")
    negatives = {pairs[0].id: (Negative("a passage", "bm25", "p", 1.0),)}
    shared: dict[str, Any] = {"task": "a question -> its passage", "generator": access, "spec": tiny_domain.synthesize}
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    return [
        ScoringJob(model, ((dev, Instruction()),), cache),
        ProofJob(tmp_path / "export-0" / "model", dev, 0.5),
        MiningJob(pairs=pairs, pool=data.pool, groups=data.groups, spec=tiny_domain.mine, miner=model, cache=cache),
        QueriesJob(pool=data.pool, program=program_path(workspace, "queries"), seed=0, **shared),
        HardNegativesJob(pairs=pairs, mined=negatives, program=program_path(workspace, "hard_negatives"), **shared),
        TrainingJob(
            expert=tiny_domain.experts[0],
            train=tiny_domain.train,
            backbone=tiny_domain.backbone,
            pairs=pairs,
            negatives=negatives,
            instruction=Instruction(),
            cache=cache,
        ),
        InstructionJob(
            model=model,
            search=dev,
            seeds=(Instruction("Find it."),),
            framings=(),
            incumbent=Instruction(),
            reflection=access,
            spec=tiny_domain.instruct,
            seed=0,
            task="a question -> its passage",
            cache=cache,
        ),
        MergeJob(
            backbone=tiny_domain.backbone,
            adapters=(adapter,),
            instruction=Instruction(),
            dev=dev,
            searched=tuple(dev.split.queries)[:3],
            guards=(),
            spec=tiny_domain.merge,
            floor=0.0,
            seed=0,
            cache=cache,
        ),
        ExportJob(model=model, prompts={"query": "", "document": ""}, card="a card"),
    ]


def test_every_job_pickles_and_keeps_its_key(jobs: list[Job]) -> None:
    assert len({job.kind for job in jobs}) == len(jobs) == 9
    for job in jobs:
        assert pickle.loads(pickle.dumps(job)).key() == job.key(), job.kind  # noqa: S301 - our own bytes


def test_ceilings_and_caches_decide_no_key_and_a_server_does(jobs: list[Job]) -> None:
    from dataclasses import replace

    (queries,) = [job for job in jobs if isinstance(job, QueriesJob)]
    dearer = replace(queries, generator=replace(queries.generator, usd=1.0, minutes=2.0, cache=Path("other")))
    assert dearer.key() == queries.key()
    options = queries.generator.options.model_copy(update={"api_base": "http://127.0.0.1:1"})
    assert replace(queries, generator=replace(queries.generator, options=options)).key() != queries.key()
    salvaged = replace(queries, generator=queries.generator.without_asking(3))
    assert salvaged.key() != queries.key(), "what is not whole is not stored as the whole"


@pytest.mark.timeout(120)
@pytest.mark.usefixtures("proof_in_this_process")
def test_train_and_optimize_share_one_folder(tiny_domain: DomainSpec, workspace: Path, tmp_path: Path) -> None:
    runs = workspace / "runs"
    spec = tiny_domain.model_copy(update={"experts": tiny_domain.experts[:1], "seeds": (3,)})
    trained = train_domain_expert(spec, workspace, runs, "plain", tmp_path / "out", start=None, steps=None, seed=None)
    (folder,) = (runs / ".stages").glob("train-*")
    report = optimize(spec, Options(generator="scripted:numbered"), workspace=workspace, runs=runs)
    assert "expert plain" in report["rows"]
    assert list((runs / ".stages").glob("train-*")) == [folder]
    assert (tmp_path / "out" / "adapter" / "adapter_model.safetensors").is_file()
    assert trained["steps"] == spec.experts[0].steps


class Killed(BaseException):
    """As a kill: nothing in the engine may catch it."""


def killed_at_training(event: Event) -> None:
    if event["kind"] == "stage" and event["name"] == "train":
        raise Killed


@pytest.mark.timeout(300)
def test_mine_synthesize_and_optimize_share_their_folders(
    tiny_domain: DomainSpec, workspace: Path, tmp_path: Path
) -> None:
    runs, options = workspace / "runs", Options(generator="scripted:numbered")
    counts = mine_domain(tiny_domain, workspace, runs, tmp_path / "mined", None)
    written = synthesize_domain(tiny_domain, workspace, runs, tmp_path / "written", options, limit=None)
    assert counts["negatives"]
    assert written["written"]
    before = stages(runs, "mine", "synthesize")
    assert len(before) == 2
    # The loop has its negatives when training begins.
    with pytest.raises(Killed):
        optimize(tiny_domain, options, workspace=workspace, runs=runs, observer=killed_at_training)
    (ledger,) = runs.glob("*/ledger.jsonl")
    used = {entry["folder"] for entry in read_jsonl(ledger) if entry["event"] == "stage"}
    assert set(before) <= used
    assert stages(runs, "mine", "synthesize") == before


def stages(runs: Path, *kinds: str) -> list[str]:
    return sorted(folder.name for kind in kinds for folder in (runs / ".stages").glob(f"{kind}-*"))


def test_a_look_at_a_few_pairs_needs_no_encoder(tiny_domain: DomainSpec, workspace: Path, tmp_path: Path) -> None:
    runs, options = workspace / "runs", Options(generator="scripted:numbered")
    written = synthesize_domain(tiny_domain, workspace, runs, tmp_path / "few", options, limit=2)
    assert written["pairs"] == 2
    assert not (runs / ".cache" / "vectors").exists()
    assert mine_domain(tiny_domain, workspace, runs, tmp_path / "mined", 3)["pairs"] == 3


@pytest.mark.timeout(120)
@pytest.mark.usefixtures("proof_in_this_process")
def test_evaluate_and_optimize_share_one_folder(tiny_domain: DomainSpec, workspace: Path, tmp_path: Path) -> None:
    runs, ready = workspace / "runs", str(pico_checkpoint(tmp_path / "ready"))
    experts = [expert.model_copy(update={"steps": 2}) for expert in tiny_domain.experts[:1]]
    spec = tiny_domain.model_copy(update={"baseline": ready, "experts": tuple(experts)})
    collection = build_collection(spec.collection, workspace)
    found = evaluate_model(ready, collection, "test", runs=runs)
    (folder,) = (runs / ".stages").glob("evaluate-*")
    report = optimize(spec, Options(generator="scripted:numbered"), workspace=workspace, runs=runs)
    row = report["rows"][ready]
    assert found == {name: row[name] for name in found}  # type: ignore[literal-required]
    ledger = read_jsonl(runs / report["run"] / "ledger.jsonl")
    assert folder.name in [entry["folder"] for entry in ledger if entry["event"] == "stage"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # mteb's own
def test_a_model_is_scored_once_by_each_engine(tiny_domain: DomainSpec, workspace: Path, tmp_path: Path) -> None:
    ready, collection = str(pico_checkpoint(tmp_path / "ready")), build_collection(tiny_domain.collection, workspace)
    for name, engine in ((ready, "fast"), (ready, "mteb"), ("bm25", "fast")):
        runs = tmp_path / f"{name[-4:]}-{engine}"
        first = evaluate_model(name, collection, "dev", runs=runs, engine=engine)  # type: ignore[arg-type]
        (folder,) = (runs / ".stages").glob("[!.]*")
        built = (folder / "manifest.json").stat().st_mtime_ns
        assert evaluate_model(name, collection, "dev", runs=runs, engine=engine) == first  # type: ignore[arg-type]
        assert (folder / "manifest.json").stat().st_mtime_ns == built
