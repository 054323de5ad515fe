"""The text of a program can be read, changed and written to a file that builds the same program."""

from __future__ import annotations

from pathlib import Path

import pytest

from stm_agent.errors import ConfigError
from stm_agent.synthesize.load import load_program
from stm_agent.synthesize.program_text import ProgramText, save_state, store_candidate, written_fields, written_program

PROGRAM = Path(__file__).parents[2] / "programs" / "queries.py"
TEXT = 'Write one query.\n\nQuote "nothing", and no \\ either; it\'s short. ' + "Long. " * 30
DEMO = {"task": "t", "passage": "p " * 80, "query": 'a "quoted" query'}
CHANGED = ProgramText({"self": TEXT}, {"self": (DEMO,)})


def test_parts_of_a_program_are_text_and_can_be_read_back():
    text = ProgramText.of(PROGRAM, "query")
    assert "search queries" in text.parts()["self instructions"]
    assert len(text.demonstrations["self"]) > 0
    assert ProgramText.from_parts(text.parts()) == text
    assert "Example: task:" in text.summary


def test_a_written_program_builds_with_the_new_text(tmp_path: Path):
    path = store_candidate(PROGRAM, CHANGED, tmp_path / "candidates")
    assert ProgramText.of(path, "query") == CHANGED
    assert store_candidate(PROGRAM, CHANGED, tmp_path / "candidates") == path


def test_a_program_is_optimised_again_without_growing(tmp_path: Path):
    path = tmp_path / "queries.py"
    once = written_program(PROGRAM.read_text(), CHANGED)
    other = ProgramText({"self": "Other."}, {"self": ()})
    path.write_text(written_program(once, other))
    assert path.read_text().count("def build()") == 2
    assert ProgramText.of(path) == other


def test_the_state_of_a_program_loads_into_the_original(tmp_path: Path):
    save_state(store_candidate(PROGRAM, CHANGED, tmp_path / "candidates"), tmp_path / "state.json")
    program = load_program(PROGRAM)
    program.load(str(tmp_path / "state.json"))
    assert program.signature.instructions == TEXT.strip() or program.signature.instructions == TEXT
    assert program.demos[0]["query"] == DEMO["query"]


def test_the_field_of_the_query_is_known():
    assert written_fields(PROGRAM, "query") == {"self": "query"}
    assert written_fields(PROGRAM, "query", structured=True) == {"self": "queries"}


def test_the_module_for_typed_outputs_has_a_text_of_its_own(tmp_path: Path):
    path = store_candidate(PROGRAM, CHANGED, tmp_path / "candidates", structured=True)
    assert ProgramText.of(path, structured=True) == CHANGED
    assert ProgramText.of(path) == ProgramText.of(PROGRAM)


def test_files_that_a_program_reads_lie_beside_its_candidates(tmp_path: Path):
    (tmp_path / "words.txt").write_text("words")
    (tmp_path / "own.py").write_text(f'{PROGRAM.read_text()}\nREAD = "words.txt"\n')
    path = store_candidate(tmp_path / "own.py", CHANGED, tmp_path / "candidates")
    assert (path.parent / "words.txt").read_text() == "words"


def test_a_program_without_a_predictor_is_refused(tmp_path: Path):
    path = tmp_path / "own.py"
    path.write_text("import dspy\n\n\nclass Own(dspy.Module):\n    pass\n\n\ndef build():\n    return Own()\n")
    with pytest.raises(ConfigError, match="has no predictor"):
        ProgramText.of(path)
