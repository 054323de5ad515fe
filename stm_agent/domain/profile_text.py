"""The profile of a folder, as lines for people and as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stm_agent.domain.beir import read_beir
from stm_agent.domain.collection import Collection, Split
from stm_agent.domain.data import DomainData
from stm_agent.domain.firewall import require_judged
from stm_agent.domain.profile import Profile, max_length_for, profile
from stm_agent.domain.sources import judged_domain_data
from stm_agent.errors import DataError


@dataclass(frozen=True)
class FolderCheck:
    """What a check of a folder found.

    Attributes:
        profile: The profile.
        missing: Why the folder cannot be adapted to as it is; empty: it can.
        dev: The dev split that a run reads; None: the folder cannot be adapted to.
    """

    profile: Profile
    missing: str = ""
    dev: Split | None = None

    def lines(self) -> list[str]:
        """Return the lines for people."""
        return [*profile_lines(self.profile), *([line_of("missing", self.missing)] if self.missing else [])]

    def to_json(self) -> dict[str, object]:
        """Return everything as JSON values."""
        return {**self.profile.to_json(), "missing": self.missing}


def check_folder(folder: Path) -> FolderCheck:
    """Read a BEIR folder, cut the splits it lacks and measure it; a folder without enough judgements is measured too.

    Raises:
        DataError: The folder cannot be read as a collection.
    """
    collection = read_beir(folder)
    known: Collection | DomainData = collection
    try:
        known = data = judged_domain_data(collection)
        require_judged(data.collection)
    except DataError as error:
        return FolderCheck(profile(known), str(error))
    return FolderCheck(profile(data), dev=data.collection.splits["dev"])


def profile_lines(facts: Profile) -> list[str]:
    """Return a profile as lines: a name and a value each. Its notes were logged as warnings when they were made."""
    return [
        line_of("collection", facts.name),
        line_of("documents", f"{facts.documents:,}, {facts.has_titles:.0%} with a title"),
        *_split_lines(facts),
        line_of("training pairs", f"{facts.train_pairs:,}"),
        line_of("passage lengths", _lengths(facts, "passage")),
        line_of("query lengths", _lengths(facts, "query")),
        line_of("length", max_length_for(facts)[1]),
        line_of(
            "duplicates", f"{facts.exact_duplicates:,} documents repeat another one, {facts.near_duplicates:,} nearly"
        ),
        *_leakage_lines(facts),
        line_of("script", ", ".join(f"{name.title()} {share:.0%}" for name, share in _common(facts))),
        *([line_of("languages, at a guess", ", ".join(facts.languages))] if facts.languages else []),
        *_reading_lines(facts),
        *_keyword_lines(facts),
        line_of("machine", facts.machine.summary),
        line_of("one encoding", _cost(facts)),
        *(line_of(f"model {name}", state) for name, state in facts.models.items()),
    ]


def line_of(name: str, value: str) -> str:
    """Return a fact as a line: its name and its value."""
    return f"{name:<28} {value}"


def _lengths(facts: Profile, kind: str) -> str:
    row = dataclasses.asdict(facts)
    half, most, longest = (row[f"{kind}_tokens_{part}"] for part in ("p50", "p95", "max"))
    return f"median {half:,}, 95 % up to {most:,}, longest {longest:,} ({facts.tokens})"


def _split_lines(facts: Profile) -> Iterator[str]:
    for name, split in facts.splits.items():
        yield line_of(
            f"{name} queries",
            f"{split.queries:,} with {split.judgements:,} judgements, {split.relevant_per_query:g} relevant each",
        )


def _leakage_lines(facts: Profile) -> Iterator[str]:
    for name, shared in facts.leakage.items():
        first, _, second = name.partition("-")
        yield line_of(
            f"{first} against {second}",
            f"{shared.exact:,} {first} queries are {second} queries, {shared.near:,} nearly; "
            f"{shared.shared_documents:,} documents are relevant in both",
        )


def _reading_lines(facts: Profile) -> Iterator[str]:
    """Yield a warning if the embedded encoder, the first start of every run of a folder, hardly reads the passages."""
    if facts.reading and (warning := facts.reading.warning("the embedded encoder")):
        yield line_of("WARNING", warning)


def _keyword_lines(facts: Profile) -> Iterator[str]:
    if facts.keyword_share is not None:
        yield line_of(
            "words BM25 can match", f"{facts.keyword_share:.0%} of a query's words are in its relevant documents"
        )


def _common(facts: Profile) -> list[tuple[str, float]]:
    return [(name, share) for name, share in facts.scripts.items() if share >= 0.01]


def _cost(facts: Profile) -> str:
    minutes = facts.encoding_minutes
    time = f"{minutes / 60:.1f} hours" if minutes >= 120 else f"{max(1, round(minutes))} min"
    warning = ""
    if facts.vectors_gib > facts.machine.memory_gib / 2:
        warning = "; too much for the free memory, use a part of the corpus or another machine"
    return f"about {time} with the embedded encoder, {facts.vectors_gib:.2f} GiB of vectors{warning}"
