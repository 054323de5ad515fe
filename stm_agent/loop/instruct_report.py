"""The report of a search of an instruction alone, as it is stored in a run's folder and printed."""

from __future__ import annotations

from typing import NotRequired, TypedDict


class FinalistRow(TypedDict):
    """An instruction that was scored over the whole corpus too."""

    instruction: str
    passage_instruction: str
    sub_corpus: float
    whole_corpus: float


class InstructReport(TypedDict):
    """What a search of an instruction found.

    Attributes:
        run: The run.
        model: The model.
        collection: Name of the collection.
        split: Its split that was searched on.
        accepted: The winner passed the test.
        instruction: Text for queries of what is used from now on.
        passage_instruction: Text for passages.
        origin: Where it comes from.
        query_prefix: What stands in front of a query.
        passage_prefix: What stands in front of a passage.
        gain: Outcome of the test.
        tried: Instructions that were scored.
        finalists: Those that were scored over the whole corpus.
        corpora_agree: Whether sub-corpus and whole corpus prefer the same.
        reason: Why, in one line.
        output: Folder that the model was written to; missing: none was asked for.
    """

    run: str
    model: str
    collection: str
    split: str
    accepted: bool
    instruction: str
    passage_instruction: str
    origin: str
    query_prefix: str
    passage_prefix: str
    gain: dict[str, float | bool | str]
    tried: int
    finalists: list[FinalistRow]
    corpora_agree: bool
    reason: str
    output: NotRequired[str]
