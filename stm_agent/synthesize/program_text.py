"""The text of a DSPy program: what an optimiser may change, and how a changed program is written to a file."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stm_agent.errors import ConfigError
from stm_agent.files import content_hash, whole_folder, write_atomic
from stm_agent.program_files import program_files
from stm_agent.synthesize.load import PLAIN, STRUCTURED, list_field, load_program

if TYPE_CHECKING:
    import dspy

MARK = "# Written by stm-agent synthesize optimize; it replaces the text above."
INSTRUCTIONS, DEMONSTRATIONS = "instructions", "demonstrations"
Demonstration = Mapping[str, object]
"""Field -> value, as in a ``dspy.Example``."""


@dataclass(frozen=True)
class ProgramText:
    """What may be changed in a program, by name of its predictors.

    Attributes:
        instructions: Predictor -> instructions of its signature.
        demonstrations: Predictor -> finished examples that it shows.
    """

    instructions: Mapping[str, str]
    demonstrations: Mapping[str, tuple[Demonstration, ...]]

    @classmethod
    def of(cls, program: Path, output: str | None = None, *, structured: bool = False) -> ProgramText:
        """Read the text of a program file: of the module that it builds for models with typed outputs, or for others.

        Raises:
            ConfigError: The program cannot be built, has no such output, or has no predictor.
        """
        text = cls.of_module(load_program(program, output, structured=structured))
        if not text.instructions:
            raise ConfigError(f"program {program} has no predictor whose text could be optimised; use dspy.Predict")
        return text

    @classmethod
    def of_module(cls, program: dspy.Module) -> ProgramText:
        """Read the text of a program; one without a predictor has none."""
        predictors = dict(program.named_predictors())
        return cls(
            {name: predictor.signature.instructions for name, predictor in predictors.items()},
            {name: tuple(dict(demo) for demo in predictor.demos) for name, predictor in predictors.items()},
        )

    @classmethod
    def from_parts(cls, parts: Mapping[str, str]) -> ProgramText:
        """Read :meth:`parts` back."""
        instructions: dict[str, str] = {}
        demonstrations: dict[str, tuple[Demonstration, ...]] = {}
        for part, text in parts.items():
            name, _, kind = part.rpartition(" ")
            if kind == INSTRUCTIONS:
                instructions[name] = text
            else:
                demonstrations[name] = tuple(json.loads(text))
        return cls(instructions, demonstrations)

    def parts(self) -> dict[str, str]:
        """Return the text as named strings, the form in which GEPA changes it: demonstrations are JSON."""
        rows = {f"{name} {INSTRUCTIONS}": text for name, text in self.instructions.items()}
        return rows | {
            f"{name} {DEMONSTRATIONS}": json.dumps([dict(demo) for demo in demos], ensure_ascii=False, default=str)
            for name, demos in self.demonstrations.items()
        }

    @property
    def summary(self) -> str:
        """The text for people, as a trace shows it."""
        rows = []
        for name, text in self.instructions.items():
            shown = [", ".join(f"{key}: {value}" for key, value in demo.items()) for demo in self.demonstrations[name]]
            rows.append("\n".join([text, *(f"Example: {line}" for line in shown)]))
        return "\n\n".join(rows)


def written_fields(program: Path, output: str, *, structured: bool = False) -> dict[str, str | None]:
    """Return predictor -> its output field of a name, or of its plural; None: it has none.

    Raises:
        ConfigError: The program cannot be built.
    """
    names = (output, list_field(output))
    return {
        name: next((field for field in names if field in predictor.signature.output_fields), None)
        for name, predictor in load_program(program, structured=structured).named_predictors()
    }


def written_program(source: str, text: ProgramText, *, structured: bool = False) -> str:
    """Return the source of a program with another text: the original, followed by the new one.

    A text that an earlier optimisation wrote is replaced.

    Args:
        source: The program.
        text: The new text.
        structured: Whether it is that of the module for models with typed outputs, if the source builds one.
    """
    build = STRUCTURED if structured and f"def {STRUCTURED}(" in source else PLAIN
    original = source.partition(f"\n\n{MARK}\n")[0].rstrip()
    rows = "".join(f"    {name!r}: {_literal(value)},\n" for name, value in text.instructions.items())
    demos = "".join(
        f"    {name!r}: [\n{''.join(_example(demo) for demo in row)}    ],\n"
        for name, row in text.demonstrations.items()
    )
    return f"""{original}


{MARK}
import dspy  # noqa: E402

INSTRUCTIONS = {{
{rows}}}
DEMONSTRATIONS = {{
{demos}}}
_original = {build}


def {build}() -> dspy.Module:
    \"\"\"Return the program with this text.\"\"\"
    program = _original()
    for name, predictor in program.named_predictors():
        if name in INSTRUCTIONS:
            predictor.signature = predictor.signature.with_instructions(INSTRUCTIONS[name])
        if name in DEMONSTRATIONS:
            predictor.demos = DEMONSTRATIONS[name]
    return program
"""


def _example(demo: Demonstration) -> str:
    fields = "".join(f"            {key}={_literal(value, deep=True)},\n" for key, value in demo.items())
    return f"        dspy.Example(\n{fields}        ),\n"


def _literal(value: object, *, deep: bool = False) -> str:
    """Return a Python literal; a long text as one line of source for each of its lines."""
    if not isinstance(value, str) or (len(value) < 100 and "\n" not in value):
        return repr(value)
    indent = " " * (16 if deep else 8)
    lines = "".join(f"{indent}{line!r}\n" for line in value.splitlines(keepends=True))
    return f"(\n{lines}{indent[4:]})"


def store_candidate(program: Path, text: ProgramText, folder: Path, *, structured: bool = False) -> Path:
    """Write a candidate, with the files that its program reads, into a folder named by its text; return its file.

    Raises:
        StorageError: It cannot be written.
    """
    target = folder / content_hash(text.parts())[:12]
    if not target.exists():
        with whole_folder(target) as partial:
            for name in program_files(program):
                (partial / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(program.parent / name, partial / name)
            source = program.read_text(encoding="utf-8")
            write_atomic(partial / program.name, written_program(source, text, structured=structured))
    return target / program.name


def save_state(program: Path, target: Path, *, structured: bool = False) -> None:
    """Write the state of a program as JSON, which ``dspy.Module.load`` reads."""
    with tempfile.TemporaryDirectory() as folder:
        load_program(program, structured=structured).save(str(Path(folder) / "state.json"))
        write_atomic(target, (Path(folder) / "state.json").read_bytes())
