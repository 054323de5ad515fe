"""The judge: grades with reasons, what a grade says, and no LLM that judges its own text."""

from __future__ import annotations

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
from stm_agent.mine.evidence import Found
from stm_agent.mine.negatives import Negative
from stm_agent.synthesize.audit_job import OWN_TEXT, REPORT, AuditJob, load_verdicts
from stm_agent.synthesize.judge import Judgement, judge_all, read_judgement, weights_of_grades

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


def job(tmp_path: Path, *, own_text: bool) -> AuditJob:
    pairs = tuple(Pair(f"q{n}:p", f"query {n}", f"positive passage {n}", "train", f"q{n}") for n in range(6))
    written = {
        pair.id: (Negative(f"written text {pair.id}", "synthetic", provenance=(("generator", "scripted:numbered"),)),)
        for pair in pairs
    }
    access = LlmAccess(
        options=LlmOptions(model="scripted:numbered"), cache=tmp_path / "llm", ledger=tmp_path / "llm.jsonl"
    )
    return AuditJob(
        pairs=pairs,
        pool={str(n): f"pool passage {n}" for n in range(4)},
        found=Found(negatives={}, doubtful={}, relevant={}, written=written),
        spec=AuditSpec(judge="scripted:numbered", own_text=own_text),
        miner=None,
        task="t",
        program=PROGRAM,
        judge=access,
        cache=tmp_path / "vectors",
    )


@pytest.mark.parametrize("own_text", [False, True])
def test_no_llm_judges_its_own_text_unless_the_user_says_so(tmp_path: Path, own_text: bool) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    job(tmp_path, own_text=own_text).build(folder)
    counts = read_json(folder / REPORT)["judge"]["synthetic"]
    assert counts[OWN_TEXT] == (0 if own_text else 6)
    assert (counts["asked"] > 0) == own_text
    rows = load_verdicts(folder)
    assert {row["decision"] for row in rows} == {"negative"}, "nothing to calibrate on, nothing decided"
    assert sorted(row["doubt"] for row in rows)[-1] == 1.0


def test_the_key_of_an_audit_depends_on_what_people_answered(tmp_path: Path) -> None:
    from dataclasses import replace

    first = job(tmp_path, own_text=False)
    assert first.key() == replace(first, cache=tmp_path).key()
    assert first.key() != replace(first, answers=(("q", "n", "negative"),)).key()
