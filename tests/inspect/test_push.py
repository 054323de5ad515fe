"""A run in a tracker: everything once, whatever is repeated, and the rest after a kill."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from stm_agent.errors import ConfigError
from stm_agent.inspect.page.record import read_record
from stm_agent.inspect.push import Mlflow, Pushed, Wandb, open_tracker, pushed
from stm_agent.testing.run_folder import FakeRun


@pytest.fixture
def run(tmp_path: Path) -> Pushed:
    return pushed(read_record(FakeRun().write(tmp_path / "fake-0")), "bench")


class FakeMlflow:
    """As much of MLflow's client as is used, with a store that can be cut off."""

    def __init__(self) -> None:
        self.runs: list[Any] = []
        self.history: dict[str, list[Any]] = {}
        self.params: dict[str, str] = {}
        self.left = 10_000
        self.MlflowClient = lambda: self
        self.entities = SimpleNamespace(
            Param=lambda key, value: SimpleNamespace(key=key, value=value),
            Metric=lambda key, value, timestamp, step: SimpleNamespace(key=key, value=value, step=step),
        )

    def set_experiment(self, name: str) -> Any:
        return SimpleNamespace(experiment_id=name)

    def search_runs(self, experiments: list[str], filter_string: str, max_results: int) -> list[Any]:
        return [run for run in self.runs if f"'{run.name}'" in filter_string][:max_results]

    def create_run(self, experiment: str, tags: dict[str, str], run_name: str) -> Any:
        data = SimpleNamespace(metrics=self.history)
        self.runs.append(SimpleNamespace(info=SimpleNamespace(run_id="1"), data=data, name=run_name))
        return self.runs[-1]

    def get_metric_history(self, identity: str, name: str) -> list[Any]:
        return self.history[name]

    def log_batch(self, identity: str, metrics: Sequence[Any] = (), params: Sequence[Any] = ()) -> None:
        """Store one after another, as a folder does, so that a batch can be cut off in its middle."""
        assert len(params) <= 100, "what MLflow takes at once"
        for row in (*params, *metrics):
            self.left -= 1
            if self.left < 0:
                raise ConnectionError
            if row in metrics:
                self.history.setdefault(row.key, []).append(row)
            else:
                self.params[row.key] = row.value

    def set_terminated(self, identity: str) -> None: ...


def test_points_are_the_search_in_order_and_the_test_at_its_end(run):
    minutes = [point["minutes"] for point in run.points[:-1]]
    assert minutes == sorted(minutes)
    assert run.points[0]["incumbent/ndcg_at_10"] == 0.4
    assert run.points[-1]["test/merged/ndcg_at_10"] == pytest.approx(0.48)
    assert run.config["flags.seed"] == "0"


def test_everything_is_pushed_once(run):
    package: Any = FakeMlflow()
    assert Mlflow(package).push(run) == len(run.points)
    assert Mlflow(package).push(run) == 0
    assert len(package.runs) == 1
    assert package.params["flags.seed"] == "0"
    assert [metric.value for metric in package.history["incumbent/ndcg_at_10"]] == [0.4, *[pytest.approx(0.45)] * 2]


@pytest.mark.parametrize("left", [0, 2, 8, 20], ids=["before inputs", "in inputs", "in a point", "later"])
def test_a_push_that_was_cut_off_loses_nothing(run, left):
    whole: Any = FakeMlflow()
    Mlflow(whole).push(run)
    package: Any = FakeMlflow()
    package.left = left
    with pytest.raises(ConnectionError):
        Mlflow(package).push(run)
    package.left = 10_000
    rest = Mlflow(package).push(run)
    assert (rest < len(run.points)) == (left > 5)
    assert package.params == whole.params
    for name, metrics in whole.history.items():
        assert [(metric.step, metric.value) for metric in package.history[name]] == [
            (metric.step, metric.value) for metric in metrics
        ]


def test_wandb_is_asked_for_its_step(run):
    logged: list[int] = []
    opened = SimpleNamespace(step=5, log=lambda metrics, step: logged.append(step), finish=lambda: None)
    package: Any = SimpleNamespace(init=lambda **flags: opened)
    assert Wandb(package).push(run) == len(run.points) - 5
    assert logged == list(range(5, len(run.points)))


def test_trackio_keeps_it_in_its_local_store(run, tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio", reason="needs the extra trackio")
    tracker = open_tracker("trackio")
    assert tracker.push(run) == len(run.points)
    assert tracker.push(run) == 0, "its own store is asked"
    from trackio.sqlite_storage import SQLiteStorage

    logs = SQLiteStorage.get_logs("bench", "fake-0")
    assert [log["incumbent/ndcg_at_10"] for log in logs if "incumbent/ndcg_at_10" in log] == [
        0.4,
        *[pytest.approx(0.45)] * 2,
    ]


# MLflow's store calls SQLAlchemy in ways that SQLAlchemy 2.1 has announced to end.
@pytest.mark.filterwarnings("ignore:.*deprecated")
def test_mlflow_keeps_it_in_a_local_store(run, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="needs the extra mlflow")
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    tracker = open_tracker("mlflow")
    assert tracker.push(run) == len(run.points)
    assert tracker.push(run) == 0, "its own store is asked"
    (stored,) = mlflow.MlflowClient().search_runs([mlflow.get_experiment_by_name("bench").experiment_id])
    assert (stored.info.run_name, stored.info.status) == ("fake-0", "FINISHED")
    assert stored.data.params["flags.seed"] == "0"
    history = mlflow.MlflowClient().get_metric_history(stored.info.run_id, "incumbent/ndcg_at_10")
    assert [metric.value for metric in history] == [0.4, *[pytest.approx(0.45)] * 2]
    assert [metric.step for metric in history] == sorted({metric.step for metric in history})


def test_wandb_writes_it_into_a_local_run(run, tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="needs the extra wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert open_tracker("wandb").push(run) == len(run.points)
    (file,) = tmp_path.rglob("*.wandb")
    names = (b"incumbent/ndcg_at_10", b"test/merged/ndcg_at_10", b"flags.seed")
    # A process of wandb's own writes the file, and may still do so when the run is finished.
    deadline = time.monotonic() + 30
    while not all(name in file.read_bytes() for name in names) and time.monotonic() < deadline:
        time.sleep(0.1)
    content = file.read_bytes()
    assert all(name in content for name in names)


def test_a_tracker_that_is_not_there_is_named_with_the_fix(monkeypatch):
    with pytest.raises(ConfigError, match="--to neptune does not exist; use trackio, mlflow, wandb"):
        open_tracker("neptune")
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match=r"pip install 'stm-agent\[wandb\]'"):
        open_tracker("wandb")
    monkeypatch.setitem(sys.modules, "wandb", ModuleType("wandb"))
    assert isinstance(open_tracker("wandb"), Wandb)
