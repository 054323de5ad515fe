"""How to use the model of a run, what it may be used for, and the commands that make the run again."""

from __future__ import annotations

import shlex
from itertools import takewhile
from typing import TypedDict

from stm_agent.errors import StmAgentError
from stm_agent.files import read_jsonl
from stm_agent.inspect.page.record import RunRecord, Values
from stm_agent.loop.identity import named_by
from stm_agent.loop.runs import COMMANDS

FLAGS = {
    "seed": "--seed",
    "rounds": "--rounds",
    "generator": "--generator",
    "reflection": "--reflection",
    "api_base": "--api-base",
    "policy": "--policy",
    "planner_share": "--planner-share",
    "patience": "--patience",
    "target": "--target",
    "minutes": "--budget-minutes",
}
"""Flag of the identity -> flag of the command; those that are switches or have no value are left out."""


class Usage(TypedDict):
    """Code and commands, ready to be copied.

    Attributes:
        licences: Data and models, each with its licence.
        card: The card of the exported model, as Markdown; empty without a model.
        versions: Libraries that decide numbers, and the program.
    """

    instruction: str
    code: str
    search: str
    commands: list[str]
    licences: list[str]
    card: str
    model: str
    versions: dict[str, str]


NO_USE: Usage = {
    "instruction": "",
    "code": "",
    "search": "",
    "commands": [],
    "licences": [],
    "card": "",
    "model": "",
    "versions": {},
}
"""What is shown if the run's folder cannot be read."""


def usage(record: RunRecord) -> Usage:
    """Return how the model is used and made."""
    model, card = record.folder / "model", record.folder / "model" / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    exists = (model / "modules.json").is_file()
    name = record.folder.name
    versions = {str(key): str(value) for key, value in record.identity.get("versions", {}).items()}
    return {
        "instruction": str(record.report.get("instruction", "")),
        "code": _code(f"runs/{name}/model") if exists else "",
        "search": f'stm-agent search {name} "your words"' if exists else "",
        "commands": [*_commands(record), f"stm-agent runs report {name}"],
        "licences": _licences(record, text),
        "card": text,
        "model": f"runs/{name}/model" if exists else "",
        "versions": versions,
    }


def _code(model: str) -> str:
    return "\n".join(
        [
            "from sentence_transformers import SentenceTransformer",
            "",
            f'model = SentenceTransformer("{model}")',
            'queries = model.encode_query(["your words"])',
            'passages = model.encode_document(["a passage"])',
            "scores = model.similarity(queries, passages)",
        ]
    )


def _commands(record: RunRecord) -> list[str]:
    """Return the command lines that worked on the run; of an older run, the one that its identity means."""
    typed = [entry["command"] for entry in read_jsonl(record.folder / COMMANDS)]
    if typed:
        return list(dict.fromkeys(shlex.join(command) for command in typed))
    flags: Values = record.identity.get("flags", {})
    named = named_by(record.identity, planned=record.folder.joinpath("plan.json").is_file())
    parts = ["stm-agent", "optimize", *named]
    for key, flag in FLAGS.items():
        if flags.get(key) is not None:
            parts += [flag, str(flags[key])]
    if flags.get("controls"):
        parts.append("--controls")
    return [shlex.join(parts)]


def _licences(record: RunRecord, card: str) -> list[str]:
    """Return data and models with their licences: those of the model's card, which also names LLMs that wrote."""
    _, _, listed = card.partition("Data and licences:\n\n")
    if listed.startswith("- "):
        return [line.removeprefix("- ") for line in takewhile(lambda line: line.startswith("- "), listed.splitlines())]
    from types import SimpleNamespace

    from pydantic import ValidationError

    from stm_agent.domain.spec import DomainSpec
    from stm_agent.merge.card import sources_of

    about = record.report.get("collection", {})
    data = SimpleNamespace(source=about.get("source", "data"), licence=about.get("licence", "not recorded"))
    try:
        return sources_of(DomainSpec.model_validate(record.plan), data)  # type: ignore[arg-type]
    except (ValidationError, StmAgentError, KeyError):
        # The domain of another version: its models are named in the card alone.
        return [f"{data.source} ({data.licence})"] if about else []
