"""What a user gets wrong: one line that names the thing, exit code 2, nothing half-written."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stm_agent.cli.main import main
from stm_agent.testing.tiny import tiny_beir

Prepare = Callable[[Path], list[str]]


def call(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["stm-agent", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0)


def _edit(name: str, change: Callable[[str], str]) -> Prepare:
    """A tiny collection with one file changed, given to optimize."""

    def prepare(place: Path) -> list[str]:
        folder = tiny_beir(place / "data")
        path = folder / name
        path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
        return ["optimize", "--collection", str(folder)]

    return prepare


def _remove(*names: str) -> Prepare:
    def prepare(place: Path) -> list[str]:
        folder = tiny_beir(place / "data")
        for name in names:
            (folder / name).unlink()
        return ["optimize", "--collection", str(folder)]

    return prepare


def _domain(text: str) -> Prepare:
    def prepare(place: Path) -> list[str]:
        (place / "my.yaml").write_text(text)
        return ["domains", "check", str(place / "my.yaml")]

    return prepare


def _bytes(name: str, data: bytes) -> Prepare:
    def prepare(place: Path) -> list[str]:
        folder = tiny_beir(place / "data")
        (folder / name).write_bytes(data)
        return ["optimize", "--collection", str(folder)]

    return prepare


def _given(*arguments: str) -> Prepare:
    return lambda place: [argument.replace("PLACE", str(place)) for argument in arguments]


def _tiny(*arguments: str) -> Prepare:
    def prepare(place: Path) -> list[str]:
        folder = tiny_beir(place / "data")
        return [argument.replace("DATA", str(folder)).replace("PLACE", str(place)) for argument in arguments]

    return prepare


def _run_folder(about: object, report: object, *words: str) -> Prepare:
    """A run folder on disk, given to a verb of ``runs`` (default: ``show mine``)."""

    def prepare(place: Path) -> list[str]:
        folder = place / "runs" / "mine"
        folder.mkdir(parents=True)
        for name, content in (("run.json", about), ("report.json", report)):
            if content is not None:
                (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
        verb, name = (*words, "mine")[:2] if words else ("show", "mine")
        return ["runs", verb, name]

    return prepare


GOOD = """name: mine
task: a question -> its answer
collection: {kind: python-docs}
backbone: {model: somewhere}
experts:
  - {name: one, sources: [written], steps: 10}
"""

CASES: dict[str, tuple[Prepare, str]] = {
    "unknown official task": (_given("evaluate", "bm25", "--task", "SciFacts"), "nearest names are SciFact"),
    "official task without that split": (_given("evaluate", "bm25", "--task", "SciFact", "--split", "dev"), "has test"),
    "official task without that subset": (
        _given("evaluate", "bm25", "--task", "PublicHealthQA", "--subset", "german"),
        "it has arabic, chinese, english",
    ),
    "official task with several splits": (
        _given("evaluate", "bm25", "--task", "CUREv1", "--subset", "en"),
        "name one of them: all, dentistry_and_oral_health",
    ),
    "official task without its data": (
        _given("evaluate", "bm25", "--task", "SciFact", "--data-dir", "PLACE"),
        "hf download mteb/scifact --repo-type dataset --revision",
    ),
    "suite without its data": (
        _given("evaluate", "bm25", "--suite", "stm-paper", "--data-dir", "PLACE"),
        "also missing: MedicalQARetrieval, CUREv1",
    ),
    "unknown suite": (_given("evaluate", "bm25", "--suite", "stm"), "stm-paper"),
    "suite with a split": (_given("evaluate", "bm25", "--suite", "beir", "--split", "dev"), "--split is fixed by"),
    "subset of a domain": (_given("evaluate", "bm25", "--domain", "biomedical", "--subset", "en"), "--subset is for"),
    "unknown preset": (_given("optimize", "--preset", "papers"), "did you mean paper"),
    "preset without that model": (_given("optimize", "--preset", "paper/gemma"), "paper/gemma-2b"),
    "preset and start": (_given("optimize", "--preset", "paper", "--start", "auto"), "leave out --start"),
    "preset without its training files": (
        _given("optimize", "--preset", "paper/gemma-2b", "--data-dir", "PLACE"),
        "med-synth.jsonl is missing: rows of anchor, positive and negative",
    ),
    "folder of data without a preset": (
        _given("optimize", "--domain", "biomedical", "--data-dir", "PLACE"),
        "--data-dir goes with --preset",
    ),
    "unknown domain": (_given("optimize", "--domain", "biomedicl"), "biomedical"),
    "no domain at all": (_given("optimize"), "--domain"),
    "domain and collection": (_tiny("optimize", "--domain", "biomedical", "--collection", "DATA"), "one of them"),
    "domain file missing": (_given("domains", "check", "PLACE/none.yaml"), "none.yaml"),
    "domain show unknown": (_given("domains", "show", "nothing"), "nothing"),
    "collection folder missing": (_given("optimize", "--collection", "PLACE/none"), "none"),
    "corpus missing": (_remove("corpus.jsonl"), "corpus.jsonl"),
    "queries missing": (_remove("queries.jsonl"), "queries.jsonl"),
    "test judgements missing and too few to cut": (_remove("qrels/test.tsv", "qrels/train.tsv"), "no test split"),
    "empty corpus": (_edit("corpus.jsonl", lambda text: ""), "corpus"),
    "empty queries": (_edit("queries.jsonl", lambda text: ""), "quer"),
    "empty qrels": (_edit("qrels/dev.tsv", lambda text: ""), "dev"),
    "corpus is not JSON": (_edit("corpus.jsonl", lambda text: "no json\n" + text), "corpus.jsonl"),
    "corpus line is a list": (_edit("corpus.jsonl", lambda text: "[1]\n" + text), "corpus.jsonl"),
    "corpus line without id": (_edit("corpus.jsonl", lambda text: '{"text": "x"}\n' + text), "_id"),
    "duplicate document": (_edit("corpus.jsonl", lambda text: text + text.splitlines()[0] + "\n"), "repeats|twice"),
    "duplicate query": (_edit("queries.jsonl", lambda text: text + text.splitlines()[0] + "\n"), "repeats|twice"),
    "qrels name nothing but unknown ids": (_edit("qrels/dev.tsv", lambda text: "q-x\tnone\t1\n"), "q-x|none"),
    "qrels grade is a word": (_edit("qrels/dev.tsv", lambda text: text.rstrip()[:-1] + "good\n"), "dev.tsv"),
    "qrels have two columns": (_edit("qrels/dev.tsv", lambda text: text + "a\tb\n"), "dev.tsv"),
    "corpus is not UTF-8": (_bytes("corpus.jsonl", b'{"_id": "a", "text": "\xff\xfe"}\n'), "UTF-8"),
    "queries are not UTF-8": (_bytes("queries.jsonl", b"\xff\n"), "UTF-8"),
    "domain file with an unknown key": (_domain(GOOD + "expertz: 1\n"), "expertz"),
    "experts are a word": (_domain(GOOD.split("experts:")[0] + "experts: all\n"), "experts"),
    "domain file is a list": (_domain("- a\n"), "my.yaml"),
    "domain file is not YAML": (_domain("a: [\n"), "my.yaml"),
    "domain file is empty": (_domain(""), "my.yaml"),
    "steps of zero": (_domain(GOOD.replace("steps: 10", "steps: 0")), "steps"),
    "steps are a word": (_domain(GOOD.replace("steps: 10", "steps: many")), "steps"),
    "unknown pooling": (_domain(GOOD.replace("somewhere", "somewhere, pooling: max")), "pooling"),
    "expert listed twice": (_domain(GOOD + "  - {name: one, sources: [written], steps: 10}\n"), "one"),
    "expert starts from nobody": (_domain(GOOD.replace("steps: 10", "steps: 10, start: two")), "two"),
    "expert of an unknown source": (_domain(GOOD.replace("[written]", "[train]")), "train"),
    "unknown generator": (_tiny("optimize", "--collection", "DATA", "--generator", "nobody/nothing"), "nobody/nothing"),
    "zero rounds": (_tiny("optimize", "--collection", "DATA", "--rounds", "0"), "rounds"),
    "run name with a slash": (_tiny("optimize", "--collection", "DATA", "--run-id", "../x"), "run"),
    "workspace missing": (_tiny("optimize", "--collection", "DATA", "--workspace", "PLACE/none"), "none"),
    "no such run": (_given("runs", "show", "nothing"), "nothing"),
    "search of no run": (_given("search", "nothing", "words"), "nothing"),
    "traces of no run": (_given("traces", "list", "nothing"), "nothing"),
    "unknown asset": (_given("assets", "path", "gpt-9"), "gpt-9"),
    "evaluate without a target": (_given("evaluate", "bm25"), "--collection"),
    "evaluate an unknown split": (_tiny("evaluate", "bm25", "--collection", "DATA", "--split", "half"), "half"),
    "train an unknown expert": (
        _given("train", "--domain", "biomedical", "--expert", "nobody", "--output", "PLACE/out"),
        "nobody",
    ),
    "output exists": (
        _tiny("merge", "--domain", "biomedical", "--experts", "DATA", "--weights", "1", "--output", "DATA"),
        "exists",
    ),
    "adapter missing": (
        _given("merge", "--domain", "biomedical", "--experts", "PLACE/none", "--weights", "1", "--output", "PLACE/out"),
        "none",
    ),
    "workspace exists": (_tiny("init", "DATA"), "data"),
    "a dollar cap and an unknown price": (
        _tiny("optimize", "--collection", "DATA", "--generator", "openai/my-own-model", "--budget-usd", "1"),
        "--price-in",
    ),
    "one price without the other": (_tiny("optimize", "--collection", "DATA", "--price-in", "1"), "--price-out"),
    "a report of a newer version": (_run_folder({"schema": 3}, {"schema": 99}), "schema 99"),
    "a run file that is cut off": (_run_folder('{"schema": 2,', {"schema": 2}), "no run"),
    "stop of a run that does not run": (_run_folder({"schema": 2}, {"schema": 2}, "stop"), "not running"),
    "the last finished run, and none is finished": (_run_folder({"schema": 2}, None, "show", "last"), "finished"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_line(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare, names = CASES[case]
    arguments = prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "programs").mkdir()  # makes this the workspace: nothing is written outside
    before = {path for path in tmp_path.rglob("*") if "runs" not in path.parts}
    code = call(arguments, monkeypatch)
    captured = capsys.readouterr()
    error = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert code == 2, captured
    assert len(error) == 1, captured.err
    assert any(part.lower() in error[0].lower() for part in names.split("|")), error[0]
    assert "Traceback" not in captured.err
    assert {path for path in tmp_path.rglob("*") if "runs" not in path.parts} == before
    assert {path.parent.name for path in tmp_path.glob("runs/*/run.json")} <= {"mine"}, "no run was begun"


def test_a_full_disk_is_one_line_and_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert call(["init", str(tmp_path / "space")], monkeypatch) == 2
    assert "No space left on device; free some space" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["stm-agent", "--debug", "runs", "show", "nothing"])
    from stm_agent.errors import ConfigError

    with pytest.raises(ConfigError):
        main()


def test_there_are_forty_cases() -> None:
    assert len(CASES) >= 40
