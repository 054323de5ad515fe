"""The shipped DSPy programs through a scripted model: written, cleaned, refused, stored."""

from __future__ import annotations

from pathlib import Path

import pytest

from stm_agent.domain.data import Pair
from stm_agent.domain.spec import SynthesizeSpec
from stm_agent.errors import ConfigError
from stm_agent.llm.scripted import scripted
from stm_agent.mine.store import load_negatives
from stm_agent.synthesize.negatives import synthesize_negatives
from stm_agent.synthesize.program import clean, load_program
from stm_agent.synthesize.queries import load_pairs, write_queries

PROGRAMS = Path(__file__).parents[2] / "programs"
PAIRS = [
    Pair(str(n), f"query {n} about knees", f"the passage on knees with the number {n}", "s", str(n)) for n in range(3)
]


def test_negatives_are_written_with_provenance_and_echoes_are_refused(tmp_path: Path) -> None:
    client = scripted(["Hard negative: a text on elbows", "The passage on knees with the number 1", " "], tmp_path)
    program = PROGRAMS / "hard_negatives.py"
    done = synthesize_negatives(
        PAIRS, {}, task="t", program=program, client=client, spec=SynthesizeSpec(), folder=tmp_path / "out"
    )
    assert [n.text for found in done.negatives.values() for n in found] == ["a text on elbows"]
    assert done.refused == {"repeats its input": 1, "empty or too short": 1}
    (kept,) = load_negatives(tmp_path / "out")["0"]
    assert dict(kept.provenance)["generator"] == "scripted:test"


def test_queries_are_written_for_drawn_passages(tmp_path: Path) -> None:
    client = scripted(lambda messages: "sore knee at night", tmp_path)
    pool = {str(n): f"definition of thing number {n}" for n in range(9)}
    (tmp_path / "out").mkdir()
    pairs = write_queries(
        pool,
        task="t",
        program=PROGRAMS / "queries.py",
        client=client,
        spec=SynthesizeSpec(queries=4),
        seed=0,
        folder=tmp_path / "out",
    )
    assert len(pairs) == 4
    assert load_pairs(tmp_path / "out") == pairs
    assert all(pool[pair.group] == pair.positive for pair in pairs)


def test_broken_program_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "p.py").write_text("def build():\n    return 1 / 0\n")
    with pytest.raises(ConfigError, match=r"p\.py cannot be built: ZeroDivisionError"):
        load_program(tmp_path / "p.py")


@pytest.mark.parametrize(
    ("raw", "wanted"), [('"a b"', "a b"), ("Query: a b\nmore", "a b"), ("pain: in the knee", "pain: in the knee")]
)
def test_answers_are_cleaned(raw: str, wanted: str) -> None:
    assert clean(raw) == wanted
