"""Rules of the house that no linter knows."""

from __future__ import annotations

import ast
import graphlib
import json
import os
import re
import subprocess
import sys
import tokenize
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted(
    path
    for path in (ROOT / "stm_agent").rglob("*.py")
    # A migration is a record of what tables were, as long as they are.
    if path.parent.name != "versions"
)
NAMES = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in MODULES}
# Folder of stm_agent -> the folders it may import. Modules that lie in stm_agent itself stand at the bottom: they may
# be imported by all and import each other only. stm_agent/traces.py is counted as a folder, since it needs backbone.
ARROWS = {
    "assets": set(),
    "domain": {"assets"},
    "backbone": {"assets", "domain"},
    # Embedded models are found and loaded by backbone.
    "llm": {"assets", "domain", "backbone"},
    "traces": {"backbone"},
    "evaluate": {"assets", "domain", "backbone"},
    "mine": {"domain", "backbone", "evaluate"},
    "train": {"domain", "backbone", "evaluate", "mine"},
    "merge": {"assets", "domain", "backbone", "evaluate"},
    "synthesize": {"domain", "backbone", "llm", "evaluate", "mine"},
    "instruct": {"domain", "backbone", "llm", "traces", "evaluate"},
    # Jobs are values of the other folders; what runs them knows none of them.
    "execute": set(),
    "loop": {
        *("domain", "backbone", "llm", "traces", "evaluate"),
        *("mine", "train", "merge", "synthesize", "instruct", "execute"),
    },
    "inspect": {
        *("assets", "domain", "backbone", "llm", "traces", "evaluate"),
        *("mine", "train", "merge", "synthesize", "instruct", "execute", "loop", "web"),
    },
    "web": set(),
    "deploy": {"assets", "domain", "backbone", "evaluate", "mine", "merge", "loop", "web"},
    "annotate": {"assets", "domain", "backbone", "llm", "evaluate", "mine", "web"},
    # For tests and benchmarks; nothing in stm_agent imports it.
    "testing": {"domain", "backbone", "llm", "evaluate", "deploy", "annotate", "web"},
    "cli": {
        *("assets", "domain", "backbone", "llm", "traces", "evaluate", "mine", "train", "merge"),
        *("synthesize", "instruct", "execute", "loop", "inspect", "deploy", "annotate", "web"),
    },
}
LONGEST_FUNCTION = 50
# Functions that are longer still; the list may only become shorter.
LONGER = {
    "stm_agent/cli/instruct.py instruct",
    "stm_agent/cli/optimize.py optimize",
}
# Phrases that read as a translation; the Python documentation would write subject, verb, object, and "if".
ODD_ENGLISH = re.compile(
    r"\b(told|tells|anew|who is (dealt|done)|where it (is|was) no|is no \w+|go(es)? on\b|let pass|of two who)\b", re.I
)
# Folders and modules that still have such phrases; the list may only become shorter.
ODD_STILL = {"annotate"}
HEAVY = {
    *("accelerate", "bm25s", "datasets", "dspy", "gepa", "litellm", "mteb", "peft", "scipy"),
    *("sentence_transformers", "torch", "transformers", "xllamacpp"),
}


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_help_imports_nothing_heavy():
    """The measure behind "--help is instant": a wall clock would measure the machine."""
    code = (
        "import atexit, json, sys\n"
        "atexit.register(lambda: sys.stderr.write(json.dumps(sorted({name.split('.')[0] for name in sys.modules}))))\n"
        "sys.argv = ['stm-agent', '--help']\n"
        "from stm_agent.cli.main import main\n"
        "main()\n"
    )
    result = run_python("-c", code)
    assert result.returncode == 0, result.stderr
    assert "optimize" in result.stdout
    assert not HEAVY & set(json.loads(result.stderr))


def test_python_dash_m_is_the_console_script():
    result = run_python("-m", "stm_agent", "optimize", "--help")
    assert result.returncode == 0, result.stderr
    assert "--domain" in result.stdout


def test_cli_help_is_current():
    result = run_python("scripts/write_cli_help.py", "--check")
    assert result.returncode == 0, result.stderr


def test_every_command_shows_an_example():
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    sections = {section.partition("\n")[0]: section for section in text.replace("\n### ", "\n## ").split("\n## ")[1:]}
    leaves = [name for name in sections if not any(other.startswith(f"{name} ") for other in sections)]
    assert len(leaves) > 8
    assert [name for name in leaves if "Example:" not in sections[name]] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_module_is_short_and_silent(path: Path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") < 300, "split the module by what it does"
    calls = [node.func for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    assert not [call.lineno for call in calls if isinstance(call, ast.Name) and call.id == "print"]


def imports_of(path: Path) -> set[str]:
    """Return the modules of stm_agent that a file imports anywhere: late imports and those for type checkers count."""
    targets: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: relative imports hide from the rules below"
            module = node.module or ""
            targets |= {f"{module}.{name.name}" if f"{module}.{name.name}" in NAMES else module for name in node.names}
        elif isinstance(node, ast.Import):
            targets |= {name.name for name in node.names}
    return targets & NAMES.keys()


def folder_of(module: str) -> str:
    """Return the folder of a module; empty for those that lie in stm_agent itself, but for ``traces``."""
    name = module.partition(".")[2].partition(".")[0]
    return name if (ROOT / "stm_agent" / name).is_dir() or name == "traces" else ""


GRAPH = {module: imports_of(path) - {module} for module, path in NAMES.items() if module != "stm_agent.__main__"}


@pytest.mark.parametrize("folder", sorted({folder_of(module) for module in GRAPH}))
def test_a_folder_imports_what_it_may(folder: str):
    allowed = {"", folder, *ARROWS.get(folder, set())}
    wrong = [
        f"{module} imports {target}"
        for module, targets in GRAPH.items()
        if folder_of(module) == folder
        for target in targets
        if folder_of(target) not in allowed
    ]
    assert wrong == []


def test_every_folder_has_its_arrows_and_they_make_no_circle():
    folders = {path.name for path in (ROOT / "stm_agent").iterdir() if (path / "__init__.py").is_file()}
    assert folders <= ARROWS.keys()
    assert all(targets <= ARROWS.keys() for targets in ARROWS.values())
    assert tuple(graphlib.TopologicalSorter(ARROWS).static_order())


def test_no_file_imports_itself_by_way_of_others():
    """A circle would be told by its files: CycleError."""
    assert len(tuple(graphlib.TopologicalSorter(GRAPH).static_order())) == len(GRAPH)


def test_functions_are_short():
    functions = [
        (f"{path.relative_to(ROOT).as_posix()} {node.name}", (node.end_lineno or 0) - node.lineno + 1)
        for path in MODULES
        if "annotate" not in path.parts
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    longer = {name for name, lines in functions if lines > LONGEST_FUNCTION}
    assert longer - LONGER == set(), "split the function by what it does"
    assert LONGER - longer == set(), "take it off the list"


def test_sentences_are_plain_english():
    """Looks at comments and all text, so that docstrings and messages count; other parts of the code do not."""
    sites: dict[str, list[str]] = {}
    for path in MODULES:
        part = path.relative_to(ROOT / "stm_agent").parts[0]
        with path.open("rb") as stream:
            for token in tokenize.tokenize(stream.readline):
                is_text = token.type == tokenize.COMMENT or tokenize.tok_name[token.type] in (
                    "STRING",
                    "FSTRING_MIDDLE",
                )
                if is_text and (phrase := ODD_ENGLISH.search(token.string)):
                    sites.setdefault(part, []).append(f"{path.relative_to(ROOT)}:{token.start[0]} {phrase[0]}")
    assert [site for part in sites.keys() - ODD_STILL for site in sites[part]] == []
    assert ODD_STILL - sites.keys() == set(), "take it off the list"


def test_constraints_pin_every_direct_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if line[0] != "#")
    pinned = {name.lower().replace("_", "-"): version for name, version in pins.items()}
    names = [entry.partition(">=")[0].partition("[")[0].lower().replace("_", "-") for entry in wanted]
    assert [name for name in names if name not in pinned] == []
    assert pinned["torch"] == "2.13.0", "a local version such as +cpu exists on one index only"


def test_workspace_folders_are_mapped_into_the_wheel(monkeypatch):
    """setup.py lists every package and the two folders that live outside of it."""
    told: dict[str, object] = {}
    monkeypatch.setattr("setuptools.setup", told.update)
    monkeypatch.chdir(ROOT)
    exec(compile((ROOT / "setup.py").read_text(), "setup.py", "exec"), {})  # noqa: S102 - our own file
    modules = (ROOT / "stm_agent").rglob("*.py")
    packages = {path.parent.relative_to(ROOT).as_posix().replace("/", ".") for path in modules}
    workspace = {"stm_agent._workspace.programs", "stm_agent._workspace.prompts"}
    assert set(told["packages"]) == packages | workspace
    for folder in told["package_dir"].values():
        assert (ROOT / folder).is_dir(), folder


def test_ci_runs_the_command_of_the_readme():
    command = "python -m pip install -c constraints.txt -e '.[dev]' && python -m pytest -n 3"
    for name in ("README.md", ".ci/run"):
        assert command in (ROOT / name).read_text(encoding="utf-8"), name
