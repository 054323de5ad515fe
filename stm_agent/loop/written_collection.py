"""A collection whose queries an LLM wrote, as a BEIR folder with what was left out and what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from stm_agent.domain.beir import write_beir
from stm_agent.domain.collection import Collection
from stm_agent.domain.names import domain_name
from stm_agent.files import content_hash, read_json, write_json
from stm_agent.loop.events import Observer
from stm_agent.loop.options import Options
from stm_agent.loop.round_trip import ROUND_TRIP

CORPORA = "corpora"
"""Folder of ``runs/`` with the collections made of corpora."""
ABOUT = "written.json"
"""File of such a collection with what was written, what was left out and what it cost."""
_LONGEST_NAME = 24


@dataclass(frozen=True, kw_only=True)
class WrittenCollection:
    """A BEIR folder of written queries.

    Attributes:
        folder: The folder; its name and those of its files say that they are synthetic.
        usd: US dollars that writing cost.
        calls: LLM calls that it took.
        minutes: Minutes that it took.
    """

    folder: Path
    usd: float
    calls: int
    minutes: float

    def remaining(self, options: Options) -> Options:
        """Return the options of the run that follows: ceilings are of writing and run together."""
        options = options.with_ceiling(planned=True)
        usd, calls, minutes = options.budget_usd, options.budget_calls, options.budget_minutes
        return replace(
            options,
            budget_usd=None if usd is None else max(0.0, usd - self.usd),
            budget_calls=None if calls is None else max(0, calls - self.calls),
            budget_minutes=None if minutes is None else max(1.0, minutes - self.minutes),
        )


def store_collection(collection: Collection, record: Mapping[str, object], corpus: str, runs: Path) -> Path:
    """Write the collection under a name made of its content; the record of its first writing stays."""
    digest = content_hash([collection.content_hash, collection.source])[:8]
    folder = runs / CORPORA / f"{domain_name(corpus)[:_LONGEST_NAME].rstrip('._-')}-synthetic-{digest}"
    if not folder.exists():
        write_beir(collection, folder)
    if not (folder / ABOUT).exists():
        write_json(folder / ABOUT, record)
    return folder


def described(folder: Path, observer: Observer) -> WrittenCollection:
    """Show what was written into a collection, and return it with its cost."""
    about = read_json(folder / ABOUT)
    sizes = ", ".join(f"{name} {count}" for name, count in about["queries"].items())
    reasons = ", ".join(f"{count} {reason}" for reason, count in about["left_out"].items())
    text = (
        f"{folder}: {sizes} queries, split by document; {about['usd']:.4f} USD, {about['calls']} calls; BM25 finds the "
        f"passage of {about['bm25_finds']:.0%} of the queries among its first {ROUND_TRIP}"
    )
    for line in (
        f"{text}{f'; left out: {reasons}' if reasons else ''}",
        f"some of them: {' | '.join(about['samples'])}; if people would not ask so, name a stronger --generator",
        f"to turn dev into people's judgements: stm-agent annotate --collection {folder} --split dev",
    ):
        observer({"kind": "note", "name": "corpus", "text": line})
    return WrittenCollection(folder=folder, usd=about["usd"], calls=about["calls"], minutes=about["minutes"])
