"""What was decided on rows after they were written or mined: verdicts of audits, a judge's grades, teacher's scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

from stm_agent.domain.text import normalise
from stm_agent.inspect.data_rows import AuditedNegative, Positive, Shown
from stm_agent.mine.lists import read_rows
from stm_agent.synthesize.verdict_rows import load_verdicts

AUDIT = "audit"
"""Kind of a stage that decides which negatives are relevant."""
TEACH = "teach"
"""Kind of a stage in which a teacher scores passages."""
Key = tuple[str, str]
"""Query and passage, normalised: an audit decides on a text however it is spelt."""


def with_verdicts(rows: Iterable[Shown], stages: Sequence[Path]) -> Iterator[Shown]:
    """Yield all rows with what the last audit and the last teacher of these stages say of each of their passages."""
    verdicts = _verdicts([stage for stage in stages if stage.name.partition("-")[0] == AUDIT])
    scores = _scores([stage for stage in stages if stage.name.partition("-")[0] == TEACH])
    for row in rows:
        query = normalise(row["query"])
        negatives = [
            cast("AuditedNegative", {**entry, **verdicts.get(key, {}), **_score(scores, key)})
            for entry, key in ((entry, (query, normalise(entry["text"]))) for entry in row["negatives"])
        ]
        positives = [
            cast("Positive", {**entry, **_score(scores, (query, normalise(entry["text"])))})
            for entry in row["positives"]
        ]
        yield {**row, "positives": positives, "negatives": negatives}


def _score(scores: Mapping[Key, float], key: Key) -> dict[str, float]:
    score = scores.get(key)
    return {} if score is None else {"teacher": score}


def _verdicts(audits: Sequence[Path]) -> dict[Key, dict[str, object]]:
    entries = (entry for stage in audits for entry in load_verdicts(stage))
    return {
        (normalise(entry["query"]), normalise(entry["negative"])): {
            "verdict": entry["decision"],
            **{name: entry[name] for name in ("by", "chance", "grade", "reason") if entry.get(name) is not None},
        }
        for entry in entries
    }


def _scores(teachings: Sequence[Path]) -> dict[Key, float]:
    rows = (row for stage in teachings for row in read_rows(stage))
    return {(normalise(row["query"]), normalise(row["text"])): row["score"] for row in rows}
