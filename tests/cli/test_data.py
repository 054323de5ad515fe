"""``stm-agent data show``: rows of a run, filtered, and one of them as training reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from stm_agent.cli.main import build
from stm_agent.domain.data import Pair
from stm_agent.domain.spec import SynthesizeSpec
from stm_agent.errors import ConfigError
from stm_agent.files import append_jsonl
from stm_agent.llm.answer import Messages
from stm_agent.llm.scripted import scripted
from stm_agent.mine.lists import Candidate, ScoredList, save_lists
from stm_agent.mine.negatives import Negative
from stm_agent.mine.store import save_negatives
from stm_agent.synthesize.negatives import synthesize_negatives
from stm_agent.synthesize.queries import write_queries

PROGRAMS = Path(__file__).parents[2] / "programs"
PAIR = Pair("p1", "what do knees do", "Knees bend and carry weight.", "train", "d1")


def answer(messages: Messages) -> str:
    text = messages[-1]["content"]
    if "Query:" in text:
        return "Elbows bend and carry no weight."
    return "knees [bold] bend" if "Knees" in text else "我不知道这个问题的答案"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A workspace with one run that wrote two queries, one of them refused, and a negative, and mined another."""
    space, runs = tmp_path / "space", tmp_path / "space" / "runs"
    (space / "programs").mkdir(parents=True)
    run, stages = runs / "mine", runs / ".stages"
    run.mkdir(parents=True)
    (run / "run.json").write_text('{"schema": 2}')
    for name in ("queries-1", "synthesize-1", "mine-1", "audit-1", "teach-1"):
        (stages / name).mkdir(parents=True)
        append_jsonl(run / "ledger.jsonl", {"event": "stage", "name": name.partition("-")[0], "folder": name})
    append_jsonl(run / "ledger.jsonl", {"event": "written", "folder": "queries-1", "trial": "p0001"})
    client = scripted(answer, runs / ".cache")
    common: dict[str, Any] = {"task": "find it", "client": client, "spec": SynthesizeSpec(attempts=1)}
    pool = {"d1": PAIR.positive, "d2": "Hips turn."}
    write_queries(pool, program=PROGRAMS / "queries.py", seed=0, folder=stages / "queries-1", **common)
    program = PROGRAMS / "hard_negatives.py"
    synthesize_negatives([PAIR], {}, program=program, folder=stages / "synthesize-1", **common)
    verdict = {"query": PAIR.query, "negative": "hips  turn", "decision": "relabelled", "by": "judge", "chance": 0.9}
    verdict |= {"grade": 3, "reason": "it answers"}
    scored = ScoredList(0.8, (Candidate("Hips turn.", "d2", 0.25),))
    save_lists(stages / "teach-1", [PAIR], {"p1": scored})
    append_jsonl(stages / "audit-1" / "verdicts.jsonl", verdict)
    save_negatives(stages / "mine-1", [PAIR], {"p1": (Negative("Hips turn.", "bm25", "d2", 3.5),)})
    return space


def show(workspace: Path, *options: str) -> Result:
    return CliRunner().invoke(build(), ["data", "show", "mine", "--workspace", str(workspace), *options])


def rows(workspace: Path, *options: str) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = json.loads(show(workspace, *options, "--json").stdout)["shown"]
    return shown


def test_rows_of_all_stages_are_listed_with_their_verdicts(workspace: Path) -> None:
    assert {row["id"]: row["verdict"] for row in rows(workspace)} == {
        "written:d1": "accepted",
        "written:d2": "refused",
        "p1#1": "accepted",
        "mined:p1": "accepted",
    }
    text = show(workspace).stdout
    assert "knees [bold] bend" in text
    assert "refused: another language" in text
    assert "4 of 4 rows" in text


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        (("--kind", "queries"), {"written:d1", "written:d2"}),
        (("--kind", "synthetic"), {"p1#1"}),
        (("--kind", "bm25"), {"mined:p1"}),
        (("--source", "train"), {"p1#1"}),
        (("--verdict", "refused"), {"written:d2"}),
        (("--verdict", "relabelled"), {"mined:p1"}),
        (("--program", "queries"), {"written:d1", "written:d2"}),
        (("--contains", "ELBOWS"), {"p1#1"}),
        (("--instruction", "FIND"), {"written:d1", "written:d2", "p1#1"}),
        (("--program-trial", "p0001"), {"written:d1", "written:d2"}),
        (("--model", "scripted:test", "--verdict", "accepted"), {"written:d1", "p1#1"}),
        (("--limit", "1"), {"written:d1", "written:d2", "p1#1", "mined:p1"}),
    ],
)
def test_every_filter_leaves_its_rows(workspace: Path, options: tuple[str, ...], ids: set[str]) -> None:
    found = {row["id"] for row in rows(workspace, *options)}
    assert found == ids if "--limit" not in options else len(found) == 1


def test_a_query_type_is_a_filter(workspace: Path) -> None:
    (first, second) = rows(workspace, "--kind", "queries")
    assert [row["id"] for row in rows(workspace, "--type", first["type"])] == [first["id"]]
    assert first["type"] != second["type"]


def test_one_row_is_a_training_example_with_its_whole_origin(workspace: Path) -> None:
    one = json.loads(show(workspace, "--row", "written:d1", "--json").stdout)
    assert one["example"] == {"query": "knees [bold] bend", "positive": PAIR.positive}
    assert one["provenance"]["program_trial"] == "p0001"
    assert one["provenance"]["folder"] == "queries-1"
    assert one["chat"][-1] == {"role": "assistant", "content": "knees [bold] bend"}
    negative = json.loads(show(workspace, "--row", "p1#1", "--json").stdout)["example"]
    assert negative == {
        "query": PAIR.query,
        "positive": PAIR.positive,
        "negative_1": "Elbows bend and carry no weight.",
    }
    text = show(workspace, "--row", "p1#1").stdout
    assert "program: hard_negatives.py" in text
    assert "[assistant] Elbows bend" in text


def test_the_audit_of_a_negative_is_shown_with_it(workspace: Path) -> None:
    text = show(workspace, "--row", "mined:p1").stdout
    assert "negative_1 audited: relabelled by judge, relevant with probability 0.90, grade 3 (it answers)" in text
    assert "positive_1 teacher's score: 0.8000" in text
    assert "negative_1 teacher's score: 0.2500" in text


def test_rows_are_written_with_all_that_was_decided_on_them(workspace: Path, tmp_path: Path) -> None:
    target = tmp_path / "rows.jsonl"
    assert "4 rows" in show(workspace, "--output", str(target), "--limit", "1").stdout
    stored = {row["id"]: row for row in map(json.loads, target.read_text().splitlines())}
    (negative,) = stored["mined:p1"]["negatives"]
    assert (negative["verdict"], negative["grade"], negative["reason"]) == ("relabelled", 3, "it answers")
    assert (negative["teacher"], stored["p1#1"]["positives"][0]["teacher"]) == (0.25, 0.8)
    assert stored["written:d2"]["reason"] == "another language"
    again = show(workspace, "--output", str(target))
    assert isinstance(again.exception, ConfigError)
    assert "exists; name another file" in str(again.exception)


def test_a_folder_that_synthesize_wrote_is_shown_too(workspace: Path) -> None:
    folder = str(workspace / "runs" / ".stages" / "queries-1")
    shown = CliRunner().invoke(build(), ["data", "show", folder, "--json"])
    assert json.loads(shown.stdout)["of"] == 2


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--row", "written:d9"), "row 'written:d9' does not exist; did you mean written:d"),
        (("--verdict", "acepted"), "no row has verdict 'acepted'; did you mean accepted"),
        (("--source", "x"), "no row has source 'x'; there are: train, written"),
        (("--program-trial", "p9"), "no row has program trial 'p9'; there are: p0001"),
    ],
)
def test_a_value_that_no_row_has_is_one_line(workspace: Path, options: tuple[str, ...], line: str) -> None:
    failed = show(workspace, *options)
    assert isinstance(failed.exception, ConfigError)
    assert line in str(failed.exception)


def test_rows_are_filtered_by_grade_sample_and_score(workspace: Path) -> None:
    rows = json.loads(show(workspace, "--json").stdout)["shown"]
    for flags, fits in (
        (("--grade", "3"), lambda row: any(positive["grade"] == 3 for positive in row["positives"])),
        (("--trial", "0"), lambda row: row["trial"] == 0),
        (("--score", "copied=0"), lambda row: "copied" in row["scores"]),
    ):
        found = json.loads(show(workspace, *flags, "--json").stdout)["shown"]
        assert found == [row for row in rows if fits(row)]
        assert found
    assert not json.loads(show(workspace, "--score", "copied=1.5", "--json").stdout)["shown"]
    with pytest.raises(ConfigError, match="no row has a score 'charm'; there are: copied"):
        CliRunner().invoke(
            build(),
            ["data", "show", "mine", "--workspace", str(workspace), "--score", "charm=1"],
            catch_exceptions=False,
        )
