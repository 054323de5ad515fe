"""The documentation is true of the tree: its folders, import arrows, files and links are the real ones."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import get_type_hints

import pytest

from stm_agent.loop.report_rows import Cost, GateReport, Report

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "runs" / "README.md"])
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
FOLDERS = {path.name for path in (ROOT / "stm_agent").iterdir() if (path / "__init__.py").is_file()}


def section(title: str) -> str:
    return ARCHITECTURE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def arrows() -> dict[str, set[str]]:
    """Return the table that tests/test_house.py holds the imports to."""
    house = ast.parse((ROOT / "tests" / "test_house.py").read_text(encoding="utf-8"))
    (table,) = [
        node.value
        for node in house.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "ARROWS"
    ]
    return eval(compile(ast.Expression(table), "ARROWS", "eval"), {})  # noqa: S307 - our own file


def test_the_table_of_arrows_is_the_one_that_the_imports_are_held_to():
    rows = re.findall(r"^\| `(\w+)` \| (.*?) ?\|$", section("Who imports whom"), flags=re.M)
    documented = {folder: set(re.findall(r"`(\w+)`", targets)) for folder, targets in rows}
    here = FOLDERS | {"traces"}
    assert documented == {folder: targets & here for folder, targets in arrows().items() if folder in here}


def test_the_tree_has_every_folder_and_every_module_beside_them():
    named = set(re.findall(r"^  ([\w.]+?)/? +\S", section("The tree"), flags=re.M))
    modules = {path.name for path in (ROOT / "stm_agent").glob("*.py") if not path.name.startswith("__")}
    assert named == FOLDERS | modules


def test_every_file_that_the_architecture_names_is_there():
    text = section("The life of a run") + section("I want to change X")
    names = set(re.findall(r"`((?:\w+/)*\w+\.py)`", text))
    assert len(names) > 30
    # A name without its folder stands beside one with it.
    known = {path.name for path in (ROOT / "stm_agent").rglob("*.py")}
    missing = [
        name
        for name in names
        if not ((ROOT / "stm_agent" / name).is_file() or (ROOT / name).is_file() or ("/" not in name and name in known))
    ]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path):
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_field_of_the_report_is_explained():
    table = (ROOT / "docs" / "runs.md").read_text(encoding="utf-8").partition("\n## The report\n")[2]
    named = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", table))))
    fields = {name for kind in (Report, GateReport, Cost) for name in get_type_hints(kind)}
    assert fields - named == set()


def test_the_readme_shows_four_rows_of_results():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = readme.partition("<!-- table: embedded -->")[2].partition("<!-- end -->")[0]
    assert len(re.findall(r"^\| .*\d\.\d{3}", table, flags=re.M)) == 4
