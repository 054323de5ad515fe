"""Instructions that an LLM writes are cleaned and checked before they are tried, and refusals are recorded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.collection import Split
from stm_agent.domain.spec import InstructSpec
from stm_agent.evaluate.cache import EmbeddingCache
from stm_agent.instruct.gepa import Gepa
from stm_agent.instruct.pool import Pool
from stm_agent.instruct.scorer import InstructionScorer
from stm_agent.instruct.trials import Trials
from stm_agent.llm.answer import Answer
from stm_agent.llm.scripted import Script, scripted
from stm_agent.traces import TraceStore, read_traces

COUNT = 12
SPLIT = Split(
    "dev",
    {f"q{number}": f"question {number}" for number in range(COUNT)},
    {f"q{number}": {f"d{number}": 1} for number in range(COUNT)},
)
DOCUMENTS = {f"d{number}": f"passage {number}" for number in range(COUNT)}


class FindEncoder:
    """Finds passages of queries whose instruction says "Find"."""

    dimension = COUNT + 1
    identity = "find"

    def room(self, prefix: str) -> int | None:
        return None

    def encode(self, texts: Sequence[str], *, prefix: str = "") -> np.ndarray:
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        for row, text in enumerate(texts):
            kind, number = text.split()
            vectors[row, int(number) if kind == "passage" or "Find" in prefix else COUNT] = 1
        return vectors


def trials_in(folder: Path) -> Trials:
    scorer = InstructionScorer(FindEncoder(), EmbeddingCache(folder / "vectors"), DOCUMENTS, SPLIT, Instruction())
    trials = Trials(scorer, TraceStore(folder / "traces.jsonl"))
    trials.try_one(Instruction())
    return trials


def traced(folder: Path) -> list[tuple[str, str]]:
    return [(trace["text"], trace["reason"]) for trace in read_traces(folder / "traces.jsonl") if trace["text"]]


def reflect(folder: Path, script: Script) -> Trials:
    trials = trials_in(folder)
    Gepa(scripted(script, folder), "a question -> its passage", reflections=2, seed=0).propose(trials)
    return trials


@pytest.mark.parametrize(
    "answer",
    [
        "<think>Something with find.</think>\nInstruction: Find the passage.",
        'Sure! Here is a better instruction:\n\n"Find the passage."',
        '```json\n{"instruction": "Find the passage."}\n```',
    ],
)
def test_a_reflection_is_tried_without_what_stands_around_it(tmp_path: Path, answer: str) -> None:
    trials = reflect(tmp_path, lambda messages: answer)
    assert trials.best()[0].query == "Find the passage."
    assert trials.score_of(trials.best()[0]) == 1.0


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("I'm sorry, but I can't help with that.", "refusal"),
        (Answer("Find the passage that", 3, 256, 0.0, finish_reason="length"), "cut off"),
        ("<think>Find something", "empty"),
    ],
)
def test_a_reflection_that_is_no_instruction_is_refused_with_its_reason(
    tmp_path: Path, answer: str | Answer, reason: str
) -> None:
    trials = reflect(tmp_path, lambda messages: answer)
    assert len(trials.scores) == 1, "only the incumbent was tried"
    refused = [trace["reason"] for trace in read_traces(tmp_path / "traces.jsonl") if trace["mean"] is None]
    assert refused and set(refused) == {f"refused: {reason}"}


def test_a_pool_is_read_line_by_line_and_goes_on_after_a_rejected_answer(tmp_path: Path) -> None:
    answers = [
        Answer("", 3, 64, 0.0, finish_reason="content_filter"),
        "Here are five instructions:\n1. Find the passage.\n2. I cannot help with more.\n3. **Retrieve it.**",
        Answer("- Search for it.\n- Look for the", 3, 64, 0.0, finish_reason="length"),
    ]
    trials = trials_in(tmp_path)
    Pool(scripted(answers, tmp_path), "a question -> its passage", count=3).propose(trials)
    tried = [trial.query for trial in trials.tried.values() if trial.query]
    assert tried == ["Find the passage.", "Retrieve it.", "Search for it."]
    assert ("I cannot help with more.", "refused: refusal") in traced(tmp_path)


def test_dspys_optimisers_propose_through_the_engine(tmp_path: Path) -> None:
    from stm_agent.instruct.baselines import Copro

    def in_fields(messages: Sequence[dict[str, str]]) -> str:
        number = sum(map(ord, messages[-1]["content"])) % 1000
        fields = ("proposed_instruction", "proposed_prefix_for_output_field")
        texts = "\n\n".join(f"[[ ## {name} ## ]]\nFind passage {number}" for name in fields)
        return f"{texts}\n\n[[ ## completed ## ]]"

    trials = trials_in(tmp_path)
    spec = InstructSpec.model_validate({"optimizer": "copro", "reflections": 3})
    Copro(scripted(in_fields, tmp_path, usd=0.01), "a question -> its passage", spec.reflections, 0).propose(trials)
    assert trials.best()[0].query.startswith("Find passage")
    best = [trace for trace in read_traces(tmp_path / "traces.jsonl") if trace["text"] == trials.best()[0].query]
    assert best[0]["messages"], "the chat that wrote it is in its trace"
