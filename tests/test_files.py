"""Nothing is half-written, and a full disk is said in one line, whoever met it."""

from __future__ import annotations

import errno
import os
import stat

import numpy as np
import pytest
from safetensors.numpy import save_file

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


def test_a_text_may_hold_any_character_that_str_splitlines_takes_for_an_end(tmp_path):
    row = {"text": "one\u2028two\u2029three\u0085four\x0bfive\x0csix\x1cseven\r\neight"}
    append_jsonl(tmp_path / "a.jsonl", row, row)
    assert read_jsonl(tmp_path / "a.jsonl") == [row, row]


@pytest.fixture
def umask():
    """Set a umask that is not the usual one, so that a constant mode would show."""
    before = os.umask(0o027)
    yield
    os.umask(before)


def modes(folder):
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.rglob("*")]}


def test_what_a_library_wrote_for_its_owner_alone_gets_the_ordinary_mode(tmp_path, umask):
    with whole_folder(tmp_path / "model") as partial:
        (partial / "inner").mkdir(mode=0o700)
        save_file({"weight": np.zeros(2, "f")}, partial / "inner" / "model.safetensors")
        (partial / "inner" / "model.safetensors").chmod(0o600)
        write_atomic(partial / "config.json", "{}")
    expected = {"model": 0o750, "inner": 0o750, "model.safetensors": 0o640, "config.json": 0o640}
    assert modes(tmp_path / "model") == expected


def test_an_atomic_write_has_the_ordinary_mode_whatever_the_old_file_had(tmp_path, umask):
    path = tmp_path / "a.json"
    path.write_text("old")
    path.chmod(0o600)
    write_atomic(path, "new")
    assert modes(tmp_path)["a.json"] == 0o640
