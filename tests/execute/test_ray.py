"""Jobs on a real Ray cluster of two nodes on loopback: where they run, what survives, and what a fault says."""

from __future__ import annotations

import os
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from stm_agent.errors import CheckFailed, ExecutionError, StopRequested
from stm_agent.execute.artefacts import ArtefactStore
from stm_agent.execute.cluster import Resources, connect
from stm_agent.execute.inline import InlineExecutor
from stm_agent.execute.leases import Leases
from stm_agent.execute.ray import RayExecutor
from stm_agent.execute.shared import SharedJobStore
from stm_agent.execute.store import JobStore
from stm_agent.execute.worker import MARK, SCRATCH
from stm_agent.progress import watched_by
from stm_agent.testing.jobs import FailingJob, NumberJob, number_of, process_of

ray = pytest.importorskip("ray")
ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    # Ray keeps pipes and sockets of its processes open until the end.
    pytest.mark.filterwarnings(
        "ignore::ResourceWarning",
        "ignore::pytest.PytestUnraisableExceptionWarning",
        "ignore::pytest.PytestUnhandledThreadExceptionWarning",
        "ignore::DeprecationWarning",
        "ignore::FutureWarning",
    )
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A head that does no work, and the way to add nodes that do; one node is there."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYTHONPATH", str(ROOT))
        environment.setenv("RAY_USAGE_STATS_ENABLED", "0")
        environment.setenv(SCRATCH, str(tmp_path_factory.mktemp("scratch")))
        cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 0, "include_dashboard": False},
        )
        ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
        cluster.add_node(num_cpus=2)
        yield cluster
        ray.shutdown()
        cluster.shutdown()


@dataclass
class Stopping:
    reason: str | None = None

    def progress(self, name, text, done, total):
        pass

    def stop_reason(self):
        return self.reason


@pytest.fixture
def open_executor(cluster):
    """Return executors on the cluster; what they left is cancelled after the test."""
    opened = []

    def new(store, warn=lambda text: None, cores=1, node_seconds=60.0):
        executor = RayExecutor(
            store, resources=lambda kind: Resources(cores=cores), warn=warn, node_seconds=node_seconds
        )
        opened.append(executor)
        return executor

    yield new
    for executor in opened:
        executor.close()


def shared(root, url):
    store = ArtefactStore.open(str(url))
    return SharedJobStore(root, artefacts=store, leases=Leases(store))


def wait_until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_jobs_run_on_the_node_and_a_second_run_builds_nothing(open_executor, tmp_path):
    store, log = JobStore(tmp_path / ".stages"), tmp_path / "log"
    jobs = [NumberJob(number, log) for number in range(3)]
    folders = open_executor(store).run(jobs)
    assert [number_of(folder) for folder in folders] == [0, 1, 2]
    assert os.getpid() not in {process_of(folder) for folder in folders}
    assert InlineExecutor(JobStore(store.root)).run(jobs) == folders
    assert open_executor(JobStore(store.root)).run(jobs) == folders
    assert len(list(log.iterdir())) == 3


def test_a_run_begun_inline_continues_on_nodes_that_share_nothing_but_the_artefacts(open_executor, tmp_path):
    store = shared(tmp_path / "here" / ".stages", tmp_path / "artefacts")
    # Built before there were artefacts: it is uploaded when a node needs it.
    (first,) = InlineExecutor(JobStore(store.root)).run([NumberJob(1)])
    job = NumberJob(10, reads=(first,))
    (second,) = open_executor(store).run([job])
    assert number_of(second) == 11
    assert second.parent == store.root
    other = shared(tmp_path / "there" / ".stages", tmp_path / "artefacts")
    assert number_of(InlineExecutor(other).run([job])[0]) == 11


def test_jobs_that_are_expected_run_before_they_are_asked_for(open_executor, tmp_path):
    log, executor = tmp_path / "log", open_executor(JobStore(tmp_path / ".stages"))
    executor.expect([NumberJob(1, log), NumberJob(2, log)])
    wait_until(lambda: log.is_dir() and len(list(log.iterdir())) == 2)
    assert number_of(executor.run([NumberJob(2, log)])[0]) == 2


def test_a_job_whose_node_is_killed_gives_the_same_result_on_another_one(cluster, open_executor, tmp_path):
    log = tmp_path / "log"
    store = JobStore(tmp_path / ".stages")
    executor = open_executor(store)
    (first,) = cluster.worker_nodes
    job, folders = NumberJob(7, log, seconds=5), []
    blocker = threading.Thread(target=lambda: folders.extend(executor.run([job])))
    blocker.start()
    wait_until(lambda: log.is_dir() and list(log.iterdir()))
    cluster.remove_node(first, allow_graceful=False)
    cluster.add_node(num_cpus=2)
    blocker.join(120)
    assert [number_of(folder) for folder in folders] == [7]
    assert len(list(log.iterdir())) == 2
    assert not list(store.root.glob(".partial*"))


def test_a_stop_cancels_what_was_sent_and_leaves_nothing_half_written(open_executor, tmp_path):
    log, watcher = tmp_path / "log", Stopping()
    store = JobStore(tmp_path / ".stages")
    executor = open_executor(store)

    def stop_when_begun():
        wait_until(lambda: log.is_dir() and list(log.iterdir()))
        watcher.reason = "stopped by the test"

    waiting = threading.Thread(target=stop_when_begun)
    waiting.start()
    with watched_by(watcher), pytest.raises(StopRequested):
        executor.run([NumberJob(1, log, seconds=60)])
    waiting.join()
    assert not list(store.root.glob("number-*"))
    assert not list(store.root.glob(".partial*"))
    # Its lock is free again.
    assert number_of(executor.run([NumberJob(1, log)])[0]) == 1


def test_an_error_of_a_job_is_raised_here_once_and_the_node_goes_on(open_executor, tmp_path):
    store = JobStore(tmp_path / ".stages")
    executor = open_executor(store)
    with pytest.raises(CheckFailed, match="this is a trial") as failure:
        executor.run([FailingJob("check")])
    assert failure.value.measured == 0.25
    with pytest.raises(RuntimeError, match="CUDA error: out of memory"):
        executor.run([FailingJob("memory")])
    with pytest.raises(ValueError, match="a plain error"):
        executor.run([FailingJob("value")])
    assert not list(store.root.glob("*failing*"))
    assert number_of(executor.run([NumberJob(1)])[0]) == 1


def test_a_node_with_a_full_disk_does_not_do_the_job(open_executor, tmp_path):
    warnings = []
    executor = open_executor(JobStore(tmp_path / ".stages"), warnings.append)
    with pytest.raises(ExecutionError, match=r"no node of the cluster can do failing-\w+; .*No space left"):
        executor.run([FailingJob("disk")])
    assert len(warnings) == 1
    assert "is not used for failing-" in warnings[0]
    assert warnings[0].endswith(": cannot write here: No space left on device")
    assert number_of(executor.run([NumberJob(1)])[0]) == 1


def test_a_node_that_lost_the_shared_folder_does_not_work(open_executor, tmp_path):
    warnings = []
    store = JobStore(tmp_path / ".stages")
    executor = open_executor(store, warnings.append)
    (store.root / MARK).unlink()
    with pytest.raises(ExecutionError, match=f"it does not see {store.root} of the run; mount that folder there"):
        executor.run([NumberJob(1)])
    assert ": it does not see" in warnings[0]


def test_a_lost_artefact_store_is_one_line_and_other_work_goes_on(open_executor, tmp_path):
    store = shared(tmp_path / ".stages", tmp_path / "artefacts")
    executor = open_executor(store)
    (built,) = executor.run([NumberJob(1)])
    shutil.rmtree(tmp_path / "artefacts")
    with pytest.raises(ExecutionError, match="has no file stm-agent-store any more"):
        executor.run([NumberJob(2)])
    assert executor.run([NumberJob(1)]) == [built]


def test_a_node_with_other_versions_is_refused_and_both_are_named(cluster, open_executor, tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import importlib.metadata as m\n"
        "real = m.version\n"
        "m.version = lambda name: '0.1.0' if name == 'peft' else real(name)\n"
    )
    odd = cluster.add_node(num_cpus=8, env_vars={"PYTHONPATH": f"{site}:{ROOT}"})
    try:
        warnings = []
        executor = open_executor(JobStore(tmp_path / ".stages"), warnings.append, cores=4)
        from importlib.metadata import version

        with pytest.raises(ExecutionError, match="no node of the cluster can do number"):
            executor.run([NumberJob(1)])
        assert f"is not used: it has peft 0.1.0 instead of {version('peft')}; install the versions" in warnings[0]
        assert number_of(open_executor(JobStore(tmp_path / ".stages")).run([NumberJob(1)])[0]) == 1
    finally:
        cluster.remove_node(odd)


def test_a_job_that_no_node_is_large_enough_for_is_not_waited_for_without_end(open_executor, tmp_path):
    executor = open_executor(JobStore(tmp_path / ".stages"), cores=64, node_seconds=0.0)
    with pytest.raises(ExecutionError, match=r"no node is large enough for number-\w+, which needs 64 cores"):
        executor.run([NumberJob(1)])


def test_an_address_that_does_not_answer_is_one_line():
    import socket

    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    from stm_agent.execute.cluster import _require_answer

    with pytest.raises(ExecutionError, match=f"no Ray answers at ray://127.0.0.1:{port} .*start one there with"):
        _require_answer(f"ray://127.0.0.1:{port}")
    assert connect("ray") is False
