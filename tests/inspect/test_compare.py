"""Runs side by side, the list of runs, and the disk they take."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest
from filelock import FileLock
from typer.testing import CliRunner

from stm_agent.cli.main import build
from stm_agent.errors import ConfigError, RunError
from stm_agent.files import append_jsonl, read_json, write_atomic, write_json
from stm_agent.inspect.compare import compare, read_runs
from stm_agent.inspect.gc import BROKEN, FINISHED, UNUSED, VECTORS, find_garbage, in_words, remove
from stm_agent.inspect.page.together import comparison_page
from stm_agent.inspect.runs import age, find_run, list_runs
from stm_agent.inspect.ui import Ui, _index
from stm_agent.testing.run_folder import FakeRun, content_of


def command(space: Path, *arguments: str, answer: str = "") -> tuple[int, str]:
    result = CliRunner().invoke(build(), [*arguments, "--workspace", str(space)], input=answer)
    return result.exit_code, result.output


@pytest.fixture
def space(tmp_path: Path) -> Path:
    """A workspace with a finished, another finished, and a stopped run."""
    (tmp_path / "programs").mkdir()
    FakeRun().write(tmp_path / "runs" / "fake-0")
    FakeRun(seed=1).write(tmp_path / "runs" / "fake-1")
    FakeRun(state="stopped").write(tmp_path / "runs" / "other-2")
    return tmp_path


def test_paired_test_counts_the_queries_that_changed_sides(space):
    records = read_runs([space / "runs" / name for name in ("fake-0", "fake-1")])
    content = compare(records)
    (test,) = content["tests"]
    first, second = (
        read_json(space / "runs" / name / "test_per_query.json")["merged"] for name in ("fake-1", "fake-0")
    )
    differences = [first[query] - second[query] for query in first]
    assert test["delta"] == pytest.approx(sum(differences) / len(differences))
    assert (test["won"], test["lost"]) == (sum(d > 0 for d in differences), sum(d < 0 for d in differences))
    assert test["low"] <= test["delta"] <= test["high"]
    sizes = [abs(change) for _, change in test["changed"]]
    assert sizes == sorted(sizes, reverse=True)
    assert content["differences"] == [{"name": "flags.seed", "values": ["0", "1"]}]


def test_runs_on_other_data_are_not_tested_against_each_other(space):
    about = space / "runs" / "fake-1" / "run.json"
    stored = read_json(about)
    stored["identity"]["data"]["collection"] = "another"
    write_json(about, stored)
    content = compare(read_runs([space / "runs" / "fake-0", space / "runs" / "fake-1"]))
    assert content["tests"] == []
    assert "different data" in content["verdict"]


def test_three_runs_are_compared_two_by_two(space):
    """One with other data, and one whose test is closed, cancel no test of the others."""
    FakeRun(seed=2).write(space / "runs" / "fake-2")
    other = FakeRun(seed=3).write(space / "runs" / "fake-3")
    about = read_json(other / "run.json")
    about["identity"]["data"]["collection"] = "another"
    write_json(other / "run.json", about)
    records = read_runs([space / "runs" / name for name in ("fake-3", "other-2", "fake-0", "fake-1", "fake-2")])
    content = compare(records)
    pairs = [(test["first"], test["second"]) for test in content["tests"]]
    assert pairs == [("fake-1", "fake-0"), ("fake-2", "fake-0"), ("fake-2", "fake-1")]
    assert content["verdict"].count("test queries") == 3, "each test is in the verdict"
    assert "fake-3 and fake-0 cannot be compared: they have different data." in content["notices"]
    assert "other-2 and fake-0 cannot be compared: other-2 has not opened test." in content["notices"]
    page = content_of(comparison_page(records, content))
    assert (page["first"], page["second"]) == ("fake-0", "fake-1")
    assert page["queries"]["rows"] == ["fake-0", "fake-1", "fake-2"]


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("queries", "another text", "1 of their test queries have other texts, such as q3"),
        ("relevant", {"d1": 2}, "1 of their test queries have other relevant documents, such as q3"),
    ],
)
def test_queries_with_the_same_ids_and_another_meaning_are_not_compared(space, field, value, words):
    path = space / "runs" / "fake-1" / "test_answers.json"
    answers = read_json(path)
    answers[field]["q3"] = value
    write_json(path, answers)
    content = compare(read_runs([space / "runs" / "fake-0", space / "runs" / "fake-1"]))
    assert content["tests"] == []
    assert words in content["verdict"]


def test_runs_of_which_nothing_says_that_their_queries_are_the_same_are_not_compared(space):
    for name in ("fake-0", "fake-1"):
        folder = space / "runs" / name
        write_json(folder / "run.json", {**read_json(folder / "run.json"), "identity": {}})
        (folder / "test_answers.json").unlink()
    content = compare(read_runs([space / "runs" / "fake-0", space / "runs" / "fake-1"]))
    assert content["tests"] == []
    assert "recorded neither their data nor their test queries" in content["verdict"]


def test_queries_of_an_llm_are_called_synthetic_everywhere(tmp_path):
    (tmp_path / "programs").mkdir()
    runs = [FakeRun(seed=seed, synthetic=True).write(tmp_path / "runs" / f"fake-{seed}") for seed in (0, 1)]
    content = compare(read_runs(runs))
    assert "synthetic test queries" in content["verdict"]
    assert [run["synthetic"] for run in content["runs"]] == [True, True]
    for arguments in (["list"], ["compare", "fake-0", "fake-1"]):
        assert "0.4800 test (synthetic)" in command(tmp_path, "runs", *arguments)[1]
    assert "0.4800 test (synthetic)" in _index(Ui(tmp_path / "runs"))


def test_a_p_value_is_never_zero(space):
    path = space / "runs" / "fake-1" / "test_per_query.json"
    scores = read_json(path)
    better = read_json(space / "runs" / "fake-0" / "test_per_query.json")["merged"]
    scores["merged"] = {query: score + 0.5 for query, score in better.items()}
    write_json(path, scores)
    assert "p < 0.001" in command(space, "runs", "compare", "fake-0", "fake-1")[1]


def test_a_run_is_not_compared_with_itself_or_alone(space):
    folder = space / "runs" / "fake-0"
    for folders in ([folder], [folder, folder]):
        with pytest.raises(ConfigError, match="two or more different runs"):
            read_runs(folders)


def test_compare_prints_and_writes_a_page(space, tmp_path):
    page = tmp_path / "both.html"
    code, out = command(space, "runs", "compare", "fake-0", "fake-1", "--page", str(page))
    assert code == 0, out
    assert "fake-1 minus fake-0" in out
    assert "flags.seed" in out
    assert b"Content-Security-Policy" in page.read_bytes()
    code, out = command(space, "runs", "compare", "fake-0", "other-2", "--json")
    content = json.loads(out)
    assert [run["split"] for run in content["runs"]] == ["test", "dev"]
    assert content["tests"] == []


def test_list_has_value_cost_state_and_age(space):
    rows = {row["run"]: row for row in list_runs(space / "runs")}
    assert (rows["fake-0"]["split"], rows["fake-0"]["state"]) == ("test", "finished")
    assert rows["fake-0"]["value"] == pytest.approx(0.48)
    assert (rows["other-2"]["value"], rows["other-2"]["split"]) == (0.45, "dev")
    assert rows["other-2"]["ndcg_at_10"] is None, "test is closed"
    assert rows["fake-0"]["usd"] == pytest.approx(0.024)
    code, out = command(space, "runs", "list")
    assert code == 0
    assert "0.4800 test" in out


def test_a_path_is_a_name_of_a_run_wherever_one_stands(space, monkeypatch):
    monkeypatch.chdir(space / "runs" / "fake-0")
    found = find_run(space / "runs", ".")
    assert found.name == "fake-0", "the page and the trackers are named after it"
    monkeypatch.chdir(space)
    assert find_run(space / "elsewhere", "runs/fake-1") == space / "runs" / "fake-1"


@pytest.mark.parametrize(
    ("began", "words"),
    [
        ("2026-01-01T10:00:00+00:00", "5 min"),
        ("2026-01-01T07:00:00+00:00", "3 h"),
        ("2025-12-20T07:00:00+00:00", "12 d"),
    ],
)
def test_age_is_in_the_unit_that_suits_it(began, words):
    assert age(began, datetime.datetime(2026, 1, 1, 10, 5, tzinfo=datetime.UTC)) == words
    assert age("", datetime.datetime.now(datetime.UTC)) == ""


@pytest.fixture
def stages(space: Path) -> Path:
    """Stages of the workspace: one that a run names, one that none does, and a damaged one."""
    folder = space / "runs" / ".stages"
    for name in ("train-used", "train-unused", ".damaged-train-old-12345678"):
        write_atomic(folder / name / "weights", b"0" * 1000)
    write_atomic(space / "runs" / ".cache" / "vectors" / "a", b"0" * 500)
    write_atomic(space / "runs" / ".cache" / "llm" / "paid.json", b"{}")
    append_jsonl(
        space / "runs" / "fake-0" / "ledger.jsonl", {"event": "stage", "folder": "train-used", "name": "train"}
    )
    (folder / ".locks").mkdir()
    return folder


def test_only_what_no_run_names_is_removed(space, stages):
    found = {part.kind: part.size for part in find_garbage(space / "runs")}
    assert found == {UNUSED: 1000, BROKEN: 1000}
    everything = find_garbage(space / "runs", vectors=True, stages=True)
    assert {part.kind: part.size for part in everything} == {UNUSED: 1000, BROKEN: 1000, VECTORS: 500, FINISHED: 1000}
    assert remove(find_garbage(space / "runs"), space / "runs") == 2000
    assert sorted(path.name for path in stages.iterdir()) == [".locks", "train-used"]
    assert (space / "runs" / ".cache" / "llm" / "paid.json").exists()


def test_nothing_is_removed_before_the_size_is_known_and_agreed_to(space, stages):
    code, out = command(space, "runs", "gc", "--dry-run")
    assert code == 0
    assert "2.0 KB can be freed" in out
    code, out = command(space, "runs", "gc", answer="n\n")
    assert code == 1
    assert "Remove 2.0 KB?" in out
    assert (stages / "train-unused").exists()
    code, out = command(space, "runs", "gc", answer="y\n")
    assert code == 0
    assert not (stages / "train-unused").exists()
    assert "nothing to remove" in command(space, "runs", "gc")[1]


def test_stages_that_a_process_needs_stay(space, stages):
    with FileLock(stages / ".locks" / "train-unused"):
        remove(find_garbage(space / "runs"), space / "runs")
    assert (stages / "train-unused").exists(), "it is being built"
    with FileLock(space / "runs" / "fake-0" / ".lock"), pytest.raises(RunError, match="fake-0 is running"):
        remove(find_garbage(space / "runs"), space / "runs")


def test_sizes_are_in_words():
    assert [in_words(size) for size in (0, 999, 1500, 2_300_000, 4_000_000_000)] == [
        *("0 bytes", "999 bytes", "1.5 KB", "2.3 MB", "4.0 GB")
    ]


def test_report_command_names_the_page(space):
    code, out = command(space, "runs", "report", "fake-0", "--json")
    assert code == 0, out
    page = Path(json.loads(out)["page"])
    assert (page.name, page.stat().st_size) == ("report.html", json.loads(out)["bytes"])
