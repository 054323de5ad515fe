"""Write the general guard tasks that come with the package (``stm_agent/domain/frozen/*.jsonl``).

    python scripts/freeze_guards.py python-docs            # docstrings of the running Python's standard library
    python scripts/freeze_guards.py wordnet DICT_FOLDER    # WordNet 3.0: the folder with index.noun and data.noun

The files are fixed: a guard must show what a model forgets, not which Python or dictionary is installed. If one is
written again, its sha256 in ``stm_agent/domain/frozen_tasks.py`` changes with it, and so does every run that it guards.
"""

from __future__ import annotations

import ast
import json
import platform
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

from stm_agent.domain.text import normalise, share
from stm_agent.files import sha256_file, write_atomic

FOLDER = Path(__file__).resolve().parent.parent / "stm_agent" / "domain" / "frozen"
SIZE = 600
"""Documents of a task; a domain takes as many of the first as it wants."""
SKIPPED = {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "turtledemo", "pydoc_data"}
PER_MODULE = 12
"""Largest number of docstrings of one module, so that no module dominates the collection."""
SUMMARY_WORDS, BODY_WORDS = range(4, 26), range(10, 121)
"""Word counts of a summary and of the rest of a docstring that make a useful query and document."""
LEAST_COUNT = 8
"""Times that a word's first sense stands in WordNet's annotated texts: below this it is a rare word."""
GLOSS_WORDS = range(6, 60)


def docstrings() -> Iterator[tuple[str, str, str]]:
    """Yield (dotted name, summary, body), a few of every public module, modules in hash order.

    Sources are parsed, never imported: importing the whole standard library has side effects.
    """
    root = Path(sysconfig.get_path("stdlib"))
    modules = {".".join(path.relative_to(root).with_suffix("").parts): path for path in root.rglob("*.py")}
    public = [name for name in modules if not SKIPPED & set(name.split(".")) and "._" not in f".{name}"]
    for module in sorted(public, key=lambda name: (share(f"module:{name}"), name)):
        rows = list(of_module(module, modules[module]))
        yield from sorted(rows, key=lambda row: (share(row[0]), row[0]))[:PER_MODULE]


def of_module(module: str, path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield the docstrings of one module."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escape sequences in the parsed sources
        try:
            tree = ast.parse(path.read_bytes())
        except SyntaxError:  # a template, not a module
            return
    yield from of_node(tree, module)


def of_node(node: ast.Module | ast.ClassDef | ast.FunctionDef, name: str) -> Iterator[tuple[str, str, str]]:
    """Yield the docstrings of a node and of its public children."""
    summary, _, body = (ast.get_docstring(node) or "").partition("\n\n")
    question, answer = summary.split(), body.split()[: BODY_WORDS.stop - 1]
    if len(question) in SUMMARY_WORDS and len(answer) in BODY_WORDS:
        yield name, " ".join(question), " ".join(answer)
    if isinstance(node, ast.FunctionDef):
        return
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef) and not child.name.startswith("_"):
            yield from of_node(child, f"{name}.{child.name}")


def definitions(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Yield (synset id, words, definition) of the first senses of common nouns and verbs, in hash order."""
    counts: dict[tuple[str, str], int] = {}
    for line in (folder / "cntlist.rev").read_text(encoding="utf-8").splitlines():
        sense, number, count = line.split()
        if number == "1":
            lemma, _, rest = sense.partition("%")
            counts[lemma, {"1": "n", "2": "v"}.get(rest[0], "")] = int(count)
    rows = []
    for kind, name in (("n", "noun"), ("v", "verb")):
        data = (folder / f"data.{name}").read_bytes()
        for line in (folder / f"index.{name}").read_text(encoding="utf-8").splitlines():
            fields = line.split()
            if line.startswith(" ") or counts.get((fields[0], kind), 0) < LEAST_COUNT:
                continue
            offset = fields[-int(fields[2])]
            synset, _, gloss = data[int(offset) :].split(b"\n", 1)[0].decode().partition(" | ")
            parts = synset.split()
            words = [parts[4 + 2 * place].replace("_", " ") for place in range(int(parts[3], 16))]
            definition = gloss.partition('; "')[0].strip()
            if len(definition.split()) in GLOSS_WORDS:
                rows.append((f"{offset}-{kind}", ", ".join(words[:4]), definition))
    yield from sorted(rows, key=lambda row: (share(row[0]), row))


def main() -> None:
    """Write one task and print its hash."""
    name, *rest = sys.argv[1:]
    rows = docstrings() if name == "python-docs" else definitions(Path(rest[0]))
    seen: set[str] = set()
    lines = []
    for key, query, text in rows:
        keys = {normalise(query), normalise(text)}
        if not keys & seen:
            seen |= keys
            lines.append(json.dumps({"_id": key, "query": query, "text": text}, ensure_ascii=False))
        if len(lines) == SIZE:
            break
    path = FOLDER / f"{name}.jsonl"
    FOLDER.mkdir(exist_ok=True)
    write_atomic(path, "\n".join(lines) + "\n")
    print(path, len(lines), path.stat().st_size, sha256_file(path), platform.python_version())


if __name__ == "__main__":
    main()
