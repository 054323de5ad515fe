"""The loop hands out ahead what no result decides any more, and asks for it one by one."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from stm_agent.domain.execution_spec import ExecutionSpec, JobKind
from stm_agent.errors import ConfigError, ExecutionError
from stm_agent.execute.inline import InlineExecutor
from stm_agent.loop import prepare
from stm_agent.loop.executing import open_executor
from stm_agent.loop.identity import run_identity
from stm_agent.loop.optimize import optimize
from stm_agent.loop.options import Options
from stm_agent.train.student import training_device


class Recording(InlineExecutor):
    """Builds in this process, and writes down what is handed out ahead and what is asked for."""

    def expect(self, jobs):
        log.extend(("ahead", job.kind, job.folder_name) for job in jobs)

    def run(self, jobs):
        log.extend(("asked", job.kind, job.folder_name) for job in jobs)
        return super().run(jobs)


log: list[tuple[str, str, str]] = []


@pytest.mark.usefixtures("proof_in_this_process")
def test_experts_that_do_not_start_from_each_other_are_handed_out_together(tiny_domain, workspace, monkeypatch):
    first, second = tiny_domain.experts
    none = first.negatives
    experts = (first, second.model_copy(update={"start": None, "negatives": none}))
    spec = tiny_domain.model_copy(update={"experts": experts})
    log.clear()
    monkeypatch.setattr("stm_agent.loop.executing.InlineExecutor", Recording)
    options = Options(generator="scripted:numbered")
    optimize(spec, options, workspace=workspace, runs=workspace / "runs")
    trained = [name for step, kind, name in log if (step, kind) == ("asked", "train")]
    ahead = [name for step, kind, name in log if (step, kind) == ("ahead", "train")]
    assert len(trained) >= 2
    assert set(trained) <= set(ahead)
    before_the_first = log[: log.index(("asked", "train", trained[0]))]
    assert {name for step, _, name in before_the_first if step == "ahead"} >= set(trained)
    # Nothing is handed out that nobody asks for, and no row of test is scored alone.
    assert {name for step, _, name in log if step == "ahead"} <= {name for step, _, name in log if step == "asked"}
    assert sum((step, kind) == ("ahead", "evaluate") for step, kind, _ in log) >= 3


def test_where_jobs_run_makes_no_other_run(tiny_domain, workspace):
    other = tiny_domain.model_copy(update={"execution": ExecutionSpec(cores=8)})
    plain, ray = Options(), Options(executor="ray://head:10001", artefacts="s3://bucket/path")
    assert run_identity(tiny_domain, plain, workspace) == run_identity(other, ray, workspace)


def test_kinds_of_jobs_have_resources_of_their_own_and_unknown_keys_are_refused():
    spec = ExecutionSpec.model_validate({"cores": 2, "jobs": {"train": {"cores": 4, "gpus": 1}}})
    assert (spec.of("train").cores, spec.of("train").gpus, spec.of("evaluate").cores) == (4, 1.0, 2)
    assert spec.trains_on_gpu
    for wrong in ({"core": 2}, {"jobs": {"trian": {}}}, {"cores": 0}, {"jobs": {"train": {"cpus": 1}}}):
        with pytest.raises(ValidationError):
            ExecutionSpec.model_validate(wrong)


def test_every_kind_of_job_can_have_resources():
    from inspect import isabstract
    from typing import get_args

    import stm_agent.evaluate.proof
    import stm_agent.evaluate.single_jobs
    import stm_agent.instruct.job
    import stm_agent.merge.folders_job
    import stm_agent.mine.teaching
    import stm_agent.synthesize.audit_job
    import stm_agent.synthesize.jobs
    import stm_agent.train.query_map  # noqa: F401
    from stm_agent.job import Job

    def concrete(parent: type[Job]) -> list[type[Job]]:
        below = [job for child in parent.__subclasses__() for job in concrete(child)]
        return below if isabstract(parent) else [parent, *below]

    kinds = {job.kind for job in concrete(Job) if job.__module__.startswith("stm_agent.")}
    asking = {"audit", "graded", "instruct", "queries", "synthesize"}
    assert kinds - asking - {"number", "failing"} == set(get_args(JobKind))


def test_an_executor_that_does_not_exist_is_a_wrong_flag():
    for name in ("slurm", "ray://", "ray://host:port"):
        with pytest.raises(ConfigError, match=f"--executor {name} does not exist; use inline, ray or ray://HOST:PORT"):
            Options(executor=name)


def test_an_artefact_store_that_cannot_be_written_ends_the_command_before_any_work(tmp_path):
    (tmp_path / "file").write_text("no folder")
    opening = open_executor(
        ExecutionSpec(), "inline", str(tmp_path / "file" / "store"), tmp_path / prepare.STAGES, lambda text: None
    )
    with pytest.raises(ExecutionError, match="file/store cannot be used: "), opening:
        pass


def test_the_key_of_a_training_names_the_device_of_the_nodes(monkeypatch):
    from stm_agent.machine import training_elsewhere

    here = training_device()
    with training_elsewhere(gpu=True):
        assert training_device() == "cuda"
    with training_elsewhere(gpu=False):
        assert training_device().startswith("cpu")
    assert training_device() == here
