"""Push a run to an experiment tracker, from its ledger and after the fact; the loop itself knows no tracker.

What the tracker's own store holds is never pushed again, so that a push can be repeated, resumed after a kill, and
continued when the run has gone further.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Protocol

from stm_agent.errors import ConfigError
from stm_agent.inspect.page.record import RunRecord
from stm_agent.inspect.page.timeline import timeline
from stm_agent.loop.identity import flat_identity

NOTHING = -1
"""Last step of a run that the tracker does not have."""
TAG = "stm_agent.run"
MLFLOW_PARAMS = 100
"""Parameters that MLflow takes at once, at most."""


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """A run as a tracker takes it.

    Attributes:
        project: Project or experiment.
        run: Name of the run.
        config: Inputs of the run, as text.
        points: Metrics by name; the number of a point is its step.
    """

    project: str
    run: str
    config: Mapping[str, str]
    points: Sequence[Mapping[str, float]]


class Tracker(Protocol):
    """A tracker whose package is installed."""

    def push(self, run: Pushed) -> int:
        """Write the points that the tracker does not have; return how many they were."""


def pushed(record: RunRecord, project: str) -> Pushed:
    """Return a run's trials, its incumbent over cost, and its test scores, in the order of the search."""
    search = timeline(record)
    points: list[tuple[float, dict[str, float]]] = [
        (step["minutes"], {"incumbent/ndcg_at_10": step["value"], "minutes": step["minutes"], "usd": step["usd"]})
        for step in search["steps"]
    ]
    for dot in search["dots"]:
        score = dot["value"] if dot["value"] is not None else dot["off_scale"]
        if score is not None:
            metrics = {f"{dot['lever']}/ndcg_at_10": score, "minutes": dot["minutes"], "usd": dot["usd"]}
            points.append((dot["minutes"], metrics))
    ordered = [metrics for _, metrics in sorted(points, key=lambda point: point[0])]
    rows = record.report.get("rows", {})
    test = {f"test/{_plain(name)}/{metric}": row[metric] for name, row in rows.items() for metric in METRICS}
    return Pushed(
        project=project,
        run=record.folder.name,
        config=flat_identity(record.identity),
        points=[*ordered, *([test] if test else [])],
    )


METRICS = ("ndcg_at_10", "recall_at_100", "mrr_at_10")


def _plain(name: str) -> str:
    """Return a row's name without what MLflow refuses in the name of a metric."""
    return "".join(letter if letter.isalnum() or letter in "-_. " else " " for letter in name)


@dataclass(frozen=True)
class Trackio:
    """trackio's local store."""

    package: ModuleType

    def push(self, run: Pushed) -> int:
        """See :class:`Tracker`."""
        store = importlib.import_module("trackio.sqlite_storage").SQLiteStorage
        last = store.get_last_step(run.project, run.run)
        rest = list(enumerate(run.points))[(NOTHING if last is None else last) + 1 :]
        if rest:
            # The machine that pushes is not the one that is measured.
            quiet = {"embed": False, "auto_log_cpu": False, "auto_log_gpu": False}
            self.package.init(project=run.project, name=run.run, config=dict(run.config), resume="allow", **quiet)
            for step, metrics in rest:
                self.package.log(dict(metrics), step=step)
            self.package.finish()
        return len(rest)


@dataclass(frozen=True)
class Mlflow:
    """MLflow at its tracking URI (``MLFLOW_TRACKING_URI``)."""

    package: ModuleType

    def push(self, run: Pushed) -> int:
        """See :class:`Tracker`."""
        client = self.package.MlflowClient()
        experiment = self.package.set_experiment(run.project).experiment_id
        found = client.search_runs([experiment], filter_string=f"tags.`{TAG}` = '{run.run}'", max_results=1)
        stored = found[0] if found else client.create_run(experiment, tags={TAG: run.run}, run_name=run.run)
        identity, new = stored.info.run_id, 0
        # Every time: a push may have been cut off before them, and the same value is accepted again.
        params = [self.package.entities.Param(_plain(name)[:250], text) for name, text in run.config.items()]
        for first in range(0, len(params), MLFLOW_PARAMS):
            client.log_batch(identity, params=params[first : first + MLFLOW_PARAMS])
        known = {
            (name, metric.step) for name in stored.data.metrics for metric in client.get_metric_history(identity, name)
        }
        for step, metrics in enumerate(run.points):
            missing = {name: value for name, value in metrics.items() if (name, step) not in known}
            if missing:
                batch = [self.package.entities.Metric(name, value, step, step) for name, value in missing.items()]
                client.log_batch(identity, metrics=batch)
                new += 1
        client.set_terminated(identity)
        return new


@dataclass(frozen=True)
class Wandb:
    """Weights & Biases; with ``WANDB_MODE=offline`` a new local run each time, since what is there cannot be asked."""

    package: ModuleType

    def push(self, run: Pushed) -> int:
        """See :class:`Tracker`."""
        opened = self.package.init(
            project=run.project, id=run.run, name=run.run, config=dict(run.config), resume="allow"
        )
        rest = list(enumerate(run.points))[int(opened.step) :]
        for step, metrics in rest:
            opened.log(dict(metrics), step=step)
        opened.finish()
        return len(rest)


TRACKERS: Mapping[str, Callable[[ModuleType], Tracker]] = {"trackio": Trackio, "mlflow": Mlflow, "wandb": Wandb}


def open_tracker(name: str) -> Tracker:
    """Return a tracker by name.

    Raises:
        ConfigError: The tracker does not exist, or its package is not installed.
    """
    if name not in TRACKERS:
        raise ConfigError(f"--to {name} does not exist; use {', '.join(TRACKERS)}")
    try:
        package = importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(f"{name} cannot be imported ({error}); pip install 'stm-agent[{name}]'") from error
    return TRACKERS[name](package)
