"""Which run a command means: what it is made of, who works on it, and what changed since the last one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stm_agent.errors import ConfigError, RunError, RunLocked
from stm_agent.files import read_json, write_json
from stm_agent.inspect.runs import changed_since, find_run, list_runs, read_report
from stm_agent.loop.identity import differences, identity_hash, run_identity
from stm_agent.loop.options import Options
from stm_agent.loop.runs import RunFolder, known_runs, open_run, run_state

FIRST = {"domain": {"name": "tiny"}, "flags": {"seed": 0}}
SECOND = {"domain": {"name": "tiny"}, "flags": {"seed": 1}}


def begun(root: Path, identity, **options) -> Path:
    """Begin a run, leave work in it, and release it."""
    run = open_run(root, "tiny", identity, **options)
    run.ledger.record("base", search=0.1)
    run.close()
    return run.folder


def finished(root: Path, identity, **options) -> Path:
    folder = begun(root, identity, **options)
    report = {"schema": 2, "state": "finished", "rows": {"merged": {"ndcg_at_10": 0.5}}}
    write_json(folder / "report.json", report)
    return folder


def test_the_same_inputs_are_the_same_run_and_others_a_new_one(tmp_path):
    assert begun(tmp_path, FIRST) == begun(tmp_path, FIRST)
    assert begun(tmp_path, SECOND) != begun(tmp_path, FIRST)


def test_fresh_begins_anew_but_goes_on_with_a_fresh_run_that_is_not_finished(tmp_path):
    first = finished(tmp_path, FIRST)
    second = begun(tmp_path, FIRST, fresh=True)
    assert second.name == f"{first.name}-2"
    assert begun(tmp_path, FIRST, fresh=True) == second, "it was killed: the same command resumes it"
    finished(tmp_path, FIRST, fresh=True)
    assert begun(tmp_path, FIRST, fresh=True).name == f"{first.name}-3"
    assert begun(tmp_path, FIRST).name == f"{first.name}-3", "without --fresh the newest is meant"


def test_a_name_ends_where_it_ends(tmp_path):
    begun(tmp_path, FIRST, run_id="exp")
    begun(tmp_path, FIRST, run_id="exp-2")
    assert begun(tmp_path, FIRST, run_id="exp").name == "exp"


def test_a_second_process_is_refused_with_the_fix(tmp_path):
    first = open_run(tmp_path, "tiny", FIRST)
    with pytest.raises(RunLocked, match=f"another process.*stm-agent runs stop {first.id}"):
        open_run(tmp_path, "tiny", FIRST)
    first.close()


def test_another_run_under_the_same_name_is_refused_and_what_differs_is_named(tmp_path):
    begun(tmp_path, FIRST, run_id="mine")
    with pytest.raises(RunError, match=r"other inputs \(flags\.seed: 0 -> 1\)"):
        open_run(tmp_path, "tiny", SECOND, run_id="mine")
    with pytest.raises(ConfigError, match="cannot name a run"):
        open_run(tmp_path, "tiny", SECOND, run_id="../other")


def test_a_run_that_came_to_nothing_is_removed_and_one_with_work_in_it_stays(tmp_path):
    open_run(tmp_path, "tiny", FIRST).close()
    assert list(tmp_path.iterdir()) == []
    folder = begun(tmp_path, FIRST)
    (folder / "ledger.jsonl").unlink()
    open_run(tmp_path, "tiny", FIRST).close()
    assert folder.exists(), "another process created it"


def test_last_is_the_newest_finished_run_wherever_one_is_needed(tmp_path):
    done = finished(tmp_path, FIRST)
    cut = begun(tmp_path, SECOND)
    assert find_run(tmp_path, "last") == cut
    assert find_run(tmp_path, "last", finished=True) == done
    (done / "report.json").unlink()
    with pytest.raises(ConfigError, match=f"no run in .* is finished; {cut.name} is interrupted"):
        find_run(tmp_path, "last", finished=True)


def test_runs_are_ordered_by_number_whatever_the_clock_says(tmp_path, monkeypatch):
    import os

    first, second = begun(tmp_path, FIRST), begun(tmp_path, SECOND)
    os.utime(second / "run.json", (0, 0))
    assert [entry["id"] for entry in known_runs(tmp_path)] == [first.name, second.name]


def test_a_run_that_a_process_works_on_is_listed_as_running(tmp_path):
    folder = begun(tmp_path, FIRST)
    works = (
        "import sys; from pathlib import Path; from stm_agent.loop.runs import RunFolder\n"
        "from stm_agent.files import read_json\n"
        "folder = Path(sys.argv[1])\n"
        "run = RunFolder(folder.parent, folder.name, read_json(folder / 'run.json')['identity'])\n"
        "print('works', flush=True); sys.stdin.read(); run.close()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", works, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "works\n"
        (row,) = list_runs(tmp_path)
        assert (row["run"], row["state"], row["value"]) == (folder.name, "running", None)
        other.communicate("")
    assert run_state(folder) == "interrupted"


def test_a_run_of_an_older_version_is_listed_and_read_and_not_gone_on_with(tmp_path):
    old = tmp_path / "tiny-0123abcd"
    write_json(old / "run.json", {"schema": 1, "id": old.name, "config_hash": "x", "config": {"seed": 0}})
    write_json(old / "report.json", {"schema": 1, "rows": {"merged": {"ndcg_at_10": 0.4}}})
    (row,) = list_runs(tmp_path)
    assert (row["run"], row["state"], row["ndcg_at_10"], row["split"]) == (old.name, "finished", 0.4, "test")
    assert (row["minutes"], row["began"]) == (None, ""), "it kept no clock and no ledger"
    assert read_report(old)["schema"] == 1
    assert changed_since(old) is None
    with pytest.raises(RunError, match="made by another version"):
        RunFolder(tmp_path, old.name, FIRST)
    write_json(old / "report.json", {"schema": 99})
    with pytest.raises(RunError, match="schema 99; upgrade"):
        read_report(old)


def test_show_tells_what_differs_from_the_newest_run_of_the_same_domain(tmp_path):
    first = begun(tmp_path, FIRST)
    begun(tmp_path, {"domain": {"name": "other"}})
    assert changed_since(begun(tmp_path, SECOND)) == (first.name, ["flags.seed: 0 -> 1"])
    assert changed_since(first) is None


def test_differences_name_what_came_and_went_and_shorten_hashes():
    new = {"programs": {"queries": "a" * 64}, "reviews": {"me.jsonl": "b" * 64}}
    old = {"programs": {"queries": "c" * 64}, "reviews": {}}
    assert differences(new, old) == [
        "programs.queries: cccccccc -> aaaaaaaa",
        "reviews: {} -> (none)",
        "reviews.me.jsonl: (none) -> bbbbbbbb",
    ]


def test_whatever_decides_a_result_changes_the_identity(tiny_domain, workspace):
    def identity(spec=tiny_domain, **flags):
        return identity_hash(run_identity(spec, Options(**flags), workspace))

    seen = {identity()}
    assert identity(budget_usd=1.0, budget_minutes=2.0, run_id="x", fresh=True, price_in=1.0, price_out=2.0) in seen

    def new(**change):
        before = len(seen)
        seen.add(identity(**change))
        return len(seen) == before + 1

    assert new(seed=1)
    assert new(rounds=2)
    assert new(generator="openai/gpt-5-mini")
    assert new(controls=True)
    assert new(spec=tiny_domain.model_copy(update={"task": "another"}))
    for name in ("programs/hard_negatives.py", "prompts/retrieval.yaml", "reviews/me.jsonl"):
        path = workspace / name
        path.parent.mkdir(exist_ok=True)
        path.write_text((path.read_text() if path.exists() else "") + "\n# changed\n")
        assert new(), name
    about = tiny_domain.collection.path / "collection.json"
    about.write_text('{"licence": "CC0-1.0"}')
    assert new(), "it is written into the model's card"
    for name in ("qrels/train.tsv", "queries.jsonl", "corpus.jsonl"):
        path = tiny_domain.collection.path / name
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
        assert new(), name
    config = Path(tiny_domain.backbone.model) / "config.json"
    config.write_text(config.read_text() + " ")
    assert new(), "the backbone's files"


def test_helpers_and_states_of_a_program_are_part_of_the_identity_and_name_the_file(tiny_domain, workspace):
    programs = workspace / "programs"
    text = (programs / "hard_negatives.py").read_text()
    (programs / "hard_negatives.py").write_text(f"{text}\nfrom helper import WORDS\n")
    (programs / "helper.py").write_text("WORDS = 1\n")

    def identity():
        return run_identity(tiny_domain, Options(), workspace)

    before = identity()
    (programs / "helper.py").write_text("WORDS = 2\n")
    (programs / "hard_negatives.json").write_text("{}")
    changed = [line.partition(":")[0] for line in differences(identity(), before)]
    assert changed == [
        "programs.hard_negatives.hard_negatives.json",
        "programs.hard_negatives.helper.py",
    ]


def test_a_broken_run_file_hides_no_other_run(tmp_path):
    folder = begun(tmp_path, FIRST)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{")
    assert [entry["id"] for entry in known_runs(tmp_path)] == [folder.name]
    assert read_json(folder / "run.json")["number"] == 1
