"""Passages of graded relevance: written level by level, stored, and given to experts that ask for related ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from stm_agent.domain.data import Pair
from stm_agent.domain.spec import ExpertSpec, SynthesizeSpec
from stm_agent.llm.answer import Messages
from stm_agent.llm.scripted import scripted
from stm_agent.loop.training_data import TrainingData
from stm_agent.synthesize.graded import LEVELS, WrittenGrades, load_graded, write_graded

PROGRAM = Path(__file__).parents[2] / "programs" / "graded.py"
PAIRS = [
    Pair(str(n), f"query {n} about knees", f"the passage on knees with the number {n}", "s", str(n)) for n in (1, 2)
]
PASSAGES = ["Knees of cows bend too.", "Knees have a cap of bone.", "Bees have wax on their knees."]


def written(script: Callable[[Messages], str], folder: Path, structured: str = "never") -> WrittenGrades:
    spec = SynthesizeSpec(attempts=1, structured=structured)  # type: ignore[arg-type]
    client = scripted(script, folder)
    (folder / "out").mkdir()
    return write_graded(PAIRS, task="t", program=PROGRAM, client=client, spec=spec, folder=folder / "out")


def by_level(messages: Messages) -> str:
    return next(text for text, level in zip(PASSAGES, LEVELS.values(), strict=True) if level in messages[-1]["content"])


def test_a_small_model_writes_one_level_a_call_and_a_capable_one_all(tmp_path: Path) -> None:
    one = written(by_level, tmp_path)
    whole = f"[[ ## graded_passages ## ]]\n{json.dumps(PASSAGES)}"
    (tmp_path / "capable").mkdir()
    several = written(lambda messages: whole, tmp_path / "capable", structured="always")
    assert (one.report.calls, several.report.calls) == (6, 2)
    assert load_graded(tmp_path / "out") == load_graded(tmp_path / "capable" / "out")
    graded = load_graded(tmp_path / "out")["1"]
    assert graded.related == ((PASSAGES[0], 2 / 3), (PASSAGES[1], 1 / 3))
    assert graded.negatives == (PASSAGES[2],)


def test_a_level_that_repeats_another_is_refused_and_counted(tmp_path: Path) -> None:
    done = written(lambda messages: "Knees of cows bend too.", tmp_path)
    assert (done.report.asked, done.report.written, done.report.refused) == (6, 2, {"repeats its input": 4})
    assert load_graded(tmp_path / "out")["1"].negatives == ()


def test_experts_that_ask_for_related_passages_get_them(tmp_path: Path) -> None:
    written(by_level, tmp_path)
    data = TrainingData(graded=load_graded(tmp_path / "out"))
    own = Pair("2", "q", "p", "s", "2", related=(("of people", 0.5),))
    listwise = ExpertSpec(name="l", sources=("s",), steps=1, loss="listwise", related=2)
    plain = ExpertSpec(name="p", sources=("s",), steps=1)
    first, second = data.with_related(listwise, [PAIRS[0], own])
    assert [text for text, _ in first.related] == PASSAGES[:2]
    assert second == own, "judgements of people stay"
    assert data.with_related(plain, PAIRS) == tuple(PAIRS)
