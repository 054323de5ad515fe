"""Rules of the house that no linter knows."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
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
    command = "python -m pip install -c constraints.txt -e '.[dev]' && python -m pytest -n 2"
    for name in ("README.md", ".ci/run"):
        assert command in (ROOT / name).read_text(encoding="utf-8"), name
