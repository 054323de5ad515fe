"""The profile of a folder, as lines for people and as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stm_agent.domain.collection import Collection, read_beir
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
    """

    profile: Profile
    missing: str = ""

    def lines(self) -> list[str]:
        """Return the lines for people."""
        return [*profile_lines(self.profile), *([_line("missing", self.missing)] if self.missing else [])]

    def to_json(self) -> dict[str, object]:
        """Return everything as JSON values."""
        return {**self.profile.to_json(), "missing": self.missing}


def check_folder(folder: Path) -> FolderCheck:
    """Read a BEIR folder, cut the splits it lacks and measure it; a folder without enough judgements is measured too.

    Raises:
        DataError: The folder cannot be read as a collection.
    """
    collection = read_beir(folder)
    data: Collection | DomainData = collection
    try:
        data = judged_domain_data(collection)
        require_judged(data.collection)
    except DataError as error:
        return FolderCheck(profile(data), str(error))
    return FolderCheck(profile(data))


def profile_lines(facts: Profile) -> list[str]:
    """Return a profile as lines: a name and a value each. Its notes were logged as warnings when they were made."""
    return [
        _line("collection", facts.name),
        _line("documents", f"{facts.documents:,}, {facts.has_titles:.0%} with a title"),
        *_split_lines(facts),
        _line("training pairs", f"{facts.train_pairs:,}"),
        _line("passage lengths", _lengths(facts, "passage")),
        _line("query lengths", _lengths(facts, "query")),
        _line("length", max_length_for(facts)[1]),
        _line(
            "duplicates", f"{facts.exact_duplicates:,} documents repeat another one, {facts.near_duplicates:,} nearly"
        ),
        *_leakage_lines(facts),
        _line("script", ", ".join(f"{name.title()} {share:.0%}" for name, share in _common(facts))),
        *([_line("languages, at a guess", ", ".join(facts.languages))] if facts.languages else []),
        *_keyword_lines(facts),
        _line("machine", facts.machine.summary),
        _line("one encoding", _cost(facts)),
        *(_line(f"model {name}", state) for name, state in facts.models.items()),
    ]


def _line(name: str, value: str) -> str:
    return f"{name:<28} {value}"


def _lengths(facts: Profile, kind: str) -> str:
    row = dataclasses.asdict(facts)
    half, most, longest = (row[f"{kind}_tokens_{part}"] for part in ("p50", "p95", "max"))
    return f"median {half:,}, 95 % up to {most:,}, longest {longest:,} ({facts.tokens})"


def _split_lines(facts: Profile) -> Iterator[str]:
    for name, split in facts.splits.items():
        yield _line(
            f"{name} queries",
            f"{split.queries:,} with {split.judgements:,} judgements, {split.relevant_per_query:g} relevant each",
        )


def _leakage_lines(facts: Profile) -> Iterator[str]:
    for name, shared in facts.leakage.items():
        yield _line(
            f"train against {name}",
            f"{shared.exact:,} train queries are {name} queries, {shared.near:,} nearly; "
            f"{shared.shared_documents:,} documents are relevant in both",
        )


def _keyword_lines(facts: Profile) -> Iterator[str]:
    if facts.keyword_share is not None:
        yield _line(
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
