"""Nothing is half-written, and a full disk is said in one line, whoever met it."""

from __future__ import annotations

import errno
import os

import pytest

from stm_agent.errors import ConfigError, StorageError
from stm_agent.files import append_jsonl, read_jsonl, remove_partial, whole_folder, write_atomic


@pytest.fixture
def full_disk(monkeypatch):
    def fsync(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)


def test_a_full_disk_leaves_the_old_file(tmp_path, full_disk):
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(StorageError, match="No space left on device; free some space and run the same command again"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_a_full_disk_leaves_no_folder(tmp_path, full_disk):
    with pytest.raises(StorageError), whole_folder(tmp_path / "stage") as partial:
        (partial / "weights").write_bytes(b"1")
    assert list(tmp_path.iterdir()) == []


def test_a_library_that_wraps_the_systems_error_is_understood(tmp_path):
    with (
        pytest.raises(StorageError, match="free some space"),
        whole_folder(tmp_path / "stage"),
    ):
        raise RuntimeError('I/O error: Os { code: 28, kind: StorageFull, message: "No space left on device" }')
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [ConfigError("a user's mistake"), ValueError("a fault of the program")])
def test_other_errors_pass_as_they_are(tmp_path, error):
    with pytest.raises(type(error), match=str(error)), whole_folder(tmp_path / "stage"):
        raise error
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed(tmp_path):
    (tmp_path / ".partial-stage-1").mkdir()
    (tmp_path / ".partial-a.json-2").write_text("half")
    (tmp_path / "whole").mkdir()
    assert remove_partial(tmp_path) == 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["whole"]


def test_a_cut_line_does_not_swallow_the_next(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n{"b": ')
    append_jsonl(path, {"c": 3})
    assert read_jsonl(path) == [{"a": 1}, {"c": 3}]
