"""Every proposer works on the same context: COPRO and MIPROv2 beside GEPA, passage instructions, and finalists."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.collection import Split
from stm_agent.domain.spec import InstructSpec
from stm_agent.evaluate.cache import EmbeddingCache
from stm_agent.instruct.search import SearchResult, search_instruction
from stm_agent.llm.scripted import scripted
from stm_agent.traces import read_traces

COUNT = 60
DEV = Split(
    "dev",
    {f"q{number}": f"question {number}" for number in range(COUNT)},
    {f"q{number}": {f"d{number}": 1} for number in range(COUNT)},
)
DOCUMENTS = {f"d{number}": f"passage {number}" for number in range(COUNT + 20)}


class Picky:
    """Finds a passage when query and passage instruction say the words it wants; ``window`` is in words."""

    dimension = COUNT + 21

    def __init__(self, query: str = "Find", passage: str = "", window: int | None = None) -> None:
        self.words, self.window = (query, passage), window
        self.identity = f"picky {self.words} {window}"

    def room(self, prefix: str) -> int | None:
        return None if self.window is None else self.window - len(prefix.split())

    def encode(self, texts: Sequence[str], *, prefix: str = "") -> np.ndarray:
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        for row, text in enumerate(texts):
            kind, number = text.split()
            # Half of the passages can be found without an instruction of their own.
            helped = self.words[kind == "passage"] in prefix or (kind == "passage" and int(number) % 2)
            vectors[row, int(number) if helped else self.dimension - 1] = 1
        return vectors


def search(folder: Path, encoder: Picky, script, spec: InstructSpec, **more) -> SearchResult:
    return search_instruction(
        encoder=encoder,
        cache=EmbeddingCache(folder / "vectors"),
        searching=DEV,
        documents=DOCUMENTS,
        seeds=more.pop("seeds", []),
        incumbent=Instruction(),
        reflection=scripted(script, folder, usd=0.01) if script else None,
        spec=spec,
        trace=folder / "traces.jsonl",
        seed=0,
        task="a question -> its passage",
        **more,
    )


def in_fields(messages) -> str:
    """Answer in DSPy's own chat format, whatever field is asked for, another text for each chat."""
    asked = messages[-1]["content"]
    number = sum(map(ord, asked)) % 1000
    fields = ("proposed_instruction", "proposed_prefix_for_output_field", "observations", "summary")
    told = "\n\n".join(f"[[ ## {name} ## ]]\nFind passage {number}" for name in fields)
    return f"{told}\n\n[[ ## completed ## ]]"


@pytest.mark.parametrize("optimizer", ["copro", "mipro"])
def test_dspy_optimisers_propose_to_the_same_bench(optimizer, tmp_path):
    spec = InstructSpec.model_validate({"optimizer": optimizer, "reflections": 3})
    found = search(tmp_path, Picky(), in_fields, spec)
    assert found.winner.query.startswith("Find passage")
    assert found.winner.origin == optimizer
    (trace,) = [trial for trial in read_traces(tmp_path / "traces.jsonl") if trial["trial"] == found.trial]
    assert trace["messages"], "the chat that wrote it is kept"
    assert trace["full"] == 1.0


@pytest.mark.parametrize("optimizer", ["copro", "mipro"])
def test_an_answer_without_the_format_ends_the_optimiser_not_the_search(optimizer, tmp_path):
    spec = InstructSpec.model_validate({"optimizer": optimizer, "reflections": 3})
    found = search(tmp_path, Picky(), lambda messages: "I cannot do that.", spec)
    assert found.winner == Instruction()
    assert sum(found.rejected.values()) == 1


def test_a_passage_instruction_is_tried_beside_the_best_query_instruction(tmp_path):
    encoder = Picky("Find", "Represent")
    seeds = [Instruction("Find it", "", "seed:find")]
    framings = [Instruction("", "Hold this", "passage:hold"), Instruction("", "Represent this", "passage:represent")]
    found = search(tmp_path, encoder, None, InstructSpec(reflections=0, hard=0), seeds=seeds, framings=framings)
    assert found.winner.texts == ("Find it", "Represent this")


def test_an_instruction_that_leaves_no_room_for_the_query_is_refused_before_encoding(tmp_path):
    encoder = Picky(window=6)
    seeds = [Instruction("Find " * 7, "", "seed:long"), Instruction("Find it", "", "seed:short")]
    found = search(tmp_path, encoder, None, InstructSpec(reflections=0), seeds=seeds)
    assert found.winner.query == "Find it"
    refused = [one["reason"] for one in read_traces(tmp_path / "traces.jsonl") if one["mean"] is None]
    assert refused == ["refused: leaves 0 tokens of the window for queries that have 2"]


def test_finalists_are_scored_on_the_whole_corpus_and_both_numbers_are_told(tmp_path):
    found = search(tmp_path, Picky(), None, InstructSpec(reflections=0, hard=1), seeds=[Instruction("Find it")])
    assert found.agree
    scores = {finalist.instruction.query: (finalist.inner, finalist.full) for finalist in found.finalists}
    assert set(scores) == {"", "Find it"}
    assert scores["Find it"] == (1.0, 1.0)
    traces = {one["text"]: one for one in read_traces(tmp_path / "traces.jsonl")}
    assert traces["Find it"]["passages"] < len(DOCUMENTS)
    assert traces["Find it"]["full"] == 1.0


def test_finalists_that_share_the_query_instruction_are_both_reported(tmp_path):
    framings = [Instruction("", "Read it as", "framing:read")]
    spec = InstructSpec(reflections=0, hard=0, finalists=2)
    encoder = Picky("Find", "Read")
    found = search(tmp_path, encoder, None, spec, seeds=[Instruction("Find it")], framings=framings)
    texts = [finalist.instruction.texts for finalist in found.finalists]
    assert texts == [("", ""), ("Find it", "Read it as"), ("Find it", "")]
    assert found.finalists[1].full > found.finalists[2].full, "each has its own score"


class Deceived(Picky):
    """Ranks a passage nobody judged above the right one when told to guess: only the whole corpus shows it."""

    def encode(self, texts: Sequence[str], *, prefix: str = "") -> np.ndarray:
        vectors = super().encode(texts, prefix="Find")
        for row, text in enumerate(texts):
            kind, number = text.split()
            if kind == "question" and "Guess" in prefix:
                vectors[row, int(number)], vectors[row, COUNT + 5] = 0.6, 0.8
            elif kind == "question" and (not prefix or int(number) % 4 == 0):
                vectors[row, int(number)], vectors[row, (int(number) + 1) % COUNT] = 0.6, 0.8
        return vectors


def test_where_the_corpora_disagree_the_whole_one_decides_and_it_is_said(tmp_path):
    seeds = [Instruction("Guess it"), Instruction("Find it")]
    # One hard passage a query: what the incumbent and BM25 find first, never the one that deceives.
    found = search(tmp_path, Deceived(), None, InstructSpec(reflections=0, hard=1), seeds=seeds)
    scores = {finalist.instruction.query: finalist for finalist in found.finalists}
    assert scores["Guess it"].inner > scores["Find it"].inner
    assert scores["Guess it"].full < scores["Find it"].full
    assert not found.agree
    assert found.winner.query == "Find it"
    assert found.favourite.query == "Guess it"
