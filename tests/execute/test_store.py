"""A stage folder is used only if it is whole; a damaged one is named, set aside and built again."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from stm_agent.errors import StorageError
from stm_agent.execute.inline import InlineExecutor
from stm_agent.execute.manifest import folder_fault
from stm_agent.execute.store import STALE_DAYS, JobStore
from stm_agent.files import write_atomic
from stm_agent.job import Job, checkpoint_folder


@dataclass(frozen=True)
class WordJob(Job):
    kind = "word"
    word: str
    log: Path

    def inputs(self):
        return {"word": self.word}

    def build(self, folder):
        with self.log.open("a") as stream:
            stream.write(self.word + "\n")
        write_atomic(folder / "word.txt", self.word)
        write_atomic(folder / "deep" / "length.json", str(len(self.word)))


@dataclass(frozen=True)
class StumblingJob(Job):
    kind = "stumble"
    gives_up: bool

    def inputs(self):
        return {}

    def build(self, folder):
        checkpoint = checkpoint_folder() / "half"
        if self.gives_up:
            write_atomic(checkpoint, "half")
            raise KeyboardInterrupt
        write_atomic(folder / "whole", checkpoint.read_text() + " and the rest")


@pytest.fixture
def warnings():
    return []


@pytest.fixture
def run(tmp_path, warnings):
    def build(job):
        # A new store each time, as a new process has.
        return InlineExecutor(JobStore(tmp_path / "stages"), warnings.append).run([job])[0]

    return build


def job(tmp_path, word="cell"):
    return WordJob(word, tmp_path / "log")


def built(tmp_path):
    return (tmp_path / "log").read_text().split()


def test_the_same_job_is_built_once_and_another_one_by_itself(run, tmp_path):
    first = run(job(tmp_path))
    assert run(job(tmp_path)) == first
    assert run(job(tmp_path, "organ")) != first
    assert built(tmp_path) == ["cell", "organ"]
    assert first.name == job(tmp_path).folder_name


def test_a_job_can_be_pickled_and_keeps_its_key(tmp_path):
    value = job(tmp_path)
    assert pickle.loads(pickle.dumps(value)).key() == value.key()  # noqa: S301 - our own bytes


DAMAGES = {
    "word.txt was changed": lambda folder: (folder / "word.txt").write_text("CELL"),
    "word.txt has 2 bytes instead of 4": lambda folder: (folder / "word.txt").write_text("ce"),
    "deep/length.json is missing": lambda folder: (folder / "deep" / "length.json").unlink(),
    "more.txt is not in manifest.json": lambda folder: (folder / "more.txt").write_text(""),
    "manifest.json is not valid JSON": lambda folder: (folder / "manifest.json").write_text('{"files":'),
    "cannot read": lambda folder: (folder / "manifest.json").unlink(),
    "manifest.json lists no files": lambda folder: (folder / "manifest.json").write_text("[]"),
    "manifest.json belongs to another stage": lambda folder: _change(folder, key="0" * 64),
}


def _change(folder, **values):
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize("fault", DAMAGES)
def test_a_damaged_folder_is_named_set_aside_and_built_again(run, tmp_path, warnings, fault):
    folder = run(job(tmp_path))
    DAMAGES[fault](folder)
    assert run(job(tmp_path)) == folder
    assert (folder / "word.txt").read_text() == "cell"
    assert built(tmp_path) == ["cell", "cell"]
    (warning,) = warnings
    assert fault in warning
    assert len(list((tmp_path / "stages").glob(".damaged-word-*"))) == 1, "nothing is deleted"
    assert folder_fault(folder) is None


def test_a_build_that_fails_leaves_no_folder(run, tmp_path):
    (tmp_path / "log").mkdir()
    with pytest.raises(StorageError, match="Is a directory"):
        run(job(tmp_path))
    assert not (tmp_path / "stages" / job(tmp_path).folder_name).exists()


def test_a_killed_build_resumes_from_its_checkpoint_and_the_checkpoint_goes(run, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(StumblingJob(gives_up=True))
    assert (run(StumblingJob(gives_up=False)) / "whole").read_text() == "half and the rest"
    assert list((tmp_path / "stages").glob(".checkpoints-*")) == []


def test_cleaning_removes_leftovers_but_nothing_a_living_process_builds(run, tmp_path):
    store = JobStore(tmp_path / "stages")
    run(job(tmp_path))
    dead, living = (store.root / f".partial-{name}-0123abcd" for name in ("word-dead", "word-living"))
    old, young = (store.root / f".checkpoints-{name}" for name in ("word-old", "word-young"))
    for folder in (dead, living, old, young):
        folder.mkdir()
    os.utime(old, (0, 0))
    holds = (
        "import sys; from filelock import FileLock\n"
        "lock = FileLock(sys.argv[1]); lock.acquire(); print('held', flush=True); sys.stdin.read()"
    )
    lock = store.root / ".locks" / "word-living"
    with subprocess.Popen(
        [sys.executable, "-c", holds, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        assert store.clean() == 2
        other.communicate("")
    assert STALE_DAYS > 1
    assert [folder.exists() for folder in (dead, living, old, young)] == [False, True, False, True]


def test_two_processes_build_the_same_job_once(tmp_path):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path; from test_store import WordJob, InlineExecutor, JobStore\n"
        "base = Path(sys.argv[2])\n"
        "InlineExecutor(JobStore(base / 'stages')).run([WordJob('cell', base / 'log')])"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent), str(tmp_path)]
    both = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert built(tmp_path) == ["cell"]
