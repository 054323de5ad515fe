"""Which files decide what a program does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from stm_agent.domain.spec import SynthesizeSpec
from stm_agent.llm.access import LlmAccess
from stm_agent.llm.options import LlmOptions
from stm_agent.program_files import program_files, program_hash
from stm_agent.synthesize.jobs import HardNegativesJob, QueriesJob


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "write.py"


@pytest.mark.parametrize(
    ("statement", "reached"),
    [
        ("import helper", {"helper.py", "deeper.py"}),
        ("from helper import NAME", {"helper.py", "deeper.py"}),
        ("def build():\n    import helper", {"helper.py", "deeper.py"}),
        ("from programs.helper import NAME", {"helper.py", "deeper.py"}),
        ("import kit.words", {"kit/__init__.py", "kit/words.py", "kit/near.py"}),
        ("from kit import words", {"kit/__init__.py", "kit/words.py", "kit/near.py"}),
        ("STATE = 'demos.json'", {"demos.json"}),
        ("import json, os.path", set()),
        ("STATE = '../outside.json'", set()),
    ],
)
def test_a_program_reaches_what_it_imports_and_names(tmp_path: Path, statement: str, reached: set[str]) -> None:
    folder = tmp_path / "programs"
    program = write(
        folder,
        write_DOT_py=f"{statement}\n",
        write_DOT_json="{}",
        helper_DOT_py="import deeper\nNAME = 1\n",
        deeper_DOT_py="import helper\n",
        demos_DOT_json="[]",
        unused_DOT_py="",
    )
    kit = folder / "kit"
    write(kit, words_DOT_py="from . import near\n", near_DOT_py="")
    (kit / "__init__.py").write_text("")
    (tmp_path / "outside.json").write_text("{}")
    assert set(program_files(program)) == {"write.py", "write.json", *reached}


@pytest.mark.parametrize("text", [b"def build(:\n", b"\xff\xfe", b"\0"])
def test_a_program_that_cannot_be_read_is_its_own_bytes(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "write.py").write_bytes(text)
    assert set(program_files(tmp_path / "write.py")) == {"write.py"}


def test_a_helper_and_a_state_change_the_keys_of_the_jobs_that_write(tmp_path: Path) -> None:
    program = write(tmp_path / "programs", write_DOT_py="import helper\n", helper_DOT_py="A = 1\n")
    access = LlmAccess(options=LlmOptions(model="scripted:numbered"), cache=tmp_path, ledger=tmp_path / "llm.jsonl")
    spec = SynthesizeSpec()
    jobs = [
        QueriesJob(pool={}, task="t", program=program, generator=access, spec=spec, seed=0),
        HardNegativesJob(pairs=(), mined={}, task="t", program=program, generator=access, spec=spec),
    ]

    def keys() -> tuple[str, ...]:
        # A copy, since a job computes its key once.
        return tuple(replace(job).key() for job in jobs)

    seen = {keys()}
    for name, text in (("helper.py", "A = 2\n"), ("write.json", "{}"), ("write.json", '{"demos": []}')):
        (program.parent / name).write_text(text)
        seen.add(keys())
    assert len(seen) == 4
    assert len({key for pair in seen for key in pair}) == 8
    assert program_hash(program) == program_hash(program)
