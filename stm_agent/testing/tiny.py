"""A collection that is small enough for a whole run in a test, and regular enough to be learnt."""

from __future__ import annotations

from pathlib import Path

from stm_agent.domain.beir import write_beir
from stm_agent.domain.collection import Collection, Document, Split

_PLACES = ("ear", "eye", "foot", "hand", "heart", "knee", "lung", "nose", "skin", "tooth")
# Plain words of a patient -> the clinical words of a definition; none shares a stem with its partner.
_SIGNS = {
    "sore": "painful sensation affecting",
    "swollen": "oedematous enlargement involving",
    "weak": "diminished strength concerning",
    "itchy": "pruritus located at",
    "cold": "reduced temperature measured on",
    "small": "hypoplasia in growth regarding",
}


def tiny_collection() -> Collection:
    """Return 60 documents and 120 queries: every sign at every place, asked for in two ways.

    The first wording of a document is a train query or, for one place in five each, dev or test; the
    second wording is always train, so that a model can learn what a dev query's words mean. The
    documents of dev and test are in the corpus, their queries are in no other split.
    """
    documents = []
    queries: dict[str, dict[str, str]] = {"train": {}, "dev": {}, "test": {}}
    for row, (plain, clinical) in enumerate(_SIGNS.items()):
        for column, place in enumerate(_PLACES):
            key = f"{plain}-{place}"
            documents.append(Document(key, "", f"A finding of {clinical} the {place}."))
            split = {0: "dev", 1: "test"}.get((row + column) % 5, "train")
            queries[split][f"{key}/1"] = f"my {place} is {plain}"
            queries["train"][f"{key}/2"] = f"{plain} {place}"
    splits = {
        name: Split(name, texts, {key: {key.split("/")[0]: 1} for key in texts}) for name, texts in queries.items()
    }
    return Collection("tiny", tuple(documents), splits, "CC0-1.0", "made by stm_agent.testing.tiny")


def tiny_beir(folder: Path) -> Path:
    """Write :func:`tiny_collection` as a BEIR folder and return it."""
    return write_beir(tiny_collection(), folder)
