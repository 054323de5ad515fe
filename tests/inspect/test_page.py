"""The page of a run: what is in it, for runs of any state and version, and how large it may become."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from stm_agent.cli.output import page_writer
from stm_agent.domain.collection import Document
from stm_agent.errors import RunError
from stm_agent.files import append_jsonl, read_json, read_jsonl, write_json
from stm_agent.inspect.compare import compare, read_runs
from stm_agent.inspect.page import build
from stm_agent.inspect.page.build import run_page, write_page
from stm_agent.inspect.page.charts import rows_chart
from stm_agent.inspect.page.fronts import fronts
from stm_agent.inspect.page.overview import overview
from stm_agent.inspect.page.queries import Limits, queries
from stm_agent.inspect.page.record import read_record
from stm_agent.inspect.page.timeline import timeline
from stm_agent.inspect.page.together import comparison_page
from stm_agent.inspect.page.usage import usage
from stm_agent.inspect.push import pushed
from stm_agent.inspect.report import start_kept
from stm_agent.inspect.ui import Ui
from stm_agent.loop.optimize import _closing
from stm_agent.loop.prepare import STAGES
from stm_agent.loop.runs import is_locked, open_run
from stm_agent.testing.run_folder import ARABIC, MARKUP, ROWS, FakeRun, content_of

if TYPE_CHECKING:
    from stm_agent.loop.report_rows import Report

MINILM = "all-MiniLM-L6-v2"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return FakeRun(texts=(MARKUP, ARABIC, "x" * 10_000)).write(tmp_path_factory.mktemp("runs") / "fake-1")


def test_no_text_of_a_run_stands_in_the_page_as_it_is(run):
    page = write_page(run).read_bytes()
    assert b"onerror" not in page
    assert page.count(b"</script>") == 3, "those of the template"
    content = content_of(page)
    assert MARKUP in content["queries"]["texts"], "it is there, packed"
    assert content["trials"]["instruction:i0002"]["chat"][1]["content"] == ARABIC


def test_title_of_a_run_is_escaped(tmp_path):
    folder = FakeRun().write(tmp_path / '<b>"run"')
    page = write_page(folder).read_text()
    assert "<title>&lt;b&gt;&quot;run&quot;: report</title>" in page


def test_page_is_the_same_for_the_same_run(run, monkeypatch):
    monkeypatch.setattr(build, "made", lambda: {"schema": 1})
    assert run_page(read_record(run)) == run_page(read_record(run))


def test_verdict_says_what_the_interval_says(run):
    view = overview(read_record(run))
    assert view["tone"] == "better"
    assert "0.100 above the start (95 % interval +0.050 to +0.150)" in view["verdict"]
    assert [row["name"] for row in view["rows"]] == list(ROWS)
    model = next(row for row in view["rows"] if row["name"] == "merged")
    assert model["delta"] is None, "the model is not compared with itself"
    assert "expert third: out of memory" in view["lost"]


def test_race_of_the_starts_is_on_the_page_with_what_it_can_be_compared_with(run, tmp_path):
    view = overview(read_record(run))
    assert [(row["name"], row["ndcg"], row["seconds"], row["role"]) for row in view["race"]] == [
        ("BM25", 0.35, None, "mark"),
        ("embedded:all-minilm-l6-v2", 0.44, 9.5, "chosen"),
        ("another/start", 0.41, 31.25, ""),
    ]
    assert view["race_note"].endswith("over the whole corpus."), "of 60 documents"
    view = overview(read_record(FakeRun(documents=400).write(tmp_path / "large")))
    assert "BM25 is lower there than on the whole corpus" in view["race_note"]


@pytest.mark.parametrize("race", [[], None])
def test_a_run_without_a_race_has_no_table_of_it(tmp_path, race):
    folder = FakeRun().write(tmp_path / "run")
    write_json(folder / "report.json", {**read_json(folder / "report.json"), "race": race})
    assert overview(read_record(folder))["race"] == []
    assert overview(read_record(folder))["race_note"] == ""


def test_verdict_is_about_the_start_as_it_comes(tmp_path):
    folder = FakeRun().write(tmp_path / "run")
    report = read_json(folder / "report.json")
    versus = {"delta": -0.02, "low": -0.03, "high": -0.01, "p_value": 0.01}
    report["rows"]["untouched start"] = {**report["rows"]["base"], "merged_minus_this": versus}
    write_json(folder / "report.json", {**report, "untouched": "untouched start"})
    assert "0.020 BELOW the start (" in overview(read_record(folder))["verdict"]
    write_json(folder / "report.json", {**report, "untouched": None})
    assert "0.100 above the start as the run read it (" in overview(read_record(folder))["verdict"]


@pytest.mark.parametrize(
    ("versus", "tone", "words"),
    [
        ({"delta": -0.1, "low": -0.2, "high": -0.05, "p_value": 0.01}, "worse", "0.100 BELOW the start"),
        ({"delta": 0.01, "low": -0.02, "high": 0.05, "p_value": 0.6}, "same", "cannot be distinguished"),
    ],
)
def test_a_loss_is_shown_like_a_gain(tmp_path, versus, tone, words):
    folder = FakeRun().write(tmp_path / "run")
    report = read_json(folder / "report.json")
    report["rows"]["base"]["merged_minus_this"] = versus
    write_json(folder / "report.json", report)
    view = overview(read_record(folder))
    assert view["tone"] == tone
    assert words in view["verdict"]


def test_a_run_that_kept_its_start_is_not_compared_with_itself(tmp_path):
    folder = FakeRun().write(tmp_path / "run")
    report = read_json(folder / "report.json") | {"model_label": "backbone", "weights": {}}
    same = {"delta": 0.0, "low": 0.0, "high": 0.0, "p_value": 1.0}
    report["rows"] |= {name: {**report["rows"]["merged"], "merged_minus_this": same} for name in ("base", MINILM)}
    write_json(folder / "report.json", report)
    scores = read_json(folder / "test_per_query.json")
    write_json(folder / "test_per_query.json", {**scores, "base": scores["merged"]})
    content = content_of(run_page(read_record(folder)))
    assert content["overview"]["verdict"].startswith("No change was confirmed, so the model is the start itself")
    assert f"The model and {MINILM} have the same score on every query." in content["overview"]["sentences"]
    assert not any("+0.000" in sentence for sentence in content["overview"]["sentences"])
    assert content["second"] == "BM25"
    assert start_kept(cast("Report", report)).startswith("No change was confirmed, so the start was kept")


def test_a_number_that_is_none_does_not_break_the_page(tmp_path):
    folder = FakeRun().write(tmp_path / "run")
    report = read_json(folder / "report.json")
    report["rank_correlation"] = report["rows"]["BM25"]["mrr_at_10"] = float("nan")
    (folder / "report.json").write_text(json.dumps(report))
    content = content_of(write_page(folder).read_bytes())
    assert content["merge"]["correlation"] is None
    assert content["overview"]["rows"][0]["mrr"] is None


@pytest.mark.parametrize(
    ("state", "verdict", "notice"),
    [
        ("stopped", "Stopped before test", "its model is not confirmed, and test is closed"),
        ("interrupted", "Not finished: 12 instructions and programs", "interrupted"),
    ],
)
def test_runs_without_a_test_say_so(tmp_path, state, verdict, notice):
    content = content_of(write_page(FakeRun(state=state).write(tmp_path / "run")).read_bytes())
    assert content["overview"]["verdict"].startswith(verdict)
    assert notice in " ".join(content["overview"]["notices"])
    assert content["queries"] is None
    assert content["timeline"]["dots"], "what it tried is there all the same"


def test_search_of_an_instruction_alone_has_a_page(tmp_path):
    folder = FakeRun(state="interrupted").write(tmp_path / "instruct-1")
    (folder / "ledger.jsonl").unlink()
    write_json(folder / "instruction.json", {"instruction": "find it", "tried": 12, "reason": "accepted: +0.1"})
    content = content_of(write_page(folder).read_bytes())
    assert content["overview"]["verdict"] == "Of 12 instructions the search chose 'find it': accepted: +0.1."
    assert content["overview"]["state"] == "finished"
    assert len(content["timeline"]["dots"]) == 12


def test_report_of_an_older_version_has_a_page(tmp_path):
    folder = FakeRun().write(tmp_path / "run")
    (folder / "test_answers.json").unlink()
    (folder / "ledger.jsonl").unlink()
    report = read_json(folder / "report.json") | {"schema": 1}
    for newer in ("gate", "dev_to_test_gap", "front_taken", "plan", "notes", "state"):
        report.pop(newer)
    report["cost"].pop("minutes")
    write_json(folder / "report.json", report)
    content = content_of(write_page(folder).read_bytes())
    notices = " ".join(content["overview"]["notices"])
    assert "older version" in notices
    assert "texts of the test queries" in notices
    assert content["queries"]["texts"] == content["queries"]["ids"]
    assert content["timeline"]["steps"] == []


def test_run_of_a_newer_version_is_refused(tmp_path):
    folder = FakeRun().write(tmp_path / "run")
    write_json(folder / "report.json", read_json(folder / "report.json") | {"schema": 99})
    with pytest.raises(RunError, match="newer version of stm-agent; upgrade"):
        write_page(folder)
    with pytest.raises(RunError, match="holds no run"):
        write_page(tmp_path)


def test_staircase_ends_where_the_run_did(run):
    search = timeline(read_record(run))
    assert [(step["value"], step["label"]) for step in search["steps"]] == [
        (0.4, "the start"),
        (pytest.approx(0.45), "merge (hard 1.00)"),
        (pytest.approx(0.45), "merge (hard 1.00)"),
    ]
    assert search["end"]["minutes"] == 1.5, "as the report says, with what came before and after the actions"
    assert search["end"]["usd"] == pytest.approx(0.024)
    dots = {dot["id"]: dot for dot in search["dots"]}
    assert dots["instruction:i0005"]["outcome"] == "refused"
    assert dots["instruction:i0005"]["reason"].startswith("refused: it leaves no room")
    assert dots["merge:2"]["outcome"] == "taken", "the weights of the exported model"
    for name in ("merge:1", "expert:plain"):
        refused = (dots[name]["outcome"], dots[name]["reason"])
        assert refused == ("refused", "not taken; round 1: merge (hard 1.00) taken"), "what was taken in its place"
    assert dots["failure:1"]["reason"] == "out of memory"
    assert all(0.25 < dot["minutes"] < 1.25 for dot in dots.values())
    assert dots["instruction:i0012"]["usd"] > dots["instruction:i0001"]["usd"]


def test_trial_has_the_words_that_changed_and_what_it_won(run):
    trial = content_of(run_page(read_record(run)))["trials"]["instruction:i0006"]
    assert {mark for mark, _ in trial["words"]} <= {" ", "-", "+"}
    assert trial["parent"] == "i0005"
    assert trial["won"] + trial["lost"] > 20
    assert len(trial["changes"]) == 12
    gains = [abs(row["after"] - row["before"]) for row in trial["changes"]]
    assert gains == sorted(gains, reverse=True)


def test_trial_has_its_passage_instruction_against_its_parents(run):
    found = content_of(run_page(read_record(run)))["trials"]
    words = found["instruction:i0004"]["passage_words"]
    assert [word for mark, word in words if mark == "+"] == ["of a textbook"]
    assert [word for mark, word in words if mark == " "] == ["a passage"]
    assert found["instruction:i0004"]["passage"] == "a passage of a textbook"
    assert found["instruction:i0006"]["passage_words"] == []


def test_queries_have_scores_and_first_passages_of_every_row(run):
    record = read_record(run)
    shown = queries(record, Limits(), lambda: {"d0": Document("d0", "", "text of d0")})
    assert shown is not None
    at = shown["ids"].index("q3")
    answers = record.answers
    assert answers is not None
    for row in ROWS:
        found = [shown["documents"][index] for index in shown["first"][row][at]]
        assert found == answers["rows"][row]["q3"]
        assert shown["scores"][row][at] == round(1000 * record.per_query[row]["q3"])
    assert shown["passages"][shown["documents"].index("d0")] == "text of d0"
    assert set(shown["slices"]) == {"type", "length", "BM25"}


def test_queries_whose_answer_has_a_title_about_them_are_a_slice(tmp_path):
    folder = FakeRun(titled=True).write(tmp_path / "run")
    shown = content_of(run_page(read_record(folder)))["queries"]
    titles = {row["_id"]: row["title"] for row in read_jsonl(folder / "dev" / "corpus.jsonl")}
    answers = read_json(folder / "test_answers.json")
    for query, text, field in zip(shown["ids"], shown["texts"], shown["slices"]["field"], strict=True):
        (relevant,) = answers["relevant"][query]
        assert field == ("title" if titles[relevant] in text.split() else "text only")
    assert set(shown["slices"]["field"]) == {"title", "text only"}


def test_false_negative_rates_are_shown_by_kind_of_negative(tmp_path):
    folder = FakeRun(audited=True).write(tmp_path / "run")
    assert content_of(run_page(read_record(folder)))["written"]["rates"] == [
        {"kind": "bm25", "before": "25.0% [20.0%, 31.0%] of 1,200", "after": "3.1% [2.0%, 5.0%] of 980"},
        {"kind": "written", "before": "25.0% [20.0%, 31.0%] of 1,200"},
    ]
    shutil.rmtree(folder.parent / STAGES)
    assert content_of(run_page(read_record(folder)))["written"]["rates"] == [], "its stage folder was deleted"


def test_page_that_would_be_too_large_shows_less_of_each_text(run, monkeypatch):
    whole = run_page(read_record(run))
    monkeypatch.setattr(build, "LARGEST", len(whole) - 1)
    smaller = content_of(run_page(read_record(run)))["queries"]
    assert smaller["shortened"]
    assert max(len(text) for text in smaller["texts"]) <= 200
    monkeypatch.setattr(build, "LARGEST", 1000)
    with pytest.raises(RunError, match="more than 1,000 bytes: it has too many queries"):
        run_page(read_record(run))


def test_charts_have_no_colour_of_their_own(run):
    text = json.dumps(rows_chart(overview(read_record(run))["rows"]))
    assert "var(--accent)" in text
    assert not re.search(r"#[0-9a-f]{6}", text), "a fixed colour would be wrong in one of the themes"


def test_command_as_it_was_typed_makes_the_run_again(tmp_path):
    folder = FakeRun().write(tmp_path / "run")
    assert usage(read_record(folder))["commands"][0] == "stm-agent optimize --domain fake --seed 0"
    typed = ["stm-agent", "optimize", "--collection", "my data"]
    for _ in range(2):
        append_jsonl(folder / "commands.jsonl", {"schema": 1, "command": typed})
    commands = usage(read_record(folder))["commands"]
    assert commands[0] == "stm-agent optimize --collection 'my data'"
    assert len(commands) == 2, "a resumed run has its command once, and the page's own"


def test_every_run_ends_with_its_page_and_a_page_that_fails_costs_nothing_else(tmp_path, monkeypatch):
    folder, events = FakeRun().write(tmp_path / "run"), list[dict[str, Any]]()
    write = page_writer(events.append)
    write(folder)
    assert (folder / "report.html").exists()
    assert events[-1]["kind"] == "note"
    write(folder)
    assert len(events) == 1, "nothing was written since"
    append_jsonl(folder / "ledger.jsonl", {"event": "x"})
    monkeypatch.setattr(build, "LARGEST", 1000)
    write(folder)
    assert events[-1]["kind"] == "warning"
    assert "stm-agent runs report run makes it" in events[-1]["text"]


@pytest.mark.parametrize(("error", "called"), [(None, 1), (RunError("known"), 1), (KeyboardInterrupt(), 0)])
def test_work_after_a_run_is_done_unless_it_is_to_end_at_once(tmp_path, error, called):
    run, folders = open_run(tmp_path, "tiny", {"flags": {"seed": 0}}), list[Path]()
    run.ledger.record("base", search=0.1)
    with contextlib.suppress(RunError, KeyboardInterrupt), _closing(run, folders.append):
        assert is_locked(run.folder)
        if error:
            raise error
    assert len(folders) == called
    assert not is_locked(run.folder)


# Lines as the first version of the ledger wrote them: scores are called dev, and experts have no negatives.
OLDER = [
    {"event": "base", "dev": 0.41, "general": 0.3},
    {"event": "expert", "name": "lay", "folder": "train-lay", "dev": 0.5, "general": 0.3, "pairs": 72, "steps": 30},
    {"event": "merge", "round": 1, "experts": ["lay"], "weights": [1.0], "dev": 0.5, "general": 0.3, "allowed": True},
    {"event": "decision", "lever": "merge", "text": "round 1: lay taken"},
]


def test_ledger_of_an_older_version_is_left_out_with_a_notice(tmp_path):
    folder = FakeRun().write(tmp_path / "run")
    (folder / "ledger.jsonl").unlink()
    for entry in OLDER:
        append_jsonl(folder / "ledger.jsonl", {"schema": 1, "time": "2026-01-01T10:00:00+00:00", **entry})
    content = content_of(write_page(folder).read_bytes())
    notices = " ".join(content["overview"]["notices"])
    assert "4 of 4 entries of this run's ledger were written by an older version" in notices
    assert {dot["lever"] for dot in content["timeline"]["dots"]} == {"instruction"}
    assert content["merge"]["encoded"] == []
    assert "schema 1" in content["lineage"]
    assert pushed(read_record(folder), "bench").points[-1]["test/merged/ndcg_at_10"] == pytest.approx(0.48)
    assert Ui(folder.parent).page("run")[1] == "finished"
    other = FakeRun(seed=1).write(tmp_path / "other")
    records = read_runs([folder, other])
    assert b"Content-Security-Policy" in comparison_page(records, compare(records))


def test_a_part_that_cannot_be_read_costs_only_itself(tmp_path):
    folder = FakeRun().write(tmp_path / "run")
    append_jsonl(folder / "ledger.jsonl", {"schema": 2, "time": "2026-01-01T10:00:00+00:00", **OLDER[1]})
    content = content_of(write_page(folder).read_bytes())
    assert "The part Search cannot be shown, since another version wrote it: KeyError('variant')." in " ".join(
        content["overview"]["notices"]
    )
    assert content["timeline"]["dots"] == []
    assert content["merge"]["encoded"]
    assert content["queries"]["ids"]


def test_merge_part_shows_the_last_search_alone(tmp_path):
    folder = FakeRun().write(tmp_path / "run")
    lines = read_jsonl(folder / "ledger.jsonl")
    merge, front = (next(line for line in lines if line["event"] == event) for event in ("merge", "front"))
    assert len(fronts(read_record(folder))["encoded"]) == 3
    append_jsonl(folder / "ledger.jsonl", {**merge, "dev": 0.7})
    append_jsonl(folder / "ledger.jsonl", front)
    found = fronts(read_record(folder))
    assert [row["real"] for row in found["encoded"]] == [0.7]
    assert found["earlier"] == 1
