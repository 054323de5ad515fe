"""Save a trial as a DSPy program that can be loaded again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from stm_agent.errors import ConfigError
from stm_agent.files import write_atomic

if TYPE_CHECKING:
    import dspy

    from stm_agent.traces import Trial


def program_of(trace: Trial) -> dspy.Module:
    """Return the DSPy program of a trial: of a retrieval instruction, or the generator's with the trial's instructions.

    Raises:
        ConfigError: The trial has no text, or its program file is missing.
    """
    if not trace["text"]:
        raise ConfigError(f"trial {trace['trial']} has no text, so it has no program; export another trial")
    if trace["lever"] == "instruction":
        from stm_agent.instruct.baselines import instructed

        return instructed(trace["text"])
    from stm_agent.synthesize.load import load_program

    program = load_program(Path(trace["program"]))
    for predictor in program.predictors():
        predictor.signature = predictor.signature.with_instructions(trace["text"])
    return program


def save_program(trace: Trial, output: Path) -> None:
    """Write the state of the program as JSON, atomically; ``Module.load(output)`` reads it.

    Raises:
        ConfigError: As for :func:`program_of`.
        StorageError: The file cannot be written.
    """
    import tempfile

    program = program_of(trace)
    folder = Path(tempfile.mkdtemp())
    try:
        program.save(str(folder / "program.json"))
        write_atomic(output, (folder / "program.json").read_bytes())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
