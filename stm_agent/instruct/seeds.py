"""Seed instructions from a workspace's ``prompts/``."""

from __future__ import annotations

from pathlib import Path

from stm_agent.errors import ConfigError
from stm_agent.instruct.instruction import Instruction, checked


def load_seeds(path: Path, *, task: str) -> tuple[Instruction, ...]:
    """Read a YAML list of ``{id, text}``; ``{task}`` in a text is the domain's task line.

    Raises:
        ConfigError: The file is missing, no such list, or holds an instruction twice.
    """
    import yaml

    try:
        rows = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read seed instructions {path}: {str(error).splitlines()[0]}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) and set(row) == {"id", "text"} for row in rows):
        raise ConfigError(f"{path} is no list of {{id, text}}; see the shipped prompts/retrieval.yaml")
    # Plain replacement: other braces in a text stay what they are.
    seeds = [Instruction(checked(str(row["text"]).replace("{task}", task)), "", f"seed:{row['id']}") for row in rows]
    texts = [seed.query for seed in seeds]
    for text in texts:
        if texts.count(text) > 1:
            raise ConfigError(f"{path} holds an instruction twice: {text[:60]}; remove one")
    return tuple(seeds)
