"""The judge: grades with reasons, what a grade says, and no LLM that judges its own text."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stm_agent.domain.data import Pair
from stm_agent.domain.spec import AuditSpec
from stm_agent.files import read_json
from stm_agent.llm.access import LlmAccess
from stm_agent.llm.answer import Messages
from stm_agent.llm.budget import Budget
from stm_agent.llm.options import LlmOptions
from stm_agent.llm.scripted import scripted
from stm_agent.mine import calibration
from stm_agent.mine.evidence import Found, list_suspects
from stm_agent.mine.negatives import Negative
from stm_agent.synthesize.audit_job import OWN_TEXT, REPORT, AuditJob
from stm_agent.synthesize.judge import Judgement, judge_all, read_judgement, weights_of_grades
from stm_agent.synthesize.verdict_rows import load_verdicts

PROGRAM = Path(__file__).parents[2] / "programs" / "judge.py"


@pytest.mark.parametrize(
    ("text", "grade", "reason"),
    [
        ("grade 3: it answers", 3, "it answers"),
        ("Grade: 2 - a part of it", 2, "a part of it"),
        ("1", 1, ""),
        ("**Grade 0:** about a court", 0, "about a court"),
    ],
)
def test_a_grade_and_its_reason_are_read(text: str, grade: int, reason: str) -> None:
    judgement = read_judgement(text)
    assert judgement is not None
    assert judgement.grade == grade
    assert judgement.reason.lstrip("*: ") == reason


@pytest.mark.parametrize("text", ["it is relevant", "grade 7: no such grade", "the passage of 1999 has 3 parts"])
def test_what_has_no_grade_is_none(text: str) -> None:
    assert read_judgement(text) is None


def test_passages_are_judged_in_their_order_and_a_bare_digit_counts(tmp_path: Path) -> None:
    def script(messages: Messages) -> str:
        last = messages[-1]["content"]
        return "3: it names the cause" if "uric acid" in last else "grade 0: another topic"

    client = scripted(script, tmp_path)
    items = [("what causes gout", "gout is caused by uric acid"), ("what causes gout", "the court adjourned")]
    judged = judge_all(items, task="t", program=PROGRAM, client=client)
    assert judged.judgements == (Judgement(3, "it names the cause"), Judgement(0, "another topic"))


def test_a_judgement_without_a_grade_is_counted_with_its_reason(tmp_path: Path) -> None:
    client = scripted(["grade 3: it names the cause", "it is quite relevant"], tmp_path)
    report = judge_all([("q", "p"), ("q", "o")], task="t", program=PROGRAM, client=client).report
    assert (report.asked, report.written, report.refused) == (2, 1, {"no grade from 0 to 3": 1})


@pytest.mark.filterwarnings("error")
def test_a_judge_is_asked_without_a_remark_of_dspy(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("dspy").addHandler(caplog.handler)
    judge_all([("q", "p")], task="t", program=PROGRAM, client=scripted(["grade 3: yes"], tmp_path))
    logging.getLogger("dspy").removeHandler(caplog.handler)
    assert not [record for record in caplog.records if "forward" in record.getMessage()]


def test_many_equal_grades_in_a_row_are_judgements_too(tmp_path: Path) -> None:
    client = scripted(lambda messages: "grade 0: another topic", tmp_path)
    items = [("what causes gout", f"the court adjourned case {number}") for number in range(20)]
    assert (
        judge_all(items, task="t", program=PROGRAM, client=client).judgements == (Judgement(0, "another topic"),) * 20
    )


def test_a_spent_budget_ends_judging_and_says_so(tmp_path: Path) -> None:
    client = scripted(lambda messages: "grade 3: yes", tmp_path, usd=1.0, budget=Budget(usd=1.5))
    judged = judge_all([(f"q{n}", "p") for n in range(5)], task="t", program=PROGRAM, client=client)
    assert judged.judgements[-1] is None
    assert judged.report.over_budget


def test_a_generous_judge_says_little_and_a_strict_one_much() -> None:
    chances = np.full(50, 0.1)
    generous = weights_of_grades([3] * 40, [3] * 50, chances)
    strict = weights_of_grades([3] * 40, [3] * 5 + [0] * 45, chances)
    assert abs(generous[3]) < 0.2
    assert strict[3] > 1.5
    assert strict[0] < -2


def job(tmp_path: Path, *, own_text: bool, positives: int = 1) -> AuditJob:
    pairs = tuple(
        Pair(f"q{n}:{m}", f"query {n}", f"passage {n} with the positive {m}", "train", f"q{n}")
        for n in range(18)
        for m in range(positives)
    )
    written = {
        pair.id: tuple(
            Negative(f"written text {m} {pair.id}", "synthetic", provenance=(("generator", "scripted:numbered"),))
            for m in range(2)
        )
        for pair in pairs
    }
    relevant = {pair.id: (Negative(pair.positive, "bm25", pair.id),) for pair in pairs}
    access = LlmAccess(
        options=LlmOptions(model="scripted:numbered"), cache=tmp_path / "llm", ledger=tmp_path / "llm.jsonl"
    )
    return AuditJob(
        pairs=pairs,
        pool={str(n): f"pool passage {n}" for n in range(4)},
        found=Found(negatives={}, doubtful={}, relevant=relevant, written=written),
        spec=AuditSpec(judge="scripted:numbered", own_text=own_text),
        miner=None,
        task="t",
        program=PROGRAM,
        judge=access,
        cache=tmp_path / "vectors",
    )


@pytest.mark.parametrize("own_text", [False, True])
def test_no_llm_judges_its_own_text_unless_the_user_says_so(
    tmp_path: Path, own_text: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "SAMPLES", 20)
    folder = tmp_path / "out"
    folder.mkdir()
    job(tmp_path, own_text=own_text, positives=2).build(folder)
    counts = read_json(folder / REPORT)["judge"]["synthetic"]
    assert counts[OWN_TEXT] == (0 if own_text else 64)
    assert (counts["asked"] > 0) == own_text


def test_a_judge_whose_grades_decide_nothing_is_not_paid(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    job(tmp_path, own_text=True).build(folder)
    report = read_json(folder / REPORT)
    assert report["judge"] == {}
    assert "needs 30 of 10 queries" in report["reasons"]["synthetic"]
    assert not (tmp_path / "llm.jsonl").exists()
    rows = load_verdicts(folder)
    assert {row["decision"] for row in rows} == {"negative"}, "nothing to calibrate on, nothing decided"
    assert sorted(row["doubt"] for row in rows)[-1] == 1.0


def test_a_file_of_weights_does_not_judge_its_own_text_under_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("m.gguf", "copy.gguf", "other.gguf"):
        (tmp_path / name).write_bytes(b"GGUF" + (b"other" if name == "other.gguf" else b"weights"))
    monkeypatch.chdir(tmp_path)
    judge = LlmOptions(model=str(tmp_path / "m.gguf"))
    assert all(judge.is_model(name) for name in ("m.gguf", "./m.gguf", "copy.gguf", judge.model))
    assert not any(judge.is_model(name) for name in ("other.gguf", "gone.gguf", "openai/m"))
    found = job(tmp_path, own_text=False)
    origins = (
        {"generator": "./m.gguf"},
        {"generator": "gone.gguf", "weights": judge.weights},
        {"generator": "./other.gguf"},
    )
    rows = [Negative(f"text {n}", "synthetic", provenance=tuple(origin.items())) for n, origin in enumerate(origins)]
    found = replace(found, found=replace(found.found, written={found.pairs[0].id: tuple(rows)}))
    suspects = list_suspects(found.pairs, found.found)
    own = {suspect.passage.text for suspect in suspects if found._is_own(suspect, judge)}
    assert own == {"text 0", "text 1"}


def test_the_key_of_an_audit_depends_on_what_people_answered(tmp_path: Path) -> None:
    first = job(tmp_path, own_text=False)
    assert first.key() == replace(first, cache=tmp_path).key()
    assert first.key() != replace(first, answers=(("q", "n", "negative"),)).key()
