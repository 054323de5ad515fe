"""Which rows of a run's training data are shown."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from stm_agent.errors import ConfigError
from stm_agent.inspect.data_rows import Shown


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which rows are shown; None: all.

    Attributes:
        source: Source of training pairs.
        kind: Kind of a negative, or the stage: ``queries``, ``negatives``, ``graded``, ``mined``.
        model: The generator.
        program: File name of the program, or the start of its hash.
        type: Type of the query.
        verdict: ``accepted`` or ``refused``, or what an audit decided on a negative.
        contains: Text in the query or a passage; upper and lower case are the same.
        instruction: Text in the instruction that the generator read; upper and lower case are the same.
        program_trial: Trial of the program that wrote, as ``stm-agent traces`` names it.
        trial: Number of the sample.
        grade: Grade of a positive.
        score: Name of a score and the least value.
    """

    source: str | None = None
    kind: str | None = None
    model: str | None = None
    program: str | None = None
    type: str | None = None
    verdict: str | None = None
    contains: str | None = None
    instruction: str | None = None
    program_trial: str | None = None
    trial: int | None = None
    grade: int | None = None
    score: tuple[str, float] | None = None

    def fits(self, row: Shown) -> bool:
        """Return whether a row is shown."""
        return all(
            (
                self.source in (None, row["source"]),
                self.kind in (None, row["stage"], *(negative["kind"] for negative in row["negatives"])),
                self.model in (None, row["model"]),
                self._program_fits(row),
                self.type in (None, row["type"]),
                self.verdict in (None, row["verdict"], *(negative.get("verdict") for negative in row["negatives"])),
                self.contains is None or self.contains.casefold() in _text(row).casefold(),
                self.instruction is None or self.instruction.casefold() in row["instruction"].casefold(),
                self.program_trial in (None, row["program_trial"]),
                self.trial in (None, row["trial"]),
                self.grade in (None, *(positive["grade"] for positive in row["positives"])),
                self.score is None or row["scores"].get(self.score[0], -math.inf) >= self.score[1],
            )
        )

    def _program_fits(self, row: Shown) -> bool:
        if self.program is None:
            return True
        name = row["program"].removesuffix(".py")
        is_hash = len(self.program) >= 6 and row["program_hash"].startswith(self.program)
        return (bool(name) and self.program.removesuffix(".py") == name) or is_hash

    def require_known(self, rows: Sequence[Shown]) -> None:
        """Check that each value occurs in some row.

        Raises:
            ConfigError: One does not; the message names those that do.
        """
        if self.score is not None and not any(self.score[0] in row["scores"] for row in rows):
            known = sorted({name for row in rows for name in row["scores"]})
            raise ConfigError(f"no row has a score '{self.score[0]}'; there are: {', '.join(known) or 'none'}")
        for name in ("source", "kind", "model", "type", "verdict", "program_trial"):
            wanted, known = getattr(self, name), sorted(_values(rows, name) - {""})
            if wanted is not None and wanted not in known:
                near = difflib.get_close_matches(wanted, known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known[:12]) or 'none'}"
                raise ConfigError(f"no row has {name.replace('_', ' ')} '{wanted}'; {hint}")


def _values(rows: Sequence[Shown], name: str) -> set[str]:
    own = {str(dict(row)["stage" if name == "kind" else name]) for row in rows}
    if name not in ("kind", "verdict"):
        return own
    negatives = (dict(negative) for row in rows for negative in row["negatives"])
    return own | {str(negative[name]) for negative in negatives if name in negative}


def read_score(text: str) -> tuple[str, float]:
    """Return the name and the least value of ``NAME=LEAST``.

    Raises:
        ConfigError: It is not of this form.
    """
    name, _, least = text.partition("=")
    try:
        return name, float(least)
    except ValueError:
        raise ConfigError(f"--score {text} cannot be read; use NAME=LEAST, for example copied=0.8") from None


def _text(row: Shown) -> str:
    passages = [entry["text"] for entry in (*row["positives"], *row["negatives"])]
    return "\n".join([row["query"], *passages])
