"""The guard collection that needs no download: docstrings of the running Python's standard library.

The query is a docstring's summary line, the document what follows it. Sources are parsed, never
imported: importing the whole standard library has side effects.
"""

from __future__ import annotations

import ast
import platform
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

from stm_agent.domain.collection import Collection, Document, Split
from stm_agent.domain.text import normalise, share
from stm_agent.errors import DataError

_SKIPPED = {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "turtledemo", "pydoc_data"}
_PER_MODULE = 12
"""Largest number of docstrings of one module, so that no module dominates the collection."""
_SUMMARY_WORDS = range(4, 26)
_BODY_WORDS = range(10, 121)
"""Word counts of a summary and of the rest of a docstring that make a useful query and document."""


def python_docs(documents: int) -> Collection:
    """Build the collection.

    Args:
        documents: Docstrings wanted; modules are read in a fixed hash order until there are enough.

    Returns:
        Documents without titles, one query each; every other one is dev, the rest test.

    Raises:
        DataError: The standard library's sources are not installed.
    """
    root = Path(sysconfig.get_path("stdlib"))
    bodies: list[Document] = []
    summaries: dict[str, str] = {}
    seen: set[str] = set()
    for name, summary, body in _docstrings(root):
        keys = {normalise(summary), normalise(body)}
        if keys & seen:
            continue
        seen |= keys
        summaries[name] = summary
        bodies.append(Document(name, "", body))
        if len(bodies) == documents:
            break
    if len(bodies) < 2:
        raise DataError(f"{root} has no Python sources; remove 'python-docs' from the domain's general tasks")
    names = list(summaries)
    splits = {"dev": _split("dev", names[::2], summaries), "test": _split("test", names[1::2], summaries)}
    version = platform.python_version()
    return Collection("python-docs", tuple(bodies), splits, "PSF-2.0", f"Python {version} standard library, docstrings")


def _split(name: str, ids: list[str], summaries: dict[str, str]) -> Split:
    return Split(name, {key: summaries[key] for key in ids}, {key: {key: 1} for key in ids})


def _docstrings(root: Path) -> Iterator[tuple[str, str, str]]:
    """Yield (dotted name, summary, body), a few of every public module, modules in hash order."""
    modules = {".".join(path.relative_to(root).with_suffix("").parts): path for path in root.rglob("*.py")}
    public = [name for name in modules if not _SKIPPED & set(name.split(".")) and "._" not in f".{name}"]
    for module in sorted(public, key=lambda name: (share(f"module:{name}"), name)):
        docstrings = list(_of_module(module, modules[module]))
        yield from sorted(docstrings, key=lambda entry: (share(entry[0]), entry[0]))[:_PER_MODULE]


def _of_module(module: str, path: Path) -> Iterator[tuple[str, str, str]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escape sequences in the parsed sources
        try:
            tree = ast.parse(path.read_bytes())
        except SyntaxError:  # a template, not a module
            return
    yield from _of_node(tree, module)


def _of_node(node: ast.Module | ast.ClassDef | ast.FunctionDef, name: str) -> Iterator[tuple[str, str, str]]:
    summary, _, body = (ast.get_docstring(node) or "").partition("\n\n")
    question, answer = summary.split(), body.split()[: _BODY_WORDS.stop - 1]
    if len(question) in _SUMMARY_WORDS and len(answer) in _BODY_WORDS:
        yield name, " ".join(question), " ".join(answer)
    if isinstance(node, ast.FunctionDef):
        return
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef) and not child.name.startswith("_"):
            yield from _of_node(child, f"{name}.{child.name}")
