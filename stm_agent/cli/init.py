"""``stm-agent init``: a new workspace."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from stm_agent.cli.output import JsonFlag, emit
from stm_agent.errors import ConfigError
from stm_agent.files import whole_folder, write_atomic
from stm_agent.workspace import shipped_workspace

RUNS_README = """\
# Runs

One folder for each run: `ledger.jsonl` (every trial, decision and cost), `report.json` and `model/`, a plain
sentence-transformers folder. `stm-agent runs list` lists them with their states, `stm-agent runs show last` prints
the newest finished run's report. Stages and vectors that runs share are in `.stages/` and `.cache/`; deleting them
only costs the time to make them again, and deleting `.cache/llm/` the LLM calls. Git ignores all but this file.
"""


def init(
    folder: Annotated[Path, typer.Argument(help="Folder to create; must not exist.")],
    as_json: JsonFlag = False,
) -> None:
    """Write a workspace with programs, prompts and a domain file for you to edit.

    Example: stm-agent init my-retriever
    """
    target = init_workspace(folder)
    text = f"wrote {target}; next: cd {target} && stm-agent optimize --domain domain.yaml"
    emit({"workspace": str(target)}, text, as_json)


def init_workspace(target: Path) -> Path:
    """Write a new workspace: programs, prompts, an empty ``runs/`` and a domain file to edit.

    Raises:
        ConfigError: ``target`` exists.
        StorageError: The disk is full or not writable.
    """
    from stm_agent.domain.load import domain_path

    if target.exists():
        raise ConfigError(f"{target} exists; name a new folder, nothing is overwritten")
    source = shipped_workspace()
    with whole_folder(target.absolute()) as partial:
        for folder in ("programs", "prompts"):
            shutil.copytree(
                source / folder, partial / folder, ignore=shutil.ignore_patterns("__pycache__", "__init__.py")
            )
        write_atomic(partial / "runs" / "README.md", RUNS_README)
        write_atomic(partial / "domain.yaml", domain_path("biomedical", source).read_text(encoding="utf-8"))
    return target
