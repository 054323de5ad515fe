from __future__ import annotations

from collections.abc import Callable

import pytest

from stm_agent.domain.obo import Ontology, parse_obo

HEADER = """\
format-version: 1.2
data-version: hp/releases/2025-01-16
property_value: terms:license https://hpo.jax.org/app/license

[Term]
id: T:0
name: All

[Term]
id: T:1
name: Old
def: "Gone." []
is_obsolete: true
"""


def stanza(number: int) -> str:
    """A term under the one its number begins with; every second one has layperson synonyms."""
    texts = (f'"Plain words {number}" EXACT', f'"plain, WORDS {number}" RELATED') if number % 2 else ()
    lay = "".join(f"synonym: {text} layperson [a:b]\n" for text in texts)
    return (
        f"\n[Term]\nid: P:{number}\nname: Clinical name {number}\n"
        f'def: "A \\"finding\\" that is\\nnumber {number}." [PMID:1]\n'
        f'synonym: "Other name {number} (layperson)" NARROW [x:layperson]\n{lay}'
        f"is_a: P:{number // 10} ! parent\n"
    )


@pytest.fixture
def obo() -> Callable[..., Ontology]:
    """Return a small ontology: 80 terms under parents P:0 to P:8, 40 with layperson synonyms."""

    def build(extra: str = "") -> Ontology:
        return parse_obo(HEADER + "".join(stanza(number) for number in range(1, 81)) + extra + "\n[Typedef]\nid: x\n")

    return build
