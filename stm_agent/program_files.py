"""The files that decide what a user's program does: the program, what it imports, and what it loads beside it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from stm_agent.files import content_hash, sha256_file


def program_files(program: Path) -> dict[str, str]:
    """Return the SHA-256 of every file that a program can reach, by path relative to the program's folder.

    These are the program; modules and packages of its folder that it imports, directly or through others; for each of
    them a JSON file of the same name (a DSPy state); and files of the folder whose names stand in its text.

    Args:
        program: The Python file.

    Raises:
        StorageError: A file cannot be read.
    """
    root = program.parent
    found = {program: sha256_file(program)}
    waiting = [program]
    while waiting:
        for path in _reached(waiting.pop(), root):
            if path not in found:
                found[path] = sha256_file(path)
                waiting.append(path)
    return {path.relative_to(root).as_posix(): found[path] for path in sorted(found)}


def program_hash(program: Path) -> str:
    """Return one hash over :func:`program_files`."""
    return content_hash(program_files(program))


def _reached(path: Path, root: Path) -> Iterator[Path]:
    """Yield the files in ``root`` that one file reaches directly."""
    if path.suffix != ".py":
        return
    if (state := path.with_suffix(".json")).is_file():
        yield state
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError):
        # Loading the program names this fault.
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from _named(node.value, root)
        for module in _modules(node, path, root):
            yield from _sources(module, root)


def _named(text: str, root: Path) -> Iterator[Path]:
    # A docstring names nothing, and the system refuses to look for a name of its length.
    if 0 < len(text) < 200 and "\n" not in text and "\0" not in text and ".." not in text:
        path = root / text
        if path.is_relative_to(root) and path.is_file():
            yield path


def _modules(node: ast.AST, path: Path, root: Path) -> list[tuple[str, ...]]:
    """Return the names of modules that a statement may import, as parts relative to ``root``."""
    if isinstance(node, ast.Import):
        names = [tuple(name.name.split(".")) for name in node.names]
    elif isinstance(node, ast.ImportFrom):
        module = tuple((node.module or "").split(".")) if node.module else ()
        if node.level:
            levels = path.relative_to(root).parts[: -node.level]
            module = (*levels, *module)
        names = [module, *((*module, name.name) for name in node.names)]
    else:
        return []
    # From a workspace's folder a helper can also be imported as programs.helper.
    return [name[1:] if name[:1] == (root.name,) else name for name in names]


def _sources(module: tuple[str, ...], root: Path) -> Iterator[Path]:
    """Yield the files in ``root`` that are run when a module is imported."""
    for depth in range(1, len(module) + 1):
        stem = root.joinpath(*module[:depth])
        for path in (stem.with_name(f"{stem.name}.py"), stem / "__init__.py"):
            if path.is_file():
                yield path
