"""Reads OBO 1.2 text (an ontology as stanzas of ``tag: value`` lines), as far as retrieval needs it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from stm_agent.errors import DataError

_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"\s*(.*)')
_ESCAPE = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One term that is in use and has a definition.

    Attributes:
        id: For example ``HP:0000164``.
        definition: One or two sentences.
        lay: Synonyms marked as layperson's words.
        clinical: The term's name and all other synonyms.
        parents: Ids of its ``is_a`` parents.
    """

    id: str
    definition: str
    lay: tuple[str, ...]
    clinical: tuple[str, ...]
    parents: tuple[str, ...]


@dataclass(frozen=True)
class Ontology:
    """Terms with a definition, in file order, and the header's version and licence."""

    version: str
    licence: str
    terms: tuple[Term, ...]


def parse_obo(text: str) -> Ontology:
    """Parse an OBO file; obsolete terms and terms without a definition are left out.

    Raises:
        DataError: The text has no ``data-version`` header, or no usable term.
    """
    header, *stanzas = re.split(r"^\[(?=\w+\]$)", text, flags=re.MULTILINE)
    version = re.search(r"^data-version: (.+)$", header, flags=re.MULTILINE)
    if version is None:
        raise DataError("the ontology has no data-version line; it is not an OBO file or is cut short")
    licence = re.search(r"^property_value: \S*license (\S+)", header, flags=re.MULTILINE)
    terms = tuple(term for stanza in stanzas if stanza.startswith("Term]") for term in _term(stanza))
    if not terms:
        raise DataError(f"ontology {version[1]} has no term with a definition; fetch the file again")
    return Ontology(version[1].strip(), licence[1].strip('"') if licence else "not stated", terms)


def _term(stanza: str) -> Iterator[Term]:
    """Yield the stanza's term, or nothing if it is obsolete or has no definition."""
    tags: dict[str, list[str]] = {}
    for line in stanza.split("\n")[1:]:
        tag, colon, value = line.partition(": ")
        if colon:
            tags.setdefault(tag, []).append(value)
    if "def" not in tags or "id" not in tags or tags.get("is_obsolete") == ["true"]:
        return
    lay: list[str] = []
    clinical = tags.get("name", [])[:1]
    for value in tags.get("synonym", []):
        words, rest = _quoted(value)
        # The quoted text is followed by a scope, sometimes a type, and references in brackets.
        is_lay = "layperson" in rest.partition("[")[0].split()
        (lay if is_lay else clinical).append(words)
    parents = tuple(value.split()[0] for value in tags.get("is_a", []))
    definition, _ = _quoted(tags["def"][0])
    yield Term(id=tags["id"][0], definition=definition, lay=tuple(lay), clinical=tuple(clinical), parents=parents)


def _quoted(value: str) -> tuple[str, str]:
    match = _QUOTED.match(value)
    if match is None:
        raise DataError(f"the ontology has a value without quotes: {value[:60]}; fetch the file again")
    words = _ESCAPE.sub(lambda escape: " " if escape[1] in "nt" else escape[1], match[1])
    return " ".join(words.split()), match[2]
