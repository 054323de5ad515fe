"""Several written negatives for a pair, each against another requirement of the query."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from stm_agent.domain.data import Pair
from stm_agent.domain.spec import SynthesizeSpec
from stm_agent.files import read_json
from stm_agent.llm.answer import Messages
from stm_agent.llm.scripted import scripted
from stm_agent.mine.negatives import Negative
from stm_agent.mine.store import load_negatives
from stm_agent.synthesize.negatives import REQUIREMENTS, WrittenNegatives, synthesize_negatives
from stm_agent.synthesize.rows import load_rows

PROGRAM = Path(__file__).parents[2] / "programs" / "hard_negatives.py"
PAIRS = [
    Pair(str(n), f"query {n} about knees", f"the passage on knees with the number {n}", "s", str(n)) for n in range(3)
]
MINED = {
    pair.id: (Negative(f"mined {pair.id} first", "bm25"), Negative(f"mined {pair.id} next", "bm25")) for pair in PAIRS
}


def written(
    script: Callable[[Messages], str],
    folder: Path,
    count: int,
    structured: str = "never",
    program: Path = PROGRAM,
) -> WrittenNegatives:
    spec = SynthesizeSpec(attempts=1, structured=structured)  # type: ignore[arg-type]
    (folder / "out").mkdir()
    return synthesize_negatives(
        PAIRS,
        MINED,
        task="t",
        program=program,
        client=scripted(script, folder),
        spec=spec,
        folder=folder / "out",
        count=count,
    )


def test_a_pair_gets_several_negatives_that_differ(tmp_path: Path) -> None:
    calls: list[int] = []

    def script(messages: Messages) -> str:
        calls.append(1)
        return f"elbows bend in way number {len(calls) % 5}"

    done = written(script, tmp_path, 2)
    assert len(calls) == 6, "equal requests are samples of their own"
    assert {pair: len(row) for pair, row in done.negatives.items()} == {"0": 2, "1": 2, "2": 2}
    assert load_negatives(tmp_path / "out").keys() == done.negatives.keys()
    assert read_json(tmp_path / "out" / "written.json")["per_pair"] == {"2": 3}


def test_a_negative_that_repeats_another_of_its_pair_is_refused_and_counted(tmp_path: Path) -> None:
    done = written(lambda messages: "elbows bend one way only", tmp_path, 2)
    assert (done.report.asked, done.report.written, done.report.refused) == (6, 3, {"repeats its input": 3})
    assert read_json(tmp_path / "out" / "written.json")["per_pair"] == {"1": 3}


def test_a_capable_model_is_shown_a_mined_negative_and_names_what_it_violates(tmp_path: Path) -> None:
    seen: list[str] = []

    def script(messages: Messages) -> str:
        seen.append(messages[-1]["content"])
        fields = {
            "requirements": '["knees", "a number"]',
            "violates": "knees",
            "hard_negative": f"elbows of the number {len(seen)}",
        }
        return "\n\n".join(f"[[ ## {name} ## ]]\n{value}" for name, value in fields.items())

    done = written(script, tmp_path, 2, structured="always")
    assert ["mined 0 first" in seen[0], "mined 0 next" in seen[1], "mined 0 first" in seen[1]] == [True, True, False]
    assert all(any(requirement in chat for requirement in REQUIREMENTS) for chat in seen)
    assert {dict(negative.provenance)["violates"] for row in done.negatives.values() for negative in row} == {"knees"}
    assert {row.negatives[0].violates for row in load_rows(tmp_path / "out")} == {"knees"}


def test_samples_of_a_pair_violate_different_requirements(tmp_path: Path) -> None:
    program = tmp_path / "own.py"
    program.write_text(
        'import dspy\n\n\ndef build():\n    return dspy.Predict("query, passage, requirement -> hard_negative")\n'
    )
    done = written(lambda messages: "elbows bend one way only", tmp_path, len(REQUIREMENTS), program=program)
    violated = [row.negatives[0].violates for row in done.rows if row.id.startswith("0#")]
    assert sorted(violated) == sorted(REQUIREMENTS)


def test_no_requirement_is_recorded_that_the_program_was_not_shown(tmp_path: Path) -> None:
    done = written(lambda messages: f"elbows bend {sum(map(ord, messages[-1]['content']))}", tmp_path, 1)
    assert [row.negatives[0].violates for row in done.rows] == ["", "", ""]
    assert {dict(negative.provenance)["violates"] for row in done.negatives.values() for negative in row} == {""}
