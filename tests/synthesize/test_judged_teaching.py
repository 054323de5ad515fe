"""An LLM as the teacher of scores: what it is asked, what its grades become, and what is left out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from stm_agent.domain.data import Pair
from stm_agent.domain.spec import AuditSpec, TeacherSpec
from stm_agent.errors import BudgetExceeded
from stm_agent.files import read_json, read_jsonl
from stm_agent.llm.access import LlmAccess
from stm_agent.llm.answer import Messages
from stm_agent.llm.budget import Budget
from stm_agent.llm.client import LlmClient
from stm_agent.llm.options import LlmOptions
from stm_agent.llm.scripted import scripted
from stm_agent.mine.lists import load_lists
from stm_agent.mine.teaching import COUNTS, TeachingJob
from stm_agent.synthesize.judged_teaching import JUDGED, JudgedTeachingJob

PROGRAM = Path(__file__).parents[2] / "programs" / "judge.py"
# Every passage shares words with the query, so that BM25 finds all; fewer of them further down.
POOL = {f"p{n:02}": f"swollen knee {'red ' * (20 - n)}and finding number {n}" for n in range(20)}
PAIRS = (
    Pair("q:p00", "my red swollen knee", POOL["p00"], "train", "q"),
    Pair("r:p01", "a knee that is swollen and red", POOL["p01"], "train", "r"),
)
SPEC = TeacherSpec(scores="judge:scripted:test", encoders=(), bm25=1.0, candidates=4)
Make = Callable[..., JudgedTeachingJob]


def teaching(tmp_path: Path, spec: TeacherSpec = SPEC) -> TeachingJob:
    groups = {"q": frozenset({"p00"}), "r": frozenset({"p01"})}
    return TeachingJob(pairs=PAIRS, pool=POOL, groups=groups, spec=spec, cache=tmp_path / "vectors")


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """A job whose judge answers by a function of the chat."""

    def made(script: Callable[[Messages], str], budget: Budget | None = None, usd: float = 0.0) -> JudgedTeachingJob:
        def open_client(access: LlmAccess) -> LlmClient:
            return scripted(script, tmp_path, usd=usd, budget=budget)

        monkeypatch.setattr(LlmAccess, "open", open_client)
        access = LlmAccess(options=LlmOptions(model="scripted:test"), cache=tmp_path / "llm", ledger=tmp_path / "l")
        return JudgedTeachingJob(teaching=teaching(tmp_path), task="t", program=PROGRAM, judge=access)

    return made


def build(job: JudgedTeachingJob, folder: Path) -> Path:
    folder.mkdir()
    job.build(folder)
    return folder


def last(messages: Messages) -> str:
    return messages[-1]["content"]


def test_grades_become_scores_of_a_sample_of_all_ranks(make: Make, tmp_path: Path) -> None:
    def script(messages: Messages) -> str:
        return "grade 3: it answers" if "number 0" in last(messages) else "grade 1: on the topic"

    folder = build(make(script), tmp_path / "out")
    row = load_lists(folder)["q:p00"]
    assert row.positive == 1.0
    assert {candidate.score for candidate in row.candidates} == {1 / 3}
    ranks = sorted(int(candidate.passage_id[1:]) for candidate in row.candidates)
    assert len(ranks) == 4
    assert ranks[-1] > 9, "half of the sample is drawn from the lower ranks"
    counts = read_json(folder / COUNTS)[JUDGED]
    assert (counts["asked"], counts["written"], counts["ended_by"]) == (10, 10, None)


def test_a_passage_without_a_grade_is_counted_and_gets_no_other_score(make: Make, tmp_path: Path) -> None:
    def script(messages: Messages) -> str:
        if "number 1\n" in f"{last(messages)}\n":
            return "it is quite relevant"
        return "grade 2: a part of it"

    folder = build(make(script), tmp_path / "out")
    lists, counts = load_lists(folder), read_json(folder / COUNTS)
    assert set(lists) == {"q:p00"}, "its positive has no grade, and BM25's score does not take its place"
    assert counts["pairs whose positive has no score"] == 1
    assert counts[JUDGED]["refused"] == {"no grade from 0 to 3": counts[JUDGED]["asked"] - counts[JUDGED]["written"]}


def test_a_spent_budget_leaves_no_whole_stage_and_what_was_paid_is_not_paid_again(make: Make, tmp_path: Path) -> None:
    job = make(lambda messages: "grade 2: a part", budget=Budget(usd=3.5), usd=1.0)
    with pytest.raises(BudgetExceeded):
        build(job, tmp_path / "out")
    paid = len(read_jsonl(tmp_path / "llm.jsonl"))
    assert 0 < paid < 10
    build(make(lambda messages: "grade 2: a part", usd=1.0), tmp_path / "again")
    assert len(read_jsonl(tmp_path / "llm.jsonl")) == 10, "each of the ten passages was paid once"


def test_the_judge_its_program_and_the_task_decide_the_stage(make: Make, tmp_path: Path) -> None:
    job = make(lambda messages: "grade 0: no")
    assert job.asks_llm
    other = JudgedTeachingJob(teaching=job.teaching, task="another", program=job.program, judge=job.judge)
    assert job.key() != other.key() != job.teaching.key()
    more = teaching(tmp_path, SPEC.model_copy(update={"judged": 20, "own_text": True}))
    assert more.key() == teaching(tmp_path).key(), "these decide which pairs are graded"


def test_a_judge_that_cannot_be_used_is_named() -> None:
    with pytest.raises(ValidationError, match="judge: names no LLM"):
        TeacherSpec(scores="judge:")
    with pytest.raises(ValidationError, match="judged: 5 is less than one list of 15 passages"):
        TeacherSpec(scores="judge:openai/m", judged=5)
    with pytest.raises(ValidationError, match="all weights of the ensemble are 0"):
        TeacherSpec(scores="judge:openai/m", encoders=(), bm25=0.0)
    with pytest.raises(ValidationError, match="name it as audit: judge"):
        AuditSpec(teacher=TeacherSpec(scores="judge:openai/m"))
    assert TeacherSpec(scores="judge:openai/m").models.keys() == {"encoder 0"}, "an LLM is no encoder to load"
