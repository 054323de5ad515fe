"""Seed instructions from a workspace's ``prompts/``."""

from __future__ import annotations

from pathlib import Path

from stm_agent.backbone.instruction import Instruction, checked
from stm_agent.errors import ConfigError


def load_seeds(path: Path, *, task: str) -> tuple[Instruction, ...]:
    """Read a YAML list of ``{id, text}``; ``{task}`` in a text is the domain's task line.

    Raises:
        ConfigError: The file is missing, is not such a list, or holds an instruction twice.
    """
    # Plain replacement: other braces in a text stay what they are.
    return tuple(Instruction(text.replace("{task}", task), "", f"seed:{name}") for name, text in _rows(path))


def load_framings(path: Path) -> tuple[Instruction, ...]:
    """Read passage instructions, in the same form.

    Raises:
        ConfigError: As for :func:`load_seeds`.
    """
    return tuple(Instruction("", text, f"passage:{name}") for name, text in _rows(path))


def _rows(path: Path) -> list[tuple[str, str]]:
    import yaml

    try:
        rows = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read seed instructions {path}: {str(error).splitlines()[0]}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) and set(row) == {"id", "text"} for row in rows):
        raise ConfigError(f"{path} is not a list of {{id, text}}; see the shipped prompts/retrieval.yaml")
    instructions = [(str(row["id"]), checked(str(row["text"]))) for row in rows]
    texts = [text for _, text in instructions]
    for text in texts:
        if texts.count(text) > 1:
            raise ConfigError(f"{path} holds an instruction twice: {text[:60]}; remove one")
    return instructions
