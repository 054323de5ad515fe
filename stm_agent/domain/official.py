"""Official MTEB retrieval tasks: found by name, with one split and one subset, on the Hub or in a local folder."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stm_agent.errors import ConfigError, DataError, first_line, raised_as
from stm_agent.files import content_hash, sha256_file
from stm_agent.hub_faults import download_line, hub_fault

if TYPE_CHECKING:
    from mteb.abstasks import AbsTaskRetrieval

NEAREST = 3
"""Similar names that are offered."""


@dataclass(frozen=True, kw_only=True)
class OfficialTask:
    """One task of MTEB, and which part of it.

    Attributes:
        name: MTEB's name.
        split: Judged split; None: the only one.
        subset: Language or other part; None: the only one.
        data_dir: Folder with data sets in the Hub's layout, ``data_dir/owner/name``; None: the Hub.
    """

    name: str
    split: str | None = None
    subset: str | None = None
    data_dir: Path | None = None

    def open(self) -> AbsTaskRetrieval:
        """Return mteb's task, narrowed to the split and the subset; no data is read.

        Raises:
            ConfigError: No retrieval task has this name, or it has not the split or the subset, or has several and
                none is named.
            DataError: The data set is not in the folder.
        """
        task = find_task(self.name)
        subset = chosen_subset(task, self.subset)
        split = _chosen(task.metadata.name, "split", self.split, task.eval_splits)
        return narrowed(at_folder(task, self.data_dir), subset, [split])

    def content(self) -> str | None:
        """Return a hash of the local data set; None: the Hub's, whose revision mteb pins."""
        if self.data_dir is None:
            return None
        return data_set_hash(self.data_dir, find_task(self.name).metadata.dataset["path"])


def find_task(name: str) -> AbsTaskRetrieval:
    """Return mteb's retrieval task of a name.

    Raises:
        ConfigError: There is none; the message offers similar names.
    """
    import mteb
    from mteb.abstasks import AbsTaskRetrieval
    from mteb.abstasks.aggregated_task import AbsTaskAggregate

    try:
        task = mteb.get_task(name)
    except KeyError as error:
        raise ConfigError(f"mteb has no retrieval task '{name}'; {_nearest(name)}") from error
    if isinstance(task, AbsTaskAggregate):
        parts = ", ".join(part.metadata.name for part in task.metadata.tasks)
        raise ConfigError(f"MTEB task {name} is a group of tasks; name one of {parts}")
    if not isinstance(task, AbsTaskRetrieval):
        raise ConfigError(f"MTEB task {name} is not a retrieval task but {task.metadata.type}; {_nearest(name)}")
    return task


def _nearest(name: str) -> str:
    import mteb

    names = {task.metadata.name.lower(): task.metadata.name for task in mteb.get_tasks(task_types=["Retrieval"])}
    near = difflib.get_close_matches(name.lower(), names, n=NEAREST, cutoff=0.5)
    return f"the nearest names are {', '.join(names[key] for key in near)}" if near else "see: mteb available-tasks"


def chosen_subset(task: AbsTaskRetrieval, subset: str | None) -> str:
    """Return the subset that was named, or the only one.

    Raises:
        ConfigError: The task has not that subset, or has several and none was named.
    """
    return _chosen(task.metadata.name, "subset", subset, task.hf_subsets)


def _chosen(task: str, what: str, wanted: str | None, offered: Sequence[str]) -> str:
    has = f"it has {', '.join(offered)}"
    if wanted is None:
        if len(offered) == 1:
            return offered[0]
        raise ConfigError(f"MTEB task {task} has {len(offered)} {what}s, name one of them: {', '.join(offered)}")
    if wanted not in offered:
        raise ConfigError(f"MTEB task {task} has no {what} '{wanted}'; {has}")
    return wanted


def narrowed(task: AbsTaskRetrieval, subset: str, splits: Sequence[str]) -> AbsTaskRetrieval:
    """Return the task with one subset and some splits, so that nothing else is loaded or scored."""
    about = task.metadata
    # Some tasks have loaders of their own, which read these fields and know no filter.
    changes: dict[str, object] = {"eval_splits": list(splits)}
    if isinstance(about.eval_langs, dict):
        changes["eval_langs"] = {subset: about.eval_langs[subset]}
    task.metadata = about.model_copy(update=changes)
    task.filter_eval_splits(list(splits))
    task.filter_languages(None, hf_subsets=[subset])
    return task


def at_folder(task: AbsTaskRetrieval, data_dir: Path | None) -> AbsTaskRetrieval:
    """Return the task reading its data set from ``data_dir/owner/name``, in the layout that the Hub gives it.

    Raises:
        DataError: The folder does not exist; the message has the command that downloads it.
    """
    if data_dir is None:
        return task
    about = task.metadata
    path, revision = about.dataset["path"], about.dataset["revision"]
    folder = data_set_folder(data_dir, path, revision, f"MTEB task {about.name}")
    # A copy, since all tasks of a class share their metadata.
    task.metadata = about.model_copy(update={"dataset": {**about.dataset, "path": str(folder)}})
    return task


def data_set_folder(data_dir: Path, repository: str, revision: str | None, wanted_by: str) -> Path:
    """Return the folder of a data set of the Hub.

    Raises:
        DataError: It does not exist, or is empty; the message has the command that downloads it.
    """
    folder = (data_dir / repository).absolute()
    if not folder.is_dir() or not any(folder.iterdir()):
        line = download_line(repository, revision, str(data_dir / repository))
        raise DataError(f"{wanted_by} needs {data_dir / repository}, which is missing; download it with: {line}")
    return folder


def data_set_hash(data_dir: Path, repository: str) -> str:
    """Return the hash of all files of a local data set; what the download left beside them does not count."""
    folder = data_dir / repository
    parts = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file())
    files = [part for part in parts if not part.parts[0].startswith(".")]
    return content_hash({part.as_posix(): sha256_file(folder / part) for part in files})


def load_task(task: AbsTaskRetrieval) -> None:
    """Read the data of a narrowed task into it.

    Raises:
        DataError: It cannot be fetched or read.
    """
    with raised_as(lambda error: DataError(_unreachable(task, error))):
        task.load_data()
        task.convert_v1_dataset_format_to_v2(num_proc=None)


def offered_splits(task: AbsTaskRetrieval, subset: str) -> tuple[str, ...]:
    """Return the splits that the data set has judgements for, train splits included.

    Raises:
        DataError: The Hub cannot be reached, or refuses.
    """
    from datasets import get_dataset_config_names, get_dataset_split_names
    from mteb.abstasks import AbsTaskRetrieval

    if type(task).load_data is not AbsTaskRetrieval.load_data:
        # Only the task's own loader knows its layout.
        return tuple(task.metadata.eval_splits)
    path, revision = task.metadata.dataset["path"], task.metadata.dataset["revision"]
    with raised_as(lambda error: DataError(_unreachable(task, error))):
        # The config in which mteb's own loader looks for the judgements.
        configs = get_dataset_config_names(path, revision)
        config = f"{subset}-qrels" if subset != "default" else "default" if "default" in configs else "qrels"
        return tuple(str(name) for name in get_dataset_split_names(path, config, revision=revision))


def _unreachable(task: AbsTaskRetrieval, error: BaseException) -> str:
    name, path, revision = task.metadata.name, task.metadata.dataset["path"], task.metadata.dataset["revision"]
    if Path(path).is_dir():
        return f"cannot read MTEB task {name} from {path} ({first_line(error)}); download it again"
    elsewhere = f"where the Hub can be reached run: {download_line(path, revision, f'DIR/{path}')}; give --data-dir DIR"
    fault = hub_fault(error, path, "dataset") or f"{first_line(error)}; check the network, or {elsewhere}"
    return f"cannot fetch MTEB task {name} from the Hub: {fault}"
